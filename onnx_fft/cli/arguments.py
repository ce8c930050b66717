"""The command line's verbs and flags, and how their values are written."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from onnx_fft import __version__
from onnx_fft.lowering import LOWERING_NAMES, TARGETS
from onnx_fft.options import DEFAULT_BUDGET_S, SELECTIONS

EXIT_CODES = {
    0: "done",
    1: "an error that nobody foresaw: a bug, please report it",
    2: "bad usage, or a file that is no valid model",
    3: "the models do not compute the same",
    4: "the model could not be brought to the opset that was asked for, or that is needed",
    5: "the output could not be written; what was there before is untouched",
    6: "the native library is missing or does not work",
    7: "ONNX Runtime's CUDA provider is missing or does not work",
    130: "interrupted",
}
CODE_DETAILS = {
    3: "; no output is left behind",
    130: "; nothing was written but timings to the cache, which the next --select measure goes on from",
}
"""What a code means beyond that where a model is rewritten."""
REWRITING = ("rewrite", "inspect")
VERB_CODES = {
    "rewrite": (3, 4, 5, 6, 7),
    "inspect": (4, 5, 6, 7),
    "validate": (3,),
    "bench": (5, 7),
    "cache": (),
    "doctor": (6,),
}
"""The codes a verb returns beside 0, 1, 2 and 130, which all do."""

SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
SECONDS = {"s": 1, "m": 60, "h": 3600}


def make_parser() -> argparse.ArgumentParser:
    """The parser of `onnx-fft`; the verb is `command` in what it returns."""
    parser = argparse.ArgumentParser(
        prog="onnx-fft",
        description="Rewrite the convolutions of an ONNX model that gain from it into the frequency domain.",
        epilog=describe_codes(EXIT_CODES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"onnx-fft {__version__}")
    verbs = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    _add_rewrite(verbs)
    _add_inspect(verbs)
    _add_validate(verbs)
    _add_bench(verbs)
    _add_cache(verbs)
    _add_doctor(verbs)
    return parser


def describe_codes(codes: Iterable[int], details: Mapping[int, str] | None = None) -> str:
    """One line an exit code."""
    more = details or {}
    return "\n".join(["exit codes:", *(f"  {code:<3}  {EXIT_CODES[code]}{more.get(code, '')}" for code in codes)])


def _add_rewrite(verbs: Any) -> None:
    verb = _add_verb(verbs, "rewrite", "write a model that computes the same, faster where its Convs gain")
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
    verb = _add_verb(verbs, "inspect", "show every convolution and what rewrite would do with it, and why")
    verb.add_argument("input", type=Path, help="the ONNX model to read")
    _add_choice(verb)
    _add_report(verb, "the report")
    verb.add_argument("--json", action="store_true", help="print JSON")


def _add_validate(verbs: Any) -> None:
    verb = _add_verb(verbs, "validate", "run two models on the same inputs and compare their outputs")
    verb.add_argument("original", type=Path)
    verb.add_argument("rewritten", type=Path)
    _add_feeds(verb)
    verb.add_argument("--rtol", type=float, help="relative limit in place of the tolerance table")
    verb.add_argument("--atol", type=float, default=0.0, help="absolute error allowed on top, per element (default 0)")
    verb.add_argument("--json", action="store_true", help="print JSON")


def _add_bench(verbs: Any) -> None:
    verb = _add_verb(verbs, "bench", "time two models against each other, interleaved in one process")
    verb.add_argument("original", type=Path)
    verb.add_argument("rewritten", type=Path)
    _add_feeds(verb)
    verb.add_argument("--threads", type=int, help="threads both models share (default: ONNX Runtime's own choice)")
    verb.add_argument(
        "--budget", type=_parse_seconds, default=10.0, metavar="TIME", help="time to spend, as 90s or 5m (default 10s)"
    )
    _add_report(verb, "the result")
    verb.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the result as a chart, .png or .svg; needs the extra 'plot'"
    )
    verb.add_argument("--json", action="store_true", help="print JSON")


def _add_cache(verbs: Any) -> None:
    verb = _add_verb(verbs, "cache", "show where timings of --select measure are kept, or delete them")
    verb.add_argument("--clear", action="store_true", help="delete all of them")


def _add_doctor(verbs: Any) -> None:
    verb = _add_verb(verbs, "doctor", "tell whether the native library and the CUDA provider work here, and test them")
    verb.add_argument("--json", action="store_true", help="print JSON")


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
    _add_kinds(verb)
    _add_names(verb)
    _add_input_shape(verb, "fix an input to this shape, in the model too; repeatable")
    verb.add_argument(
        "--max-growth",
        type=_parse_size,
        metavar="SIZE",
        help="how much larger the file may become, such as 64M or 1G (default: its own size, and at least 64M)",
    )
    verb.add_argument(
        "--plan", type=Path, metavar="JSON", help="replay a plan written by --save-plan instead of choosing"
    )
    verb.add_argument("--opset", type=int, help="convert the model to this opset, newer than its own, first")
    _add_measuring(verb)


def _add_kinds(verb: argparse.ArgumentParser) -> None:
    """What to replace by what, for what."""
    verb.add_argument(
        "--target",
        choices=list(TARGETS),
        default="standard",
        help="what the model is to run on: standard, any runtime; native, our native library, without which it "
        "runs as before; cuda, ONNX Runtime's CUDA provider, without which it may not run (default ort)",
    )
    verb.add_argument(
        "--lowering",
        choices=["auto", *LOWERING_NAMES],
        default="auto",
        help="how to compute a convolution: auto, the target's fastest; or one, wherever it applies (default auto)",
    )
    verb.add_argument(
        "--select",
        choices=SELECTIONS,
        default="auto",
        help="which convolutions: auto, those predicted to gain; all, whatever can be replaced; "
        "measure, those shown to gain in this model on this machine (default auto)",
    )


def _add_names(verb: argparse.ArgumentParser) -> None:
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


def _add_measuring(verb: argparse.ArgumentParser) -> None:
    measure = verb.add_argument_group("with --select measure")
    measure.add_argument(
        "--budget",
        type=_parse_seconds,
        metavar="TIME",
        help=f"time to spend, such as 90s or 5m (default {DEFAULT_BUDGET_S:.0f}s); "
        "one comparison with the original is always made",
    )
    measure.add_argument("--threads", type=int, help="threads to measure with (default: ONNX Runtime's own choice)")
    measure.add_argument("--no-cache", action="store_true", help="neither read nor write timings in the user's cache")


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
