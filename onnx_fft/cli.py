"""The command line: one function a verb, and the exit codes; flags are in `arguments.py`, the logic elsewhere."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from onnx_fft.arguments import make_parser
from onnx_fft.checks.result import Validation
from onnx_fft.errors import OnnxFftError, ValidationFailedError
from onnx_fft.measure.cache import cache_folder, clear_cache, list_entries
from onnx_fft.model.io import LoadedModel, load_model, model_bytes, save_model, write_text
from onnx_fft.report import Report
from onnx_fft.rewrite import inspect, rewrite
from onnx_fft.validate import validate

BAR_COLUMNS = 16


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = make_parser().parse_args(arguments)
    console = Console(stderr=True)
    try:
        VERBS[options.command](options, console)
        return 0
    except OnnxFftError as error:
        console.print(f"onnx-fft: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        console.print("onnx-fft: interrupted; nothing was written", style="red")
        return 130


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


VERBS = {
    "rewrite": _run_rewrite,
    "inspect": _run_inspect,
    "validate": _run_validate,
    "bench": _run_bench,
    "cache": _run_cache,
}


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
