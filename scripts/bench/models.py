"""Real models on ONNX Runtime: the original against what `rewrite` makes of it with its defaults.

    python -m scripts.bench.models                               # every model, two threads
    python -m scripts.bench.models --select rivagan --markdown models.md --json models.json
    python -m scripts.bench.models --fix-shapes                  # rewrite for the input shapes of the table
    python -m scripts.bench.models --target native               # the native library, and its promises
    python -m scripts.bench.models --peers                       # MNN, ncnn and OpenVINO beside them

"Replaced ms" is what the replaced operators take in profiled runs, all together. Peak memory is the most that a process
of its own holds while it loads and runs the model, over what it held before. Peers have processes of their own:
`model_peers.py` says how, `requirements-peers.txt` what to install. The models are those of `scripts.models.obtain`,
which fetches, or builds, what is not in the cache.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onnx_fft.bench import Benchmark, bench, find_feed
from onnx_fft.checks.compare import compare_outputs
from onnx_fft.errors import CudaUnavailable, NativeUnavailable
from onnx_fft.inputs.feeds import Feed
from onnx_fft.model.io import LoadedModel, load_model
from onnx_fft.report.numbers import format_ms
from onnx_fft.results import Report
from onnx_fft.rewrite import rewrite
from onnx_fft.runtime.engines import EngineError
from scripts.bench.model_peers import describe_model_peers, measure_model_peers
from scripts.bench.options import make_parser, write_json, write_results
from scripts.bench.peers import INSTALL
from scripts.bench.sides import PeerResult, list_leads
from scripts.models.obtain import obtain
from scripts.shared.runs import describe_run, describe_target, open_in_ort, refuse
from scripts.shared.tables import LEFT_ALONE, Table, format_ratio, format_shapes, list_losses

TITLES = {
    "standard": "Real models with standard operators",
    "native": "Real models with the native library",
    "cuda": "Real models on ONNX Runtime's CUDA provider",
}
SEED = 0
MIN_RATIO = 0.97
"""A model slower than that counts as a loss, not as noise."""
REFUSED = "does not load with its shapes fixed"
"""ONNX Runtime also infers shapes in branches that never run, and refuses a model if one of them cannot take these."""


@dataclass(frozen=True, slots=True)
class Case:
    """A model of `scripts.models.obtain` at the input shapes it is used with."""

    name: str
    input_shapes: dict[str, tuple[int, ...]]
    native_at_least: float | None = None
    """The speed over the original that the native library is held to; None if no number is promised."""
    suffix: str = ""
    """Tells a case from others of the same model."""

    @property
    def title(self) -> str:
        """What the tables call it."""
        return f"{self.name}{self.suffix}"


SPEECH = {"waveforms": (1, 480_000), "waveforms_lens": (1,)}
"""30 s of audio, 16,000 samples a second."""

CASES: tuple[Case, ...] = (
    Case("rivagan_encoder", {"frame": (1, 3, 1, 256, 256), "data": (1, 32)}, 3.0),
    Case("rivagan_decoder", {"frame": (1, 3, 1, 256, 256)}, 3.0),
    Case("nmp", {"serving_default_input_2:0": (1, 43844, 1)}, 1.5),
    Case("multistyle26", {"image": (1, 3, 256, 256)}),
    Case("ch_PP-OCRv4_det", {"x": (1, 3, 640, 640)}),
    Case("crepe_tiny", {"frames": (32, 1024)}),
    Case("crepe_full", {"frames": (32, 1024)}, 4.0),
    Case("silero_vad", {"input": (1, 576), "state": (2, 1, 128)}),
    Case("tumor_vgg16", {"input": (1, 240, 240, 3)}),
    Case("realesr_x2", {"data": (1, 3, 256, 256)}),
    Case("realesr_x2", {"data": (1, 3, 360, 640)}, suffix=" 360p"),
    Case("dnsmos_sig", {"input_1": (1, 901, 161)}),
    Case("deepbet", {"scan": (1, 1, 256, 256, 256)}),
    Case("dncnn", {"image": (1, 1, 512, 512)}),
    Case("unet3d", {"scan": (1, 1, 128, 128, 128)}),
    Case("hifigan", {"mel": (1, 80, 100)}),
    Case("resnet50", {"image": (1, 3, 224, 224)}),
    Case("mobilenet_v2", {"image": (1, 3, 224, 224)}),
    Case("whisper80", SPEECH, 20.0),
    Case("whisper80_conv", SPEECH, 4.0),
    Case("kaldi", SPEECH),
    Case("kaldi_conv", SPEECH),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One model: timing, what was replaced, the worst relative L2 difference of an output, the promise, peers."""

    case: Case
    benchmark: Benchmark
    report: Report
    relative_l2: float
    at_least: float | None = None
    peers: dict[str, PeerResult] = field(default_factory=dict)

    @property
    def promise_kept(self) -> bool | None:
        """Whether it is as fast as promised; None if nothing is promised."""
        return None if self.at_least is None else self.benchmark.ratio.value >= self.at_least

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        decisions = [{"name": r.name, "lowering": r.lowering, "reason": r.reason} for r in self.report.rows]
        return {
            "model": self.case.title,
            "relative_l2": self.relative_l2,
            "at_least": self.at_least,
            "promise_kept": self.promise_kept,
            "convs": decisions,
            "benchmark": self.benchmark.to_dict(),
            "peers": {name: result.to_dict() for name, result in self.peers.items()},
        }


def measure_model(
    case: Case, *, target: str, threads: int, budget_s: float, fix_shapes: bool, peers: bool = False
) -> Measured:
    """Rewrite one model with the defaults, compare its outputs, and time it. Raises EngineError if it does not load.

    `peers`: time them as well, on the model as it was.
    """
    path = obtain(case.name)
    result = rewrite(path, target=target, input_shapes=case.input_shapes if fix_shapes else {}, validate=False)
    feed = find_feed(load_model(path), result.loaded, inputs=None, input_shapes=case.input_shapes, seed=SEED)
    difference = _compare(result.loaded, feed)
    measured = bench(path, result.loaded, inputs=feed.arrays, threads=threads, seed=SEED, budget_s=budget_s)
    at_least = case.native_at_least if target == "native" else None
    row = Measured(case, measured, result.report, difference, at_least)
    if not peers:
        return row
    return replace(row, peers=measure_model_peers(path, feed, threads=threads, budget_s=budget_s))


def _compare(rewritten: LoadedModel, feed: Feed) -> float:
    """The worst relative L2 difference from the original's outputs; integers have none."""
    outputs = open_in_ort(rewritten).run(feed.arrays)
    found = [c for name, value in feed.outputs.items() for c in compare_outputs(name, value, outputs[name])]
    return float(np.nanmax([comparison.relative_l2 for comparison in found]))


def make_table(measured: Sequence[Measured], refused: Sequence[Case] = ()) -> Table:
    """One row a model; those that do not load come last."""
    promised = any(m.at_least is not None for m in measured)
    peers = list(dict.fromkeys(name for m in measured for name in m.peers))
    columns = (
        "model",
        "input",
        "replaced",
        "original ms",
        "rewritten ms",
        "ratio",
        "replaced ms",
        "load ms",
        "file MiB",
        "peak memory MiB",
        "difference",
        *(("promised",) if promised else ()),
        *peers,
    )
    rows: list[tuple[str, ...]] = []
    for m in measured:
        before, after = m.benchmark.original, m.benchmark.rewritten
        row = (
            m.case.title,
            format_shapes(m.benchmark.input_shapes),
            f"{len(m.report.replaced)} of {len(m.report.rows)}",
            format_ms(before.run_s.median),
            format_ms(after.run_s.median),
            format_ratio(m.benchmark.ratio) if m.report.replaced else LEFT_ALONE,
            _format_replaced(m.benchmark),
            f"{before.load_s * 1e3:.0f} -> {after.load_s * 1e3:.0f}",
            f"{before.file_bytes / 2**20:.1f} -> {after.file_bytes / 2**20:.1f}",
            " -> ".join("?" if t.peak_bytes is None else f"{t.peak_bytes / 2**20:.1f}" for t in (before, after)),
            f"{m.relative_l2:.0e}",
            *([_print_promise(m)] if promised else []),
            *(m.peers[name].format() for name in peers),
        )
        rows.append(row)
    blank = ("",) * (len(columns) - 3)
    rows += [(case.title, format_shapes(case.input_shapes), REFUSED, *blank) for case in refused]
    return Table(columns, tuple(rows))


def _format_replaced(benchmark: Benchmark) -> str:
    """What the replaced operators take by the profiles, `300 -> 100 (3.00x)`; "" if nothing was replaced."""
    seen = [(n.original_s, n.rewritten_s) for n in benchmark.nodes if n.lowering]
    times = [(before, after) for before, after in seen if before is not None and after is not None]
    if not times:
        return ""
    before, after = (sum(side) for side in zip(*times, strict=True))
    return f"{format_ms(before)} -> {format_ms(after)} ({before / after:.2f}x)"


def _print_promise(m: Measured) -> str:
    return "" if m.at_least is None else f"{m.at_least:g}x: {'met' if m.promise_kept else 'MISSED'}"


def summarize_rows(measured: Sequence[Measured]) -> list[str]:
    """A line for each model, then the peers that are ahead, then the losses.

    A model left alone is its original, and shows the noise of this run.
    """
    changed = [m for m in measured if m.report.replaced]
    lines = [f"{m.case.title}: {m.benchmark.verdict}" for m in changed]
    promised = [m for m in measured if m.promise_kept is not None]
    if promised:
        lines.append(f"promises met: {sum(m.promise_kept is True for m in promised)} of {len(promised)}")
    same = [f"{m.case.title} {m.benchmark.ratio.value:.2f}x" for m in measured if not m.report.replaced]
    if same:
        lines.append(f"left alone, timed against itself: {', '.join(same)}")
    lines += list_leads(
        [(m.case.title, m.benchmark.ratio.value if m.report.replaced else 1.0, m.peers) for m in measured]
    )
    return [*lines, list_losses([(m.case.title, m.benchmark.ratio.value) for m in changed], MIN_RATIO)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the selected models and write the results; 2 if the bench cannot begin."""
    parser = make_parser((__doc__ or "").split("\n")[0], budget_s=10.0)
    parser.add_argument("--fix-shapes", action="store_true", help="rewrite for the input shapes of the table only")
    parser.add_argument("--peers", action="store_true", help=f"also time other libraries ({INSTALL})")
    options = parser.parse_args(arguments)
    cases = [case for case in CASES if re.search(options.select, case.title)]
    if not cases:
        return refuse(f"--select {options.select!r} matches none of: {', '.join(case.title for case in CASES)}")
    try:
        notes = describe_target(options.target)
    except (NativeUnavailable, CudaUnavailable) as error:
        return refuse(str(error))
    measured, refused = [], []
    settings = {name: getattr(options, name) for name in ("target", "threads", "fix_shapes", "peers")}
    for case in cases:
        print(f"{case.title} ...", file=sys.stderr)
        try:
            measured.append(measure_model(case, budget_s=options.budget, **settings))
        except EngineError as error:
            if not options.fix_shapes:
                raise
            print(f"{case.title} {REFUSED}: {error}", file=sys.stderr)
            refused.append(case)
    header = [*describe_run([m.benchmark.host for m in measured], SEED), *notes]
    header += describe_model_peers() if options.peers else []
    write_results(options, TITLES[options.target], header, make_table(measured, refused), summarize_rows(measured))
    names = [case.title for case in refused]
    models = [m.to_dict() for m in measured]
    write_json(options, {"target": options.target, "header": header, "models": models, "refused": names})
    return 0


if __name__ == "__main__":
    sys.exit(main())
