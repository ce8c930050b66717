"""The command line: verbs, flags and exit codes; no logic of its own.

Exit codes: 0 done; 1 an error of ours; 2 bad usage or an invalid model; 3 the models do not compute the same; 4 the
model's opset is too old and cannot be converted; 5 the output cannot be written; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from onnx_fft import __version__
from onnx_fft.checks.result import Validation
from onnx_fft.errors import OnnxFftError, ValidationFailedError
from onnx_fft.lowering import LOWERINGS
from onnx_fft.measure.cache import cache_folder, clear_cache, list_entries
from onnx_fft.model.io import LoadedModel, load_model, model_bytes, save_model, write_text
from onnx_fft.report import Report
from onnx_fft.rewrite import SELECTIONS, inspect, rewrite
from onnx_fft.validate import validate

EXIT_CODES = """exit codes:
  0    done
  2    bad usage, or a file that is no valid model
  3    the models do not compute the same; rewrite leaves no output behind
  4    the model's opset is too old for what was asked, and could not be converted
  5    the output could not be written; what was there before is untouched
  130  interrupted; nothing was written but timings to the cache, which the next --select measure goes on from
"""

SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
SECONDS = {"s": 1, "m": 60, "h": 3600}
BAR_COLUMNS = 16


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _make_parser().parse_args(arguments)
    console = Console(stderr=True)
    try:
        run: Callable[[argparse.Namespace, Console], None] = options.run
        run(options, console)
        return 0
    except OnnxFftError as error:
        console.print(f"onnx-fft: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        console.print("onnx-fft: interrupted; nothing was written", style="red")
        return 130


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="onnx-fft",
        description="Rewrite the convolutions of an ONNX model that gain from it into the frequency domain.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"onnx-fft {__version__}")
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_rewrite(verbs)
    _add_inspect(verbs)
    _add_validate(verbs)
    _add_bench(verbs)
    _add_cache(verbs)
    return parser


def _add_rewrite(verbs: Any) -> None:
    verb = _add_verb(
        verbs, "rewrite", _run_rewrite, "write a model that computes the same, faster where its Convs gain"
    )
    verb.add_argument("input", type=Path, help="the ONNX model to read")
    verb.add_argument("output", type=Path, help="the file to write; replaced only when everything went well")
    _add_choice(verb)
    verb.add_argument(
        "--save-plan", type=Path, metavar="JSON", help="write what was decided, to edit and pass to --plan"
    )
    _add_report(verb, "the report, validation included")
    verb.add_argument(
        "--no-validate", action="store_true", help="do not run both models against each other before writing"
    )


def _add_inspect(verbs: Any) -> None:
    verb = _add_verb(
        verbs, "inspect", _run_inspect, "show every convolution and what rewrite would do with it, and why"
    )
    verb.add_argument("input", type=Path, help="the ONNX model to read")
    _add_choice(verb)
    _add_report(verb, "the report")
    verb.add_argument("--json", action="store_true", help="print JSON")


def _add_validate(verbs: Any) -> None:
    verb = _add_verb(verbs, "validate", _run_validate, "run two models on the same inputs and compare their outputs")
    verb.add_argument("original", type=Path)
    verb.add_argument("rewritten", type=Path)
    _add_feeds(verb)
    verb.add_argument("--rtol", type=float, help="relative limit in place of the tolerance table")
    verb.add_argument("--atol", type=float, default=0.0, help="absolute error allowed on top, per element (default 0)")
    verb.add_argument("--json", action="store_true", help="print JSON")


def _add_bench(verbs: Any) -> None:
    verb = _add_verb(verbs, "bench", _run_bench, "time two models against each other, interleaved in one process")
    verb.add_argument("original", type=Path)
    verb.add_argument("rewritten", type=Path)
    _add_feeds(verb)
    verb.add_argument("--threads", type=int, default=2, help="threads of the pool both models share (default 2)")
    verb.add_argument("--budget", type=float, default=20.0, metavar="SECONDS", help="time to spend (default 20)")
    _add_report(verb, "the result")
    verb.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the result as a chart, .png or .svg; needs the extra 'plot'"
    )
    verb.add_argument("--json", action="store_true", help="print JSON")


def _add_cache(verbs: Any) -> None:
    verb = _add_verb(verbs, "cache", _run_cache, "show where timings of --select measure are kept, or delete them")
    verb.add_argument("--clear", action="store_true", help="delete all of them")


def _add_verb(verbs: Any, name: str, run: Callable[..., None], description: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=description,
        description=description[0].upper() + description[1:] + ".",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.set_defaults(run=run)
    return verb


def _add_choice(verb: argparse.ArgumentParser) -> None:
    names = ["auto", *(lowering.name for lowering in LOWERINGS)]
    verb.add_argument(
        "--lowering",
        choices=names,
        default="auto",
        help="how to compute a convolution: auto, the fastest; or one, wherever it applies (default auto)",
    )
    verb.add_argument(
        "--select",
        choices=SELECTIONS,
        default="auto",
        help="which convolutions: auto, those predicted to gain; all, whatever can be replaced; "
        "measure, those shown to gain in this model on this machine (default auto)",
    )
    measure = verb.add_argument_group("with --select measure")
    measure.add_argument(
        "--budget",
        type=_parse_seconds,
        default=60.0,
        metavar="TIME",
        help="time to spend, such as 90s or 5m (default 60s); one comparison with the original is always made",
    )
    measure.add_argument("--threads", type=int, help="threads to measure with (default: ONNX Runtime's own choice)")
    measure.add_argument("--no-cache", action="store_true", help="neither read nor write timings in the user's cache")
    verb.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="REGEX",
        help="only convolutions whose name matches; repeatable",
    )
    verb.add_argument(
        "--exclude", action="append", default=[], metavar="REGEX", help="no convolution whose name matches; repeatable"
    )
    _add_input_shape(verb, "fix an input to this shape, in the model too; repeatable")
    verb.add_argument(
        "--max-growth",
        type=_parse_size,
        metavar="SIZE",
        help="how much larger the file may become, such as 64M or 1G (default: its own size, and at least 64M)",
    )
    verb.add_argument("--plan", type=Path, metavar="JSON", help="replay a plan written by --save-plan")
    verb.add_argument("--opset", type=int, help="convert the model to this opset first")


def _add_report(verb: argparse.ArgumentParser, what: str) -> None:
    text = f"write {what} to this file: a page for the browser if its name ends in .html, JSON otherwise"
    verb.add_argument("--report", type=Path, metavar="FILE", help=text)


def _add_feeds(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--inputs", type=Path, metavar="NPZ", help="inputs by name; random ones otherwise")
    _add_input_shape(verb, "shape of an input the model leaves open; repeatable")
    verb.add_argument("--seed", type=int, default=0, help="seed of random inputs (default 0)")


def _add_input_shape(verb: argparse.ArgumentParser, text: str) -> None:
    verb.add_argument(
        "--input-shape", action="append", default=[], type=_parse_shape, metavar="NAME:1x3x224x224", help=text
    )


def _parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, colon, dims = text.rpartition(":")
    if not colon or not re.fullmatch(r"\d+(x\d+)*", dims):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected NAME:1x3x224x224")
    return name, tuple(map(int, dims.split("x")))


def _parse_size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?", text, re.IGNORECASE)
    if not match:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a size such as 500K, 64M or 1G")
    return int(float(match[1]) * SIZES[match[2].upper()])


def _parse_seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h)?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a time such as 90s or 5m")
    return float(match[1]) * SECONDS[match[2] or "s"]


def _choice(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "lowering": options.lowering,
        "select": options.select,
        "include": options.include,
        "exclude": options.exclude,
        "input_shapes": dict(options.input_shape),
        "max_growth_bytes": options.max_growth,
        "plan": options.plan,
        "opset": options.opset,
        "budget_s": options.budget,
        "threads": options.threads,
        "use_cache": not options.no_cache,
    }


def _run_rewrite(options: argparse.Namespace, console: Console) -> None:
    with _show_progress(console) as show:
        rewritten = rewrite(options.input, **_choice(options), progress=show)
        model = LoadedModel(rewritten.model, rewritten.base_dir)
        validation = None
        if not options.no_validate and rewritten.report.replaced:
            validation = validate(options.input, model, progress=show)
    console.print(rewritten.report.to_table())
    _print_summary(rewritten.report, console)
    if validation is not None:
        _print_validation(validation, console, brief=True)
    if options.report:
        checked = None if validation is None else validation.to_dict()
        _write_report(
            options.report,
            {**rewritten.report.to_dict(), "validation": checked},
            options.input,
            report=rewritten.report,
            validation=validation,
            plan=rewritten.plan,
        )
    if validation is not None and not validation.ok:
        raise ValidationFailedError(
            f"{validation.verdict}; {options.output} was not written; "
            "look at --report, or leave the convolution out by --exclude"
        )
    if options.save_plan:
        _write_json(options.save_plan, rewritten.plan)
    save_model(rewritten.model, options.output, rewritten.base_dir)
    console.print(f"wrote {options.output}", markup=False, highlight=False, soft_wrap=True)


def _run_inspect(options: argparse.Namespace, console: Console) -> None:
    with _show_progress(console) as show:
        report = inspect(options.input, **_choice(options), progress=show)
    if options.report:
        _write_report(options.report, report.to_dict(), options.input, report=report)
    if options.json:
        print(json.dumps(report.to_dict(), indent=2))
        return
    Console().print(report.to_table())
    _print_summary(report, Console())


def _run_validate(options: argparse.Namespace, console: Console) -> None:
    with _show_progress(console) as show:
        validation = validate(
            options.original,
            options.rewritten,
            inputs=options.inputs,
            input_shapes=dict(options.input_shape),
            seed=options.seed,
            rtol=options.rtol,
            atol=options.atol,
            progress=show,
        )
    if options.json:
        print(json.dumps(validation.to_dict(), indent=2))
    else:
        _print_validation(validation, Console(), brief=False)
    if not validation.ok:
        raise ValidationFailedError(validation.verdict)


def _run_bench(options: argparse.Namespace, console: Console) -> None:
    from onnx_fft.bench import bench
    from onnx_fft.plot import check_plot, plot_benchmark

    if options.plot:
        check_plot(options.plot)
    with _show_progress(console) as show:
        benchmark = bench(
            options.original,
            options.rewritten,
            inputs=options.inputs,
            input_shapes=dict(options.input_shape),
            threads=options.threads,
            seed=options.seed,
            budget_s=options.budget,
            progress=show,
        )
    if options.report:
        _write_report(options.report, benchmark.to_dict(), options.original, report=None, benchmark=benchmark)
    if options.plot:
        plot_benchmark(benchmark, options.plot, title=options.original.name)
    if options.json:
        print(json.dumps(benchmark.to_dict(), indent=2))
        return
    for line in benchmark.describe():
        print(line)


def _print_summary(report: Report, console: Console) -> None:
    lines = [report.summarize(), *(() if report.measurement is None else report.measurement.notes)]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _run_cache(options: argparse.Namespace, _console: Console) -> None:
    folder = cache_folder()
    if options.clear:
        print(f"{folder}: {clear_cache()} timings deleted")
    else:
        print(f"{folder}: {len(list_entries())} timings")


def _print_validation(validation: Validation, console: Console, *, brief: bool) -> None:
    lines = validation.describe()
    shown = lines if not brief else [line for line in lines if line.startswith("warning")] + lines[-1:]
    for line in shown:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _write_json(path: Path, data: dict[str, Any]) -> None:
    write_text(path, json.dumps(data, indent=2) + "\n")


def _write_report(path: Path, data: dict[str, Any], model: Path, **parts: Any) -> None:
    """Write `data` as JSON, or `parts`, the arguments of `render_report`, as a page, by the suffix of `path`."""
    if path.suffix.lower() not in (".html", ".htm"):
        _write_json(path, data)
        return
    from onnx_fft.html.page import render_report

    size = model_bytes(load_model(model))
    write_text(path, render_report(model_name=model.name, original_bytes=size, **parts))


class _Show(Protocol):
    def __call__(self, what: str, share: float | None = None) -> None:
        """Show the current step and, where it is known, the share that is done, 0 to 1."""


class _show_progress:
    """A spinner, the current step and a bar on a terminal; nothing elsewhere."""

    def __init__(self, console: Console) -> None:
        text = TextColumn("{task.description}", markup=False)
        columns = (SpinnerColumn(), text, BarColumn(BAR_COLUMNS), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)

    def __enter__(self) -> _Show:
        self._progress.start()
        task = self._progress.add_task("", total=None)

        def show(what: str, share: float | None = None) -> None:
            self._progress.update(task, description=what, total=1.0 if share else None, completed=share or 0.0)

        return show

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


if __name__ == "__main__":
    sys.exit(main())
