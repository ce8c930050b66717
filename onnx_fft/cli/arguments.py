"""The command line's verbs and flags.

A flag that sets a field of `RewriteOptions` has its name as `dest` and no value of its own unless it is given, so that
the defaults stand in one place.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from onnx_fft import __version__
from onnx_fft.bench import BENCH_BUDGET_S
from onnx_fft.cli.values import parse_seconds, parse_shape, parse_size
from onnx_fft.lowering import LOWERING_NAMES, TARGETS
from onnx_fft.options import DEFAULTS, SELECTIONS, RewriteOptions

EXIT_CODES = {
    0: "done",
    1: "an unexpected error: a bug, please report it",
    2: "bad usage, or a file that is not a valid model",
    3: "the models do not compute the same",
    4: "the model could not be converted to the opset that was asked for, or that is needed",
    5: "the output could not be written; what was there before is untouched",
    6: "the native library is missing or does not work",
    7: "ONNX Runtime's CUDA provider is missing or does not work",
    8: "ONNX Runtime is not installed",
    130: "interrupted or terminated",
}
CODE_DETAILS = {
    3: "; no output is left behind",
    130: "; a file that was not complete is not there, and the next --select measure goes on from the cached timings",
}
"""What a code means beyond that if a model is rewritten."""
REWRITING = ("rewrite", "inspect")
VERB_CODES = {
    "rewrite": (3, 4, 5, 6, 7, 8),
    "inspect": (4, 5, 6, 7, 8),
    "validate": (3, 8),
    "bench": (5, 7, 8),
    "cache": (5,),
    "doctor": (6, 8),
}
"""The codes a verb returns beside 0, 1, 2 and 130, which all do."""


def make_parser() -> argparse.ArgumentParser:
    """The parser of `onnx-fft`; the verb is `command` in what it returns."""
    parser = argparse.ArgumentParser(
        prog="onnx-fft",
        description="Make convolutions and Fourier transforms of ONNX models faster on ONNX Runtime, and check that "
        "they compute the same.",
        epilog=describe_codes(EXIT_CODES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"onnx-fft {__version__}")
    verbs = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for add in (_add_rewrite, _add_inspect, _add_validate, _add_bench, _add_cache, _add_doctor):
        add(verbs)
    return parser


def read_options(arguments: argparse.Namespace) -> RewriteOptions:
    """The options among the arguments of a verb that rewrites."""
    names = {field.name for field in fields(RewriteOptions)}
    given = {name: value for name, value in vars(arguments).items() if name in names}
    return RewriteOptions(**given | {"input_shapes": dict(arguments.input_shapes)})


def describe_codes(codes: Iterable[int], details: Mapping[int, str] | None = None) -> str:
    """One line an exit code."""
    more = details or {}
    return "\n".join(["exit codes:", *(f"  {code:<3}  {EXIT_CODES[code]}{more.get(code, '')}" for code in codes)])


def _add_rewrite(verbs: Any) -> None:
    verb = _add_verb(verbs, "rewrite", "write a model that computes the same, faster if some of its operators gain")
    verb.add_argument("input", type=Path, help="the ONNX model to read")
    verb.add_argument("output", type=Path, help="the file to write, not the input; written only if all went well")
    _add_choice(verb)
    verb.add_argument(
        "--save-plan", type=Path, metavar="JSON", help="write what was decided, to edit and pass to --plan"
    )
    _add_report(verb, "the report, validation included")
    verb.add_argument(
        "--no-validate",
        dest="validate",
        action="store_false",
        default=argparse.SUPPRESS,
        help="do not run both models against each other before writing",
    )


def _add_inspect(verbs: Any) -> None:
    verb = _add_verb(verbs, "inspect", "show what rewrite would do with each operator that it knows, and why")
    verb.add_argument("input", type=Path, help="the ONNX model to read")
    _add_choice(verb)
    _add_report(verb, "the report")
    _add_json(verb)


def _add_validate(verbs: Any) -> None:
    verb = _add_verb(verbs, "validate", "run two models on the same inputs and compare their outputs")
    verb.add_argument("original", type=Path, help="the ONNX model to compare with")
    verb.add_argument("rewritten", type=Path, help="the ONNX model to judge")
    _add_feeds(verb)
    verb.add_argument("--rtol", type=float, help="relative limit in place of the tolerance table")
    verb.add_argument("--atol", type=float, default=0.0, help="absolute error allowed on top, per element (default 0)")
    _add_json(verb)


def _add_bench(verbs: Any) -> None:
    verb = _add_verb(verbs, "bench", "time two models against each other, interleaved in one process")
    verb.add_argument("original", type=Path, help="the ONNX model to compare with")
    verb.add_argument("rewritten", type=Path, help="the ONNX model to judge")
    _add_feeds(verb)
    verb.add_argument("--threads", type=int, help="threads both models share (default: ONNX Runtime's own choice)")
    verb.add_argument(
        "--budget",
        dest="budget_s",
        type=parse_seconds,
        default=BENCH_BUDGET_S,
        metavar="TIME",
        help=f"time to spend, such as 90s or 5m (default {BENCH_BUDGET_S:.0f}s)",
    )
    _add_report(verb, "the result")
    verb.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the result as a chart, .png or .svg; needs the extra 'plot'"
    )
    _add_json(verb)


def _add_cache(verbs: Any) -> None:
    verb = _add_verb(
        verbs, "cache", "show where timings and what was measured of this machine are kept, or delete them"
    )
    verb.add_argument("--clear", action="store_true", help="delete all of them")


def _add_doctor(verbs: Any) -> None:
    _add_json(_add_verb(verbs, "doctor", "test whether the native library and the CUDA provider work here"))


def _add_verb(verbs: Any, name: str, description: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=description,
        description=description[0].upper() + description[1:] + ".",
        epilog=describe_codes((0, 1, 2, *VERB_CODES[name], 130), CODE_DETAILS if name in REWRITING else None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return verb


def _add_choice(verb: argparse.ArgumentParser) -> None:
    """The fields of RewriteOptions, but for `validate`."""
    _add_kinds(verb)
    _add_names(verb)
    _add_input_shape(verb, "fix an input to this shape, in the model too; repeatable")
    _add_option(
        verb,
        "--inputs",
        type=Path,
        metavar="NPZ",
        help="inputs by name, to validate and to measure on; random ones otherwise",
    )
    _add_option(
        verb,
        "--freeze-initializers",
        action="store_true",
        help="treat initializers that are inputs too as constants: callers can no longer override them",
    )
    _add_custom_ops(verb)
    _add_option(
        verb,
        "--max-growth",
        dest="max_growth_bytes",
        type=parse_size,
        metavar="SIZE",
        help="how much larger constants may make the file, such as 64M or 1G (default: its own size, and at least 64M)",
    )
    _add_option(
        verb,
        "--max-memory",
        dest="max_memory_bytes",
        type=parse_size,
        metavar="SIZE",
        help="how much memory the native library may hold beside the model, such as 256M (default: the model's size "
        "and its largest site's input and output, and at least 256M)",
    )
    _add_option(
        verb, "--plan", type=Path, metavar="JSON", help="replay a plan written by --save-plan instead of choosing"
    )
    _add_option(verb, "--opset", type=int, help="convert the model to this opset, newer than its own, first")
    _add_measuring(verb)


def _add_option(verb: Any, flag: str, **settings: Any) -> None:
    """A flag that sets a field of RewriteOptions."""
    verb.add_argument(flag, default=argparse.SUPPRESS, **settings)


def _add_kinds(verb: argparse.ArgumentParser) -> None:
    """What to replace by what, for what."""
    _add_option(
        verb,
        "--target",
        choices=list(TARGETS),
        help="what the model is to run on: standard, any runtime; native, our native library, without which it runs as "
        f"before; cuda, ONNX Runtime's CUDA provider, without which it may not run (default {DEFAULTS.target})",
    )
    _add_option(
        verb,
        "--lowering",
        choices=["auto", *LOWERING_NAMES],
        help="how to compute an operator: auto, the target's fastest; or one, wherever it applies "
        f"(default {DEFAULTS.lowering})",
    )
    _add_option(
        verb,
        "--select",
        choices=SELECTIONS,
        help="which operators: auto, those predicted to gain; all, all that can be replaced; measure, those shown "
        f"to gain in this model on this machine (default {DEFAULTS.select})",
    )


def _add_names(verb: argparse.ArgumentParser) -> None:
    _add_option(
        verb, "--include", action="append", metavar="REGEX", help="only operators whose name matches; repeatable"
    )
    _add_option(verb, "--exclude", action="append", metavar="REGEX", help="no operator whose name matches; repeatable")


def _add_measuring(verb: argparse.ArgumentParser) -> None:
    measure = verb.add_argument_group("with --select measure")
    _add_option(
        measure,
        "--budget",
        dest="budget_s",
        type=parse_seconds,
        metavar="TIME",
        help=f"time to spend, such as 90s or 5m (default {DEFAULTS.budget_s:.0f}s); "
        "one comparison with the original is always made",
    )
    _add_option(measure, "--threads", type=int, help="threads to measure with (default: ONNX Runtime's own choice)")
    _add_option(
        measure,
        "--no-cache",
        dest="use_cache",
        action="store_false",
        help="neither read nor write timings in the user's cache",
    )


def _add_report(verb: argparse.ArgumentParser, what: str) -> None:
    text = f"write {what} to this file: a page for the browser if its name ends in .html, JSON otherwise"
    verb.add_argument("--report", type=Path, metavar="FILE", help=text)


def _add_json(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--json", action="store_true", help="print JSON")


def _add_feeds(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--inputs", type=Path, metavar="NPZ", help="inputs by name; random ones otherwise")
    _add_input_shape(verb, "shape of an input that the model leaves open; repeatable")
    verb.add_argument("--seed", type=int, default=0, help="seed of random inputs (default 0)")
    _add_custom_ops(verb)


def _add_custom_ops(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--custom-ops",
        action="append",
        default=[],
        type=Path,
        metavar="LIBRARY",
        help="a library of operators that the model needs to run; repeatable",
    )


def _add_input_shape(verb: argparse.ArgumentParser, text: str) -> None:
    verb.add_argument(
        "--input-shape",
        dest="input_shapes",
        action="append",
        default=[],
        type=parse_shape,
        metavar="NAME:1x3x224x224",
        help=text,
    )
