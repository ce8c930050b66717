"""What is done with one input, and what came of it: anything but a result or an `OnnxFftError` is a finding."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import onnx
from onnx import ModelProto

import onnx_fft
from onnx_fft.cli import main
from onnx_fft.native import is_available, library_path
from onnx_fft.rewrite import dry_run
from scripts.fuzz.inputs import Input, draw_input
from scripts.fuzz.judge import find_difference, open_plain, run_lengths
from scripts.fuzz.tried import Tell, Tried

BUG = 1
"""The exit code of the command line for a bug."""


def try_input(seed: int, folder: Path, tell: Tell) -> Tried:
    """Draw the input of this seed, write it to the folder, and run every verb on it."""
    tell("draw")
    drawn = draw_input(seed)
    path, rng, tried = drawn.write(folder), Random(drawn.seed_after), Tried(seed)
    described = {"mutations": drawn.done, "choices": drawn.choices, "has_plan": drawn.has_plan}
    (folder / "input.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8", errors="replace")
    with tried.trying("inspect", tell):
        code = main(["inspect", str(path), "--report", str(folder / "page.html")])
        tried.verbs["inspect"] = f"exit {code}" if code else "ok"
        if code == BUG:
            tried.find("traceback", "inspect: exit code 1")
    out = folder / "out.onnx"
    with tried.trying("rewrite", tell):
        rewritten = onnx_fft.rewrite(_choose_source(path, rng), **_make_choices(drawn, folder))
        onnx_fft.describe(rewritten.report)
        rewritten.save(out)
    target = drawn.choices.get("target", "standard")
    if out.exists():
        _validate(tried, "validate", path, out, tell)
    if rng.random() < 0.3:
        onnx.save(drawn.valid, folder / "valid.onnx")
        _validate(tried, "compare", folder / "valid.onnx", path, tell)
    return _judge(tried, folder, path, target, tell)


def try_alone(seed: int, folder: Path, tell: Tell) -> Tried:
    """The input in onnx and ONNX Runtime without this package: what ends the process here is their fault."""
    tell("alone")
    path, tried = draw_input(seed).write(folder), Tried(seed)
    for run in (_check_alone, _run_alone):
        try:
            run(path)
        except Exception as error:  # whatever they say, they live
            tried.verbs[run.__name__] = type(error).__name__
    return tried


def _check_alone(path: Path) -> None:
    onnx.checker.check_model(str(path), full_check=True)


def _run_alone(path: Path) -> None:
    session = open_plain(path, ())
    next(run_lengths(session, session.get_inputs(), 0), None)  # runs it; a Loop may have no end


def _choose_source(path: Path, rng: Random) -> Any:
    """The path, or a model object."""
    if rng.random() < 0.6:
        return path
    model = ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except Exception:  # protobuf's DecodeError has no type information
        return path
    return model


def _make_choices(drawn: Input, folder: Path) -> dict[str, Any]:
    """The options; a plan is made for the valid model first."""
    if not drawn.has_plan:
        return drawn.choices
    target = Random(drawn.seed).choice(("standard", "native"))
    options = onnx_fft.RewriteOptions(target=target, select="all")
    return {**drawn.choices, "plan": drawn.write_plan(folder, dry_run(drawn.valid, options).plan)}


def _validate(tried: Tried, verb: str, before: Path, after: Path, tell: Tell) -> None:
    with tried.trying(verb, tell):
        validation = onnx_fft.validate(before, after)
        onnx_fft.describe(validation)
        json.dumps(validation.to_dict())
        tried.verbs[verb] = "same" if validation.ok else validation.verdict.partition(":")[0]


def _judge(tried: Tried, folder: Path, path: Path, target: str, tell: Tell) -> Tried:
    """Run what was called the same once more, without this package."""
    tell("judge")
    libraries = [library_path()] if is_available() else []
    pairs = {"validate": (path, folder / "out.onnx"), "compare": (folder / "valid.onnx", path)}
    for verb, (before, after) in pairs.items():
        if tried.verbs.get(verb) != "same" or target == "cuda":
            continue
        try:
            sentence = find_difference(before, after, tried.seed, libraries)
        except Exception as error:  # the original ran, so the other has to
            sentence = f"does not run: {error}"
        if sentence:
            tried.find("differs", f"{verb}: called the same, and differs", sentence)
    return tried
