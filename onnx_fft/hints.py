"""Next steps as data: which option to set, worded by whoever prints it.

A library error and a report name an option by its name in Python; the command line says it as a flag. So a hint is text
with `Option`s in it, and a *wording* turns each into words: `word_in_python` here, `cli.hints.word_as_flag` there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """A field of `RewriteOptions`, or an argument of another public function, and the value to give it, if any."""

    name: str
    value: object = None


Hint = str | tuple[str | Option, ...]
"""What to do next: text, or text with options in it; "" for nothing."""

Wording = Callable[[Option], str]


def word_in_python(option: Option) -> str:
    """`opset=17`; the name alone without a value."""
    return option.name if option.value is None else f"{option.name}={option.value!r}"


def tell(hint: Hint, wording: Wording = word_in_python) -> str:
    """The hint as text."""
    parts = (hint,) if isinstance(hint, str) else hint
    return "".join(part if isinstance(part, str) else wording(part) for part in parts)


@dataclass(frozen=True, slots=True)
class Note:
    """What a reader has to know beside a result's numbers, and what to do about it, "" for nothing."""

    text: str
    hint: Hint = ""

    def tell(self, wording: Wording = word_in_python) -> str:
        """The whole note, options in the words of whoever prints it."""
        return "; ".join(filter(None, (self.text, tell(self.hint, wording))))
