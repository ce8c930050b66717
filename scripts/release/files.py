"""Builds what is published and writes its checksums; the workflow of a release calls this on the tag that was pushed.

    python -m scripts.release.files dist --tag v1.2.3

Needs what scripts/release/requirements.txt lists. The exit code is 1 if the tag is not that of the version, or if a
file is missing or of another version.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from scripts.release.texts import CHANGELOG, VERSION, ReleaseError, is_dated, read_notes
from scripts.shared.paths import ROOT

BUILDER = "scripts/release/build_wheels.sh"
PLATFORMS = "scripts/release/platforms.txt"
CHECKSUMS, NOTES = "SHA256SUMS", "NOTES.md"


def build(root: Path, dist: Path) -> None:
    """Make the sdist and every wheel of the checkout. Raises ReleaseError if that fails."""
    environment = {**os.environ, "PYTHON": sys.executable}
    if subprocess.run(["bash", BUILDER, str(dist)], cwd=root, env=environment, check=False).returncode:
        raise ReleaseError(f"{BUILDER} failed")


def list_expected(root: Path, version: str) -> list[str]:
    """The names of all files of a version: the sdist, and a wheel for each line of platforms.txt."""
    lines = [line.split() for line in (root / PLATFORMS).read_text().splitlines() if line and line[0] != "#"]
    return [f"onnx_fft-{version}.tar.gz", *(f"onnx_fft-{version}-py3-none-{tag}.whl" for tag, *_ in lines)]


def sort_tags(name: str) -> str:
    """A file's name with the platforms of its tag in order: a wheel may name them in any."""
    stem, suffix = name[: -len(".whl")], name[-len(".whl") :]
    rest, _, platforms = stem.rpartition("-")
    return f"{rest}-{'.'.join(sorted(platforms.split('.')))}{suffix}" if suffix == ".whl" else name


def check_files(dist: Path, expected: Sequence[str], version: str) -> list[str]:
    """The names of files that are missing. Raises ReleaseError for one that is not expected, or of another version."""
    found = sorted(path.name for path in dist.iterdir() if path.suffix in (".whl", ".gz"))
    known = {sort_tags(name) for name in expected}
    if strange := [name for name in found if sort_tags(name) not in known]:
        raise ReleaseError(f"got {', '.join(strange)} in {dist}; expected {', '.join(expected)} and nothing else")
    for name in found:
        if name.endswith(".whl"):
            metadata = zipfile.ZipFile(dist / name).read(f"onnx_fft-{version}.dist-info/METADATA").decode()
            if f"\nVersion: {version}\n" not in metadata:
                raise ReleaseError(f"got {name}, whose metadata name another version than {version}")
    there = {sort_tags(name) for name in found}
    return [name for name in expected if sort_tags(name) not in there]


def write_checksums(dist: Path) -> Path:
    """SHA256SUMS of all packages, as `sha256sum --check` reads it."""
    packages = sorted(path for path in dist.iterdir() if path.suffix in (".whl", ".gz"))
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in packages]
    sums = dist / CHECKSUMS
    sums.write_text("".join(lines))
    return sums


def check_tag(root: Path, tag: str) -> str:
    """The version of a tag. Raises ReleaseError if the checkout has another, or the changelog no day for it."""
    version = tag.removeprefix("v")
    if f'__version__ = "{version}"' not in (root / VERSION).read_text():
        raise ReleaseError(f"got tag {tag}; expected 'v' and the version in {VERSION}")
    if not is_dated((root / CHANGELOG).read_text(encoding="utf-8"), version):
        raise ReleaseError(f"got no day for {version} in {CHANGELOG}; expected what scripts/release/release.py writes")
    return version


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, check and sum; also writes what the changelog says of the version."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("dist", type=Path)
    parser.add_argument("--tag", required=True, help="the tag that was pushed, such as v1.2.3")
    options = parser.parse_args(arguments)
    try:
        version = check_tag(ROOT, options.tag)
        build(ROOT, options.dist.resolve())
        if missing := check_files(options.dist, list_expected(ROOT, version), version):
            raise ReleaseError(f"got no {', '.join(missing)}")
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    (options.dist / NOTES).write_text(read_notes((ROOT / CHANGELOG).read_text(encoding="utf-8"), version))
    print(write_checksums(options.dist).read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
