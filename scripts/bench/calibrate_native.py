"""The native library's rates: measures random convolutions, fits the rates to them, and says how right they are.

    python -m scripts.bench.calibrate_native measure FILE             # about 5 minutes; --seed draws other convolutions
    python -m scripts.bench.calibrate_native measure GENERIC --apart  # without the dense engine
    python -m scripts.bench.calibrate_native fit FILE GENERIC         # fits the rates, for vectors of --bytes
    python -m scripts.bench.calibrate_native judge FILE               # what auto picks of convolutions not fitted on

`measure` times ONNX Runtime's Conv beside a node that never leaves a convolution to it. `fit` prints the rates in the
order of `Unit` in onnx_fft/native/planner/work.h, for `kShipped` in onnx_fft/native/planner/rates.cpp. The planner
picks tiles by the rates, so that fitting and predicting take turns. `judge` says how often what `auto` would do is the
fastest, or within 10% of it, and what loses. Needs SciPy.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from onnx_fft.cost.gains import LEAST_GAIN, MIN_GAIN_NATIVE, predict_gain
from onnx_fft.cost.machines import CALIBRATED
from onnx_fft.cost.native import THREADS, ask
from onnx_fft.native.planning import Question, Rates, predict, read_rates, unit_names
from onnx_fft.native.profile import PROFILE_VARIABLE, find_rates
from onnx_fft.sites.spec import describe_spec
from scripts.bench.calibrate import FFTCONV, measure
from scripts.bench.fitting import OUTLIER, Case, read_cases
from scripts.bench.random_convs import draw_mixed

COUNT = 150
SEED = 2
TURNS = 5
PULL = 0.005
"""How much a rate that the measurements hardly show is held where it is."""
RUN_S = 4e-5
"""Of one core for one run, to begin with."""
HELD = ("calls", "conv_calls")
"""Rates that stay: the least convolutions would tell, which are not among those measured."""
DENSE_UNITS = ("dense_transforms", "dense_products", "dense_bytes")
"""Their rates keep their proportion: the planner cuts blocks by it, and few of the Convs would tell."""
CONV_UNITS = ("blocked_flops", "depthwise_flops", "gemm_flops", "unfolded", "unfolded_strided", "conv_calls")
NEVER = 1e4
"""How many times slower a node must take ONNX Runtime's Conv to be, to compute everything itself."""

Sample = tuple[NDArray[np.float64], float]
"""Work, and the seconds of one core that it took."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["measure", "fit", "judge"])
    parser.add_argument("files", type=Path, nargs="+", help="of measurements, JSON lines")
    parser.add_argument("--apart", action="store_true", help="measure without the dense engine")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the convolutions (default: {SEED})")
    parser.add_argument("--count", type=int, default=COUNT, help=f"convolutions (default: {COUNT})")
    parser.add_argument("--bytes", type=int, choices=[16, 32, 64], default=32, help="of a vector (default: 32)")
    options = parser.parse_args()
    first, *others = options.files
    if options.verb == "measure":
        measure_nodes(first, options.seed, options.count, CONV_UNITS + (DENSE_UNITS if options.apart else ()))
    elif options.verb == "fit":
        fit_rates(first, others, options.bytes)
    else:
        judge(first)


def measure_nodes(path: Path, seed: int, count: int, never: Sequence[str]) -> None:
    """Append one line a convolution, of Conv and of a node that does nothing of the units `never`."""
    with rule_out(never):
        measure(path, seed, islice(draw_mixed(seed), count), THREADS, lambda _: [FFTCONV])


@contextmanager
def rule_out(units: Sequence[str]) -> Iterator[None]:
    """Nodes of this process do nothing of these units, as far as they can choose."""
    rates = {n: r * (NEVER if n in units else 1) for n, r in zip(unit_names(), find_rates(), strict=True)}
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile.txt"
        profile.write_text("".join(f"{name} {rate:.6e}\n" for name, rate in rates.items()), encoding="utf-8")
        before = os.environ.get(PROFILE_VARIABLE)
        os.environ[PROFILE_VARIABLE] = str(profile)
        try:
            yield
        finally:
            os.environ.pop(PROFILE_VARIABLE)
            if before is not None:
                os.environ[PROFILE_VARIABLE] = before


def fit_rates(path: Path, generic: Sequence[Path], vector_bytes: int) -> None:
    """Print the rates that explain the times of `path`, and those of `generic` without the dense engine."""
    cases, apart = read_cases(path)[1], [case for each in generic for case in read_cases(each)[1]]
    questions, alone = ([replace(ask(case[0]), vector_bytes=vector_bytes) for case in each] for each in (cases, apart))
    convs = [(count_conv(q), THREADS * case[1]) for q, case in zip(questions, cases, strict=True)]
    rates = np.array(read_rates(measure=False))
    dense = np.array([name in DENSE_UNITS for name in unit_names()])
    for _ in range(TURNS):
        without = np.where(dense, NEVER * rates, rates)
        nodes = [(count_node(q, rates), THREADS * case[2][0][1]) for q, case in zip(questions, cases, strict=True)]
        nodes += [(count_node(q, without), THREADS * case[2][0][1]) for q, case in zip(alone, apart, strict=True)]
        rates = fit([*convs, *nodes], rates)
    print(", ".join(f"{rate:.3g}" for rate in rates))
    report(cases, questions, tuple(rates))
    if apart:
        found = [predict(q, tuple(np.where(dense, NEVER * rates, rates))).seconds / THREADS for q in alone]
        _report_ratios("apart", [each / case[2][0][1] for each, case in zip(found, apart, strict=True)])


def judge(path: Path) -> None:
    """Print how right this machine's rates are, and what `auto` would do with them."""
    _, cases = read_cases(path)
    report(cases, [ask(spec) for spec, _, _ in cases], find_rates())


def count_node(question: Question, rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the library does, by the plan that these rates choose."""
    return np.array(list(predict(question, tuple(rates)).work.values()))


def count_conv(question: Question) -> NDArray[np.float64]:
    """What ONNX Runtime's Conv does in a model: its seconds, if one unit alone takes time."""

    def only(unit: int) -> Rates:
        return tuple(float(other == unit) for other in range(len(unit_names())))

    return np.array([predict(question, only(unit)).model_seconds for unit in range(len(unit_names()))])


def fit(samples: list[Sample], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares of the logarithms' errors, linear beyond `OUTLIER`, in the logarithms of the rates.

    What a run of the session takes beside its one node is the same for both sides, and no rate.
    """
    names = [*unit_names(), "run"]
    work, seconds = np.array([[*each, 1.0] for each, _ in samples]), np.array([s for _, s in samples])
    origin = np.log([*start, RUN_S])
    pull = np.array([1.0 if name in HELD else PULL for name in names])
    together = np.array([DENSE_UNITS[0] if name in DENSE_UNITS else name for name in names])
    shared = np.array(together[:, None] == together, float)
    shared /= shared.sum(axis=1)  # the mean of each group, one for most

    def loss(logarithms: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        moved = shared @ (logarithms - origin)
        rates = np.exp(origin + moved)
        predicted = work @ rates
        error = np.log(predicted / seconds)
        bounded = np.clip(error, -OUTLIER, OUTLIER)
        value = np.sum(bounded * (error - bounded / 2)) + np.sum(pull * moved**2)
        return float(value), shared @ ((bounded / predicted) @ work * rates + 2 * pull * moved)

    found = minimize(loss, origin, jac=True, method="L-BFGS-B").x
    rates: NDArray[np.float64] = np.exp(origin + shared @ (found - origin))
    return rates[:-1]


def report(cases: list[Case], questions: list[Question], rates: Rates) -> None:
    """How predicted and measured times compare, and how what `auto` picks compares with the fastest."""
    found = [predict(question, rates) for question in questions]
    conv_s, node_s = [conv for _, conv, _ in cases], [plans[0][1] for _, _, plans in cases]
    _report_ratios("Conv", [each.model_seconds / THREADS / s for each, s in zip(found, conv_s, strict=True)])
    _report_ratios("node", [each.seconds / THREADS / s for each, s in zip(found, node_s, strict=True)])
    machine = replace(CALIBRATED, library=rates)
    taken = [predict_gain(spec, FFTCONV, [machine]) >= MIN_GAIN_NATIVE for spec, _, _ in cases]
    picked = [node if take else conv for take, conv, node in zip(taken, conv_s, node_s, strict=True)]
    right = [pick <= 1.1 * min(pair) for pick, *pair in zip(picked, conv_s, node_s, strict=True)]
    print(f"auto's pick is the fastest or within 10% of it: {sum(right)} of {len(right)}")
    losses = [n for n, take in enumerate(taken) if take and conv_s[n] < LEAST_GAIN * node_s[n]]
    print(f"replaced: {sum(taken)}; slower than {LEAST_GAIN}x: {len(losses)}")
    for n in losses:
        print(f"  {conv_s[n] / node_s[n]:.2f}x {describe_spec(cases[n][0])}: {found[n].plan}")


def _report_ratios(name: str, ratios: list[float]) -> None:
    tenths = np.percentile(ratios, [10, 50, 90])
    print(f"{name}: predicted over measured {tenths[1]:.2f}, 80% of them {tenths[0]:.2f} to {tenths[2]:.2f}")


if __name__ == "__main__":
    main()
