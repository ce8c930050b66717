"""The command line: one function a verb, and the exit codes; flags are in `arguments.py`, the logic elsewhere."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich import progress as bars
from rich.console import Console

from onnx_fft.checks.result import Validation
from onnx_fft.cli.arguments import make_parser
from onnx_fft.doctor import examine
from onnx_fft.errors import NativeUnavailable, OnnxFftError, UsageError, ValidationFailed
from onnx_fft.measure.cache import cache_folder, clear_cache, list_entries
from onnx_fft.model.io import find_data_files, find_problem, load_model, staged_model
from onnx_fft.model.staging import check_output, write_text
from onnx_fft.progress import Progress
from onnx_fft.results import Report
from onnx_fft.rewrite import Rewritten, dry_run, rewrite
from onnx_fft.runtime.libraries import describe_missing_library
from onnx_fft.validate import validate

BAR_COLUMNS = 16
PIPED_COLUMNS = 10_000
"""Of what is no terminal: nothing is folded there, so that a row is a line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = make_parser().parse_args(arguments)
    console = _open_console(stderr=True)
    try:
        return VERBS[options.command](options, console) or 0
    except OnnxFftError as error:
        console.print(f"onnx-fft: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        console.print("onnx-fft: interrupted; nothing was written", style="red")
        return 130


def _open_console(*, stderr: bool = False) -> Console:
    console = Console(stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_COLUMNS
    return console


def _choice(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "target": options.target,
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
    _check_files(options, reads=("input", "plan"), writes=("output", "report", "save_plan"))
    with _ShowProgress(console) as show:
        rewritten = rewrite(options.input, **_choice(options), progress=show)
    with staged_model(rewritten.model, options.output, rewritten.base_dir) as staged:
        validation = None
        if not options.no_validate and rewritten.report.replaced:
            with _ShowProgress(console) as show:
                _check_standard(options.input, staged.path)
                validation = validate(options.input, staged.path, progress=show)
        _print_report(rewritten.report, console)
        if validation is not None:
            _print_lines(validation.summarize(), console)
        report = _render_rewritten(options, rewritten, validation)
        if validation is not None and not validation.ok:
            _write_text(options.report, report)
            raise ValidationFailed(
                f"{validation.verdict}; {options.output} was not written; "
                "look at --report, or leave the convolution out by --exclude"
            )
        staged.commit()
    _write_text(options.save_plan, json.dumps(rewritten.plan, indent=2))
    _write_text(options.report, report)
    _print_lines([f"wrote {options.output}"], console)
    if rewritten.report.replaced and (note := describe_missing_library([rewritten.model])):
        _print_lines([f"note: {note}"], console)


def _check_standard(original: Path, rewritten: Path) -> None:
    if (problem := find_problem(rewritten)) and not find_problem(original):
        raise ValidationFailed(
            f"got a rewritten model that onnx's checker refuses, unlike the original ({problem}); "
            "expected a valid one; nothing was written; please report this, and use --no-validate if you need the model"
        )


def _render_rewritten(options: argparse.Namespace, rewritten: Rewritten, validation: Validation | None) -> str:
    checked = None if validation is None else validation.to_dict()
    data = {**rewritten.report.to_dict(), "validation": checked}
    parts = {"report": rewritten.report, "validation": validation, "plan": rewritten.plan}
    return _render_report(options.report, data, options.input, **parts)


def _run_inspect(options: argparse.Namespace, console: Console) -> None:
    _check_files(options, reads=("input", "plan"), writes=("report",))
    with _ShowProgress(console) as show:
        report, plan = dry_run(options.input, **_choice(options), progress=show)
    _write_text(
        options.report, _render_report(options.report, report.to_dict(), options.input, report=report, plan=plan)
    )
    if options.json:
        print(json.dumps(report.to_dict(), indent=2))
        return
    _print_report(report, _open_console())


def _run_validate(options: argparse.Namespace, console: Console) -> int:
    with _ShowProgress(console) as show:
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
        _print_lines(validation.describe(), _open_console())
    return 0 if validation.ok else ValidationFailed.exit_code


def _run_bench(options: argparse.Namespace, console: Console) -> None:
    from onnx_fft.bench import bench
    from onnx_fft.report.plot import check_plot, plot_benchmark

    _check_files(options, reads=("original", "rewritten", "inputs"), writes=("report", "plot"))
    if options.plot:
        check_plot(options.plot)
    with _ShowProgress(console) as show:
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
    parts = {"report": None, "benchmark": benchmark}
    _write_text(options.report, _render_report(options.report, benchmark.to_dict(), options.original, **parts))
    if options.plot:
        plot_benchmark(benchmark, options.plot, title=options.original.name)
    if options.json:
        print(json.dumps(benchmark.to_dict(), indent=2))
        return
    for line in benchmark.describe():
        print(line)


def _print_report(report: Report, console: Console) -> None:
    console.print(report.to_table(console.width))
    _print_lines([report.summarize(), *(() if report.measurement is None else report.measurement.notes)], console)


def _run_cache(options: argparse.Namespace, _console: Console) -> None:
    folder = cache_folder()
    if options.clear:
        print(f"{folder}: {clear_cache()} timings deleted")
    else:
        print(f"{folder}: {len(list_entries())} timings")


def _run_doctor(options: argparse.Namespace, _console: Console) -> None:
    diagnosis = examine()
    if options.json:
        print(json.dumps(diagnosis.to_dict(), indent=2))
    else:
        for line in diagnosis.describe():
            print(line)
    if diagnosis.problem:
        raise NativeUnavailable(diagnosis.problem)


def _print_lines(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _check_files(options: argparse.Namespace, *, reads: Sequence[str], writes: Sequence[str]) -> None:
    """Before any work: can the files be written, and is none of them another one that the command has to do with?"""
    given = {name: path for name in (*reads, *writes) if (path := getattr(options, name)) is not None}
    others = {name: given[name] for name in reads if name in given}
    for name in (name for name in writes if name in given):
        check_output(given[name])
        for other, path in others.items():
            if _is_same_file(given[name], path) and (name, other) != ("output", "input"):
                raise UsageError(
                    f"got {str(given[name])!r} as {_print_flag(name)} and as {_print_flag(other)}; "
                    "expected different files; choose another name"
                )
        if given[name].exists():
            models = [given[other] for other in reads if other in ("input", "original", "rewritten")]
            _check_no_data(given[name], models)
        others[name] = given[name]


def _check_no_data(path: Path, models: Sequence[Path]) -> None:
    for model in models:
        if any(_is_same_file(path, file) for file in find_data_files(load_model(model))):
            raise UsageError(
                f"got {str(path)!r}, which holds data of {str(model)!r}; expected another file; choose another name"
            )


def _is_same_file(one: Path, other: Path) -> bool:
    return one.samefile(other) if one.exists() and other.exists() else one.resolve() == other.resolve()


def _print_flag(name: str) -> str:
    return name if name in ("input", "output", "original", "rewritten") else "--" + name.replace("_", "-")


def _write_text(path: Path | None, text: str) -> None:
    if path is not None:
        write_text(path, text + "\n")


def _render_report(path: Path | None, data: dict[str, Any], model: Path, **parts: Any) -> str:
    """`data` as JSON, or `parts`, the arguments of `render_report`, as a page, by the suffix of `path`."""
    if path is None or path.suffix.lower() not in (".html", ".htm"):
        return json.dumps(data, indent=2)
    from onnx_fft.report.html.page import render_report

    return render_report(model_name=model.name, **parts)


VERBS: dict[str, Callable[[argparse.Namespace, Console], int | None]] = {
    "rewrite": _run_rewrite,
    "inspect": _run_inspect,
    "validate": _run_validate,
    "bench": _run_bench,
    "cache": _run_cache,
    "doctor": _run_doctor,
}


class _ShowProgress:
    """A spinner, the current step and a bar on a terminal; nothing elsewhere."""

    def __init__(self, console: Console) -> None:
        text = bars.TextColumn("{task.description}", markup=False)
        columns = (bars.SpinnerColumn(), text, bars.BarColumn(BAR_COLUMNS), bars.TimeElapsedColumn())
        self._progress = bars.Progress(*columns, console=console, transient=True, disable=not console.is_terminal)

    def __enter__(self) -> Progress:
        self._progress.start()
        task = self._progress.add_task("", total=None)

        def show(what: str, share: float | None = None) -> None:
            self._progress.update(task, description=what, total=1.0 if share else None, completed=share or 0.0)

        return show

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


if __name__ == "__main__":
    sys.exit(main())
