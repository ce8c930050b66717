"""A release by one command: version, day in the changelog, commit, tag, wheels, checksums.

    python -m scripts.release.release             # on a clean main; the version is that at the top of the changelog
    python -m scripts.release.release --dry-run   # the same, and nothing of it stays

Everything happens in a clone, from which the commit and the tag come here only once all of it has worked, with the
packages in dist. The last step is yours: pushing the tag, upon which .github/workflows/release.yml builds the packages
again and publishes them. Needs what scripts/release/requirements.txt lists.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from scripts.release.files import build, check_files, list_expected, write_checksums
from scripts.release.texts import (
    CHANGELOG,
    CITATION,
    VERSION,
    ReleaseError,
    date_changelog,
    find_next,
    set_citation,
    set_version,
)
from scripts.shared.paths import ROOT

BRANCH = "main"
NOBODY = {"user.name": "dry run", "user.email": "dry-run@localhost"}
"""Who commits if git knows nobody, and nothing of it stays."""


def run_git(root: Path, *arguments: str) -> str:
    """What git prints. Raises ReleaseError if it fails."""
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def check_ready(root: Path) -> None:
    """Raise ReleaseError for changes that are not committed, and on another branch."""
    if changes := run_git(root, "status", "--porcelain"):
        raise ReleaseError(f"got changes that are not committed ({changes.splitlines()[0].strip()}, ...); commit them")
    if (branch := run_git(root, "rev-parse", "--abbrev-ref", "HEAD")) != BRANCH:
        raise ReleaseError(f"got branch {branch}; expected {BRANCH}")


def clone(root: Path, folder: Path, *, dry_run: bool) -> Path:
    """A clone of what is committed, with the same committer. Raises ReleaseError if git does not know one."""
    run_git(root, "clone", "--quiet", "--no-hardlinks", str(root), str(folder))
    for key, nobody in NOBODY.items():
        known = subprocess.run(["git", "-C", str(root), "config", key], capture_output=True, text=True, check=False)
        if not known.stdout and not dry_run:
            raise ReleaseError(f"got no {key}; set it with git config")
        run_git(folder, "config", key, known.stdout.strip() or nobody)
    return folder


def commit_release(root: Path, day: date) -> str:
    """Write version and day into the files, commit and tag; returns the version. Raises ReleaseError."""
    texts = {name: (root / name).read_text(encoding="utf-8") for name in (CHANGELOG, VERSION, CITATION)}
    version = find_next(texts[CHANGELOG])
    if run_git(root, "tag", "--list", f"v{version}"):
        raise ReleaseError(f"got tag v{version}, which is there already; add a newer version to {CHANGELOG}")
    texts[CHANGELOG] = date_changelog(texts[CHANGELOG], version, day)
    texts[VERSION] = set_version(texts[VERSION], version)
    texts[CITATION] = set_citation(texts[CITATION], version, day)
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")
    run_git(root, "commit", "--quiet", "--all", "--message", f"Release {version}")
    run_git(root, "tag", "--annotate", f"v{version}", "--message", f"onnx-fft {version}")
    return version


def fetch_release(root: Path, source: Path, version: str) -> None:
    """Bring commit and tag from the clone. Raises ReleaseError if there are newer commits."""
    tag = f"refs/tags/v{version}"
    run_git(root, "fetch", "--quiet", "--no-tags", str(source), tag)
    run_git(root, "merge", "--quiet", "--ff-only", "FETCH_HEAD")
    run_git(root, "fetch", "--quiet", str(source), f"{tag}:{tag}")


def release(root: Path, dist: Path, *, dry_run: bool, built: Path | None = None) -> str:
    """All steps, packages and checksums into `dist`; returns the version. Raises ReleaseError.

    A dry run leaves the checkout as it was; it may take packages that are built already, even if some are missing.
    """
    if not dry_run:
        check_ready(root)
    with tempfile.TemporaryDirectory(prefix="onnx-fft-") as scratch:
        source = clone(root, Path(scratch) / "clone", dry_run=dry_run)
        version = commit_release(source, date.today())
        print(run_git(source, "show", "--stat", "--format=%s", f"v{version}^{{commit}}"))
        dist.mkdir(parents=True, exist_ok=True)
        if built is None:
            build(source, dist)
        else:
            shutil.copytree(built, dist, dirs_exist_ok=True)
        missing = check_files(dist, list_expected(source, version), version)
        if missing and not dry_run:
            raise ReleaseError(f"got no {', '.join(missing)}")
        print("\n".join(f"not built: {name}" for name in missing))
        print(write_checksums(dist).read_text(), end="")
        if not dry_run:
            fetch_release(root, source, version)
    return version


def main(arguments: Sequence[str] | None = None) -> int:
    """Release, and say what is left to do; 1 if the project is not ready."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dry-run", action="store_true", help="do all of it in a clone, and keep nothing")
    parser.add_argument("--built", type=Path, metavar="FOLDER", help="with --dry-run: take packages from there")
    options = parser.parse_args(arguments)
    if options.built and not options.dry_run:
        parser.error("--built needs --dry-run: a release builds its packages")
    try:
        if options.dry_run:
            with tempfile.TemporaryDirectory(prefix="onnx-fft-") as dist:
                version = release(ROOT, Path(dist), dry_run=True, built=options.built)
            print(f"dry run: {version} could be released")
        else:
            version = release(ROOT, ROOT / "dist", dry_run=False)
            print(f"released here; publish it with: git push origin {BRANCH} v{version}")
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
