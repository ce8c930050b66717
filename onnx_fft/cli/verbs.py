"""One function a verb: reads its arguments, calls the library, prints."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from onnx_fft.bench import bench
from onnx_fft.checks.result import Validation
from onnx_fft.cli.arguments import read_options
from onnx_fft.cli.console import ShowProgress, open_console
from onnx_fft.cli.files import check_files
from onnx_fft.doctor import examine
from onnx_fft.errors import NativeUnavailable, ValidationFailed
from onnx_fft.measure.cache import cache_folder, clear_cache, list_entries
from onnx_fft.model.staging import write_text
from onnx_fft.results import Report
from onnx_fft.rewrite import Rewritten, dry_run, rewrite
from onnx_fft.runtime.libraries import describe_missing_library
from onnx_fft.validate import validate

Verb = Callable[[argparse.Namespace, Console], int | None]


def run_rewrite(arguments: argparse.Namespace, console: Console) -> None:
    """Rewrite, print what was decided and how it compares, write."""
    check_files(arguments, reads=("input", "plan"), writes=("output", "report", "save_plan"))
    try:
        with ShowProgress(console) as show:
            rewritten = rewrite(arguments.input, options=read_options(arguments), progress=show)
    except ValidationFailed as error:
        if error.rewritten is not None:
            _print_rewritten(error.rewritten, console)
            _write_text(arguments.report, _render_rewritten(arguments, error.rewritten))
        problem = f"{error.problem}; {arguments.output} was not written"
        raise ValidationFailed(problem, error.expected, error.hint) from error
    _print_rewritten(rewritten, console)
    report = _render_rewritten(arguments, rewritten)
    rewritten.save(arguments.output)
    _write_text(arguments.save_plan, json.dumps(rewritten.plan, indent=2))
    _write_text(arguments.report, report)
    _print_lines([f"wrote {arguments.output}"], console)
    if rewritten.report.replaced and (note := describe_missing_library([rewritten.model])):
        _print_lines([f"note: {note}"], console)


def run_inspect(arguments: argparse.Namespace, console: Console) -> None:
    """Print what would be decided."""
    check_files(arguments, reads=("input", "plan"), writes=("report",))
    with ShowProgress(console) as show:
        report, plan = dry_run(arguments.input, read_options(arguments), show)
    page = _render_report(arguments.report, report.to_dict(), arguments.input, report=report, plan=plan)
    _write_text(arguments.report, page)
    if arguments.json:
        print(json.dumps(report.to_dict(), indent=2))
        return
    _print_report(report, open_console())


def run_validate(arguments: argparse.Namespace, console: Console) -> int:
    """Print how two models compare."""
    with ShowProgress(console) as show:
        validation = validate(
            arguments.original,
            arguments.rewritten,
            inputs=arguments.inputs,
            input_shapes=dict(arguments.input_shapes),
            seed=arguments.seed,
            rtol=arguments.rtol,
            atol=arguments.atol,
            custom_ops=arguments.custom_ops,
            progress=show,
        )
    if arguments.json:
        print(json.dumps(validation.to_dict(), indent=2))
    else:
        _print_lines(validation.describe(), open_console())
    return 0 if validation.ok else ValidationFailed.exit_code


def run_bench(arguments: argparse.Namespace, console: Console) -> None:
    """Print how fast two models are."""
    from onnx_fft.report.plot import check_plot, plot_benchmark

    check_files(arguments, reads=("original", "rewritten", "inputs"), writes=("report", "plot"))
    if arguments.plot:
        check_plot(arguments.plot)
    with ShowProgress(console) as show:
        benchmark = bench(
            arguments.original,
            arguments.rewritten,
            inputs=arguments.inputs,
            input_shapes=dict(arguments.input_shapes),
            threads=arguments.threads,
            seed=arguments.seed,
            budget_s=arguments.budget_s,
            custom_ops=arguments.custom_ops,
            progress=show,
        )
    parts = {"report": None, "benchmark": benchmark}
    _write_text(arguments.report, _render_report(arguments.report, benchmark.to_dict(), arguments.original, **parts))
    if arguments.plot:
        plot_benchmark(benchmark, arguments.plot, title=arguments.original.name)
    if arguments.json:
        print(json.dumps(benchmark.to_dict(), indent=2))
        return
    for line in benchmark.describe():
        print(line)


def run_cache(arguments: argparse.Namespace, _console: Console) -> None:
    """Print where timings are kept, or delete them."""
    folder = cache_folder()
    if arguments.clear:
        print(f"{folder}: {clear_cache()} timings deleted")
    else:
        print(f"{folder}: {len(list_entries())} timings")


def run_doctor(arguments: argparse.Namespace, _console: Console) -> None:
    """Print what works here; raises NativeUnavailable if the native library does not."""
    diagnosis = examine()
    if arguments.json:
        print(json.dumps(diagnosis.to_dict(), indent=2))
    else:
        for line in diagnosis.describe():
            print(line)
    if diagnosis.problem:
        raise NativeUnavailable(diagnosis.problem)


VERBS: dict[str, Verb] = {
    "rewrite": run_rewrite,
    "inspect": run_inspect,
    "validate": run_validate,
    "bench": run_bench,
    "cache": run_cache,
    "doctor": run_doctor,
}


def _print_rewritten(rewritten: Rewritten, console: Console) -> None:
    _print_report(rewritten.report, console)
    if rewritten.validation is not None:
        _print_lines(rewritten.validation.summarize(), console)


def _print_report(report: Report, console: Console) -> None:
    console.print(report.to_table(console.width))
    _print_lines([report.summarize(), *(() if report.measurement is None else report.measurement.notes)], console)


def _print_lines(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _render_rewritten(arguments: argparse.Namespace, rewritten: Rewritten) -> str:
    validation: Validation | None = rewritten.validation
    data = {**rewritten.report.to_dict(), "validation": None if validation is None else validation.to_dict()}
    parts = {"report": rewritten.report, "validation": validation, "plan": rewritten.plan}
    return _render_report(arguments.report, data, arguments.input, **parts)


def _write_text(path: Path | None, text: str) -> None:
    if path is not None:
        write_text(path, text + "\n")


def _render_report(path: Path | None, data: dict[str, Any], model: Path, **parts: Any) -> str:
    """`data` as JSON, or `parts`, the arguments of `render_report`, as a page, by the suffix of `path`."""
    if path is None or path.suffix.lower() not in (".html", ".htm"):
        return json.dumps(data, indent=2)
    from onnx_fft.report.html.page import render_report

    return render_report(model_name=model.name, **parts)
