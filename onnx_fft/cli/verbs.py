"""One function a verb: reads its arguments, calls the library, prints."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from onnx_fft import native
from onnx_fft.bench import bench
from onnx_fft.cli.arguments import read_options
from onnx_fft.cli.console import ShowProgress, open_console
from onnx_fft.cli.files import check_files, write_files
from onnx_fft.cli.hints import word_as_flag
from onnx_fft.doctor import examine
from onnx_fft.errors import NativeUnavailable, RuntimeUnavailable, ValidationFailed
from onnx_fft.hints import Option, tell
from onnx_fft.host import user_folder
from onnx_fft.lowering import NATIVE
from onnx_fft.measure.cache import delete_entries, list_entries
from onnx_fft.native.profile import list_profiles
from onnx_fft.options import RewriteOptions
from onnx_fft.report.files import render_report
from onnx_fft.report.numbers import plural
from onnx_fft.report.text.drawing import print_result, print_summary
from onnx_fft.results import Report
from onnx_fft.rewrite import Rewritten, dry_run, rewrite
from onnx_fft.runtime.libraries import describe_missing_library
from onnx_fft.validate import validate

Verb = Callable[[argparse.Namespace, Console], int | None]


def run_rewrite(arguments: argparse.Namespace, console: Console) -> None:
    """Rewrite, print what was decided and how it compares, write."""
    check_files(arguments, reads=("input", "plan", "inputs"), writes=("output", "report", "save_plan"))
    options = read_options(arguments)
    try:
        with ShowProgress(console) as show:
            rewritten = rewrite(arguments.input, options=options, progress=show)
    except ValidationFailed as error:
        if error.rewritten is not None:
            _print_rewritten(error.rewritten, console)
            write_files(_render_rewritten(arguments, error.rewritten))
        problem = f"{error.problem}; {arguments.output} was not written"
        raise ValidationFailed(problem, error.expected, error.hint) from error
    files = _render_rewritten(arguments, rewritten)
    if arguments.save_plan is not None:
        files[arguments.save_plan] = f"{json.dumps(rewritten.plan, indent=2)}\n".encode()
    try:
        write_files(files, rewritten, arguments.output)
    finally:  # what was decided may have taken long to measure; whoever reads it may have gone
        _print_rewritten(rewritten, console)
    _print_lines([*_hint_at_native(rewritten.report, options), f"wrote {arguments.output}"], console)
    if rewritten.report.replaced and (note := describe_missing_library([rewritten.model])):
        _print_lines([f"note: {note}"], console)


def run_inspect(arguments: argparse.Namespace, console: Console) -> None:
    """Print what would be decided."""
    check_files(arguments, reads=("input", "plan", "inputs"), writes=("report",))
    options = read_options(arguments)
    with ShowProgress(console) as show:
        report, plan = dry_run(arguments.input, options, show)
    write_files(_render(arguments, report, plan=plan))
    if arguments.json:
        print(json.dumps(report.to_dict(), indent=2))
        return
    output = open_console()
    print_result(report, output, word_as_flag)
    _print_lines(_hint_at_native(report, options), output)


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
        print_result(validation, open_console(), word_as_flag)
    return 0 if validation.ok else ValidationFailed.exit_code


def run_bench(arguments: argparse.Namespace, console: Console) -> None:
    """Print how fast two models are."""
    from onnx_fft.report.plot import check_plot, render_plot

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
    files = _render(arguments, None, benchmark=benchmark)
    if arguments.plot:
        files[arguments.plot] = render_plot(benchmark, arguments.plot, title=arguments.original.name)
    write_files(files)
    if arguments.json:
        print(json.dumps(benchmark.to_dict(), indent=2))
        return
    print_result(benchmark, open_console(), word_as_flag)


def run_cache(arguments: argparse.Namespace, _console: Console) -> None:
    """Print what is kept and where, or delete it."""
    timings, profiles = list_entries(), list_profiles()
    if arguments.clear:
        delete_entries([*timings, *profiles])
    done = " deleted" if arguments.clear else ""
    print(f"{user_folder()}: {plural(len(timings), 'timing')}, {plural(len(profiles), 'machine profile')}{done}")


def run_doctor(arguments: argparse.Namespace, _console: Console) -> None:
    """Print what works here; raises NativeUnavailable or RuntimeUnavailable if the native library does not."""
    diagnosis = examine()
    if arguments.json:
        print(json.dumps(diagnosis.to_dict(), indent=2))
    else:
        print_result(diagnosis, open_console(), word_as_flag)
    if diagnosis.problem:
        raise (NativeUnavailable if diagnosis.onnxruntime else RuntimeUnavailable)(diagnosis.problem)


VERBS: dict[str, Verb] = {
    "rewrite": run_rewrite,
    "inspect": run_inspect,
    "validate": run_validate,
    "bench": run_bench,
    "cache": run_cache,
    "doctor": run_doctor,
}


def _print_rewritten(rewritten: Rewritten, console: Console) -> None:
    print_result(rewritten.report, console, word_as_flag)
    if rewritten.validation is not None:
        print_summary(rewritten.validation, console, word_as_flag)


def _hint_at_native(report: Report, options: RewriteOptions) -> list[str]:
    """A line that names the target `native`, if operators it may take are all left alone and the library loads here."""
    is_default = (options.target, options.lowering, options.plan) == ("standard", "auto", None)
    if not is_default or report.replaced or not any(row.geometry for row in report.rows):
        return []
    with suppress(RuntimeUnavailable):  # in a dry run nothing else may need it
        if native.is_available():
            hint = ("hint: the native library is installed; ", Option("target", NATIVE), " gains on more models")
            return [tell(hint, word_as_flag)]
    return []


def _print_lines(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _render_rewritten(arguments: argparse.Namespace, rewritten: Rewritten) -> dict[Path, bytes]:
    return _render(arguments, rewritten.report, validation=rewritten.validation, plan=rewritten.plan)


def _render(arguments: argparse.Namespace, report: Report | None, **parts: Any) -> dict[Path, bytes]:
    """The report that is to be written, by its path, if one is; `parts` are those of `render_report`."""
    if arguments.report is None:
        return {}
    model = arguments.original if report is None else arguments.input
    text = render_report(arguments.report, report, model_name=model.name, wording=word_as_flag, **parts)
    return {arguments.report: text.encode(errors="backslashreplace")}
