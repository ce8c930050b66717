"""What a release changes in the project's files, and what it reads there."""

from __future__ import annotations

import re
from datetime import date

CHANGELOG, VERSION, CITATION = "CHANGELOG.md", "onnx_fft/_version.py", ".github/CITATION.cff"
UNRELEASED = "Unreleased"


class ReleaseError(RuntimeError):
    """The project is not ready for a release; the message says what is missing."""


def find_next(changelog: str) -> str:
    """The version at the top of the changelog. Raises ReleaseError if that is released, or has no entry."""
    heading = re.search(r"^## \[(.+?)\] - (.+)$", changelog, re.M)
    if heading is None or not re.fullmatch(r"\d+\.\d+\.\d+", heading[1]):
        got = repr(heading[0]) if heading else "no heading of a version"
        raise ReleaseError(f"got {got} at the top of {CHANGELOG}; expected '## [1.2.3] - {UNRELEASED}'")
    if heading[2] != UNRELEASED:
        raise ReleaseError(f"got version {heading[1]} of {heading[2]} at the top of {CHANGELOG}; add one above it")
    if not re.search(r"^- ", read_notes(changelog, heading[1]), re.M):
        raise ReleaseError(f"got no entry under {heading[1]} in {CHANGELOG}; say what is new")
    return heading[1]


def read_notes(changelog: str, version: str) -> str:
    """What the changelog says of a version."""
    section = re.search(rf"^## \[{re.escape(version)}\] .*?\n(.*?)(?=^## \[|\Z)", changelog, re.M | re.S)
    return section[1].strip() + "\n" if section else ""


def is_dated(changelog: str, version: str) -> bool:
    """Whether the changelog has the version with the day of its release."""
    return bool(re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.M))


def date_changelog(changelog: str, version: str, day: date) -> str:
    """The changelog with the day of the release in place of "Unreleased"."""
    return changelog.replace(f"## [{version}] - {UNRELEASED}\n", f"## [{version}] - {day.isoformat()}\n", 1)


def set_version(module: str, version: str) -> str:
    """`_version.py` with that version. Raises ReleaseError if there is no line for it."""
    return _set_line(module, r'^(__version__ = ").*(")$', version, VERSION)


def set_citation(citation: str, version: str, day: date) -> str:
    """CITATION.cff with that version and day. Raises ReleaseError if there is no line for them."""
    text = _set_line(citation, r"^(version: ).*()$", version, CITATION)
    return _set_line(text, r"^(date-released: ).*()$", day.isoformat(), CITATION)


def _set_line(text: str, pattern: str, value: str, file: str) -> str:
    changed, count = re.subn(pattern, rf"\g<1>{value}\g<2>", text, flags=re.M)
    if count != 1:
        raise ReleaseError(f"got {count} lines like {pattern!r} in {file}; expected one")
    return changed
