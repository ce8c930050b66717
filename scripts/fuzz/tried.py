"""What came of one input: anything but a result or an `OnnxFftError` is a finding."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import onnx_fft

PACKAGE = Path(onnx_fft.__file__).parent

Outcome = str | dict[str, int]
"""What came of a verb; or, if it did several things, how often each."""

Tell = Callable[[str], None]
"""Called with each verb before it runs."""


@dataclass
class Tried:
    """One input: what came of each verb, and findings, each with its kind, a signature and its text."""

    seed: int
    verbs: dict[str, Outcome] = field(default_factory=dict)
    findings: list[dict[str, str]] = field(default_factory=list)

    def find(self, kind: str, signature: str, text: str = "") -> None:
        """Note a finding; equal signatures mean the same fault."""
        self.findings.append({"kind": kind, "signature": signature, "text": text})

    @contextmanager
    def trying(self, verb: str, tell: Tell) -> Iterator[None]:
        """Run a block as `verb`: it may end, or raise an `OnnxFftError`."""
        tell(verb)
        self.verbs[verb] = "ok"
        try:
            yield
        except onnx_fft.OnnxFftError as error:
            self.verbs[verb] = type(error).__name__
            str(error)
        except Exception as error:
            self.verbs[verb] = "finding"
            self.find("traceback", f"{verb}: {_sign(error)}", "".join(traceback.format_exception(error)))


def _sign(error: BaseException) -> str:
    """The error's type, and the last line of this package that it passed."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if PACKAGE in Path(frame.filename).parents]
    where = f"{Path(frames[-1].filename).relative_to(PACKAGE)}:{frames[-1].lineno}" if frames else "outside"
    return f"{type(error).__name__} at {where}"
