"""A release by one command: all of it, or nothing; and the files that it is made of."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

import onnx_fft
from scripts.release import release as command
from scripts.release.files import check_files, check_tag, list_expected, main, sort_tags
from scripts.release.release import release, run_git
from scripts.release.texts import (
    CHANGELOG,
    CITATION,
    VERSION,
    ReleaseError,
    date_changelog,
    find_next,
    is_dated,
    read_notes,
    set_citation,
    set_version,
)
from scripts.shared.paths import ROOT

OLD = "## [0.9.0] - 2020-01-01\n\n- Old.\n"
TEXTS = {
    CHANGELOG: f"# Changelog\n\n## [1.0.0] - Unreleased\n\n### Added\n\n- Much.\n\n{OLD}",
    VERSION: '"""The version."""\n\n__version__ = "0.9.0"\n',
    CITATION: "cff-version: 1.2.0\ntitle: onnx-fft\nversion: 0.9.0\ndate-released: 2020-01-01\n",
    "scripts/release/platforms.txt": "# tag, target\nmanylinux_2_17_x86_64  x86_64-linux\nwin_amd64  x86_64-windows\n",
    ".gitignore": "dist/\n",
}
BUILDER = """set -eu
version="$(sed -n 's/^__version__ = "\\(.*\\)"/\\1/p' onnx_fft/_version.py)"
mkdir -p "onnx_fft-$version.dist-info"
printf 'Metadata-Version: 2.4\\nName: onnx-fft\\nVersion: %s\\n' "${WRITES:-$version}" \
  > "onnx_fft-$version.dist-info/METADATA"
echo sources > "$1/onnx_fft-$version.tar.gz"
for tag in manylinux_2_17_x86_64 win_amd64; do
  "$PYTHON" -m zipfile -c "$1/onnx_fft-$version-py3-none-$tag.whl" "onnx_fft-$version.dist-info"
done
"""
PACKAGES = ["onnx_fft-1.0.0-py3-none-manylinux_2_17_x86_64.whl", "onnx_fft-1.0.0-py3-none-win_amd64.whl"]
PACKAGES.append("onnx_fft-1.0.0.tar.gz")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of the same files, committed on main, whose builder makes empty wheels."""
    root = tmp_path / "project"
    for name, text in {**TEXTS, "scripts/release/build_wheels.sh": BUILDER}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    run_git(root, "init", "--quiet", "--initial-branch", "main")
    for key in ("user.name", "user.email"):
        run_git(root, "config", key, "tester")
    commit(root)
    return root


def commit(root: Path) -> None:
    run_git(root, "add", "--all")
    run_git(root, "commit", "--quiet", "--message", "Work")


def look(root: Path) -> tuple[str, ...]:
    """All that a release could change in a checkout."""
    asked = (("rev-parse", "HEAD"), ("status", "--porcelain", "--ignored"), ("tag",), ("branch",))
    return tuple(run_git(root, *words) for words in asked)


def test_a_release_is_all_of_it(project: Path) -> None:
    dist = project / "dist"
    assert release(project, dist, dry_run=False) == "1.0.0"
    assert run_git(project, "status", "--porcelain") == ""
    assert run_git(project, "log", "-1", "--format=%s%n%an") == "Release 1.0.0\ntester"
    assert run_git(project, "rev-parse", "v1.0.0^{commit}") == run_git(project, "rev-parse", "main")
    today = date.today().isoformat()
    assert f"## [1.0.0] - {today}\n" in (project / CHANGELOG).read_text()
    assert OLD in (project / CHANGELOG).read_text()
    assert (project / VERSION).read_text().endswith('__version__ = "1.0.0"\n')
    assert f"\nversion: 1.0.0\ndate-released: {today}\n" in (project / CITATION).read_text()
    assert (project / CITATION).read_text().startswith("cff-version: 1.2.0\n")
    assert sorted(path.name for path in dist.iterdir()) == ["SHA256SUMS", *PACKAGES]
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=dist, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [word for name in PACKAGES for word in (f"{name}:", "OK")]
    assert check_tag(project, "v1.0.0") == "1.0.0"


def test_a_dry_run_does_it_all_and_keeps_nothing(project: Path, tmp_path: Path) -> None:
    before = look(project)
    assert release(project, tmp_path / "dist", dry_run=True) == "1.0.0"
    assert sorted(path.name for path in (tmp_path / "dist").iterdir()) == ["SHA256SUMS", *PACKAGES]
    assert look(project) == before


def test_a_dry_run_may_take_what_is_built(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "built").mkdir()
    (tmp_path / "built" / PACKAGES[2]).write_bytes(b"sources")
    release(project, tmp_path / "dist", dry_run=True, built=tmp_path / "built")
    said = capsys.readouterr().out
    left_out = [line for line in said.splitlines() if line.startswith("not built: ")]
    assert left_out == [f"not built: {name}" for name in PACKAGES[:2]]


def test_a_commit_made_meanwhile_is_not_lost(project: Path, tmp_path: Path) -> None:
    """Nothing of the release comes then, the tag included."""
    source = command.clone(project, tmp_path / "clone", dry_run=False)
    version = command.commit_release(source, date(2030, 1, 2))
    make_dirty(project)
    commit(project)
    before = look(project)
    with pytest.raises(ReleaseError, match="git merge"):
        command.fetch_release(project, source, version)
    assert look(project) == before


def make_dirty(project: Path) -> None:
    (project / "new.py").write_text("")


def leave_main(project: Path) -> None:
    run_git(project, "checkout", "--quiet", "-b", "other")


def tag_before(project: Path) -> None:
    run_git(project, "tag", "v1.0.0")


def change(name: str, old: str, new: str) -> Callable[[Path], None]:
    def write(project: Path) -> None:
        text = (project / name).read_text()
        assert old in text
        (project / name).write_text(text.replace(old, new))
        commit(project)

    return write


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (make_dirty, r"got changes that are not committed \(\?\? new.py"),
        (leave_main, "got branch other; expected main"),
        (tag_before, "got tag v1.0.0, which is there already"),
        (change(CHANGELOG, "Unreleased", "2021-01-01"), "got version 1.0.0 of 2021-01-01 at the top"),
        (change(CHANGELOG, "- Much.", ""), "got no entry under 1.0.0"),
        (change(CHANGELOG, "[1.0.0]", "[next]"), r"got '## \[next\] - Unreleased' at the top"),
        (change(CHANGELOG, "## [", "## "), "got no heading of a version"),
        (change(VERSION, "__version__", "version"), "got 0 lines like .* in onnx_fft/_version.py"),
        (change(CITATION, "date-released", "released"), r"got 0 lines like .* in .github/CITATION.cff"),
        (change("scripts/release/build_wheels.sh", "set -eu", "exit 3"), "build_wheels.sh failed"),
        pytest.param(
            change("scripts/release/build_wheels.sh", " win_amd64;", ";"),
            "got no onnx_fft-1.0.0-py3-none-win_amd64.whl",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            change("scripts/release/build_wheels.sh", "win_amd64", "win_arm64"),
            "got .*win_arm64.whl in .* nothing else",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            change("scripts/release/build_wheels.sh", "WRITES:-$version", "WRITES:-9"),
            "name another version than 1.0.0",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_is_not_ready_changes_nothing(project: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(project)
    before = look(project)
    with pytest.raises(ReleaseError, match=said):
        release(project, project.parent / "dist", dry_run=False)
    assert look(project) == before


def test_the_command_ends_with_a_sentence(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "ROOT", project)
    assert command.main(["--dry-run"]) == 0
    assert capsys.readouterr().out.endswith("dry run: 1.0.0 could be released\n")
    assert command.main([]) == 0
    assert capsys.readouterr().out.endswith("publish it with: git push origin main v1.0.0\n")
    assert command.main([]) == 1
    assert capsys.readouterr().err.startswith("error: got version 1.0.0 of ")
    with pytest.raises(SystemExit):
        command.main(["--built", "dist"])


def test_the_tag_has_to_be_the_version(project: Path) -> None:
    with pytest.raises(ReleaseError, match="got tag v2"):
        check_tag(project, "v2.0.0")
    with pytest.raises(ReleaseError, match="got no day for 0"):
        (project / CHANGELOG).write_text(TEXTS[CHANGELOG].replace("2020-01-01", "soon"))
        check_tag(project, "v0.9.0")
    assert main(["dist", "--tag", "v0.0.0"]) == 1


def test_platforms_may_come_in_any_order() -> None:
    one, other = (f"onnx_fft-1.0.0-py3-none-{tag}.whl" for tag in ("linux_b.linux_a", "linux_a.linux_b"))
    assert sort_tags(one) == sort_tags(other) == other
    assert sort_tags("onnx_fft-1.0.0.tar.gz") == "onnx_fft-1.0.0.tar.gz"


def test_missing_files_are_named(tmp_path: Path) -> None:
    assert check_files(tmp_path, ["a.whl", "b.tar.gz"], "1.0.0") == ["a.whl", "b.tar.gz"]


def test_the_project_is_as_the_command_expects() -> None:
    """Its own changelog, version and citation."""
    changelog = (ROOT / CHANGELOG).read_text(encoding="utf-8")
    version = onnx_fft.__version__
    assert find_next(changelog) == version or is_dated(changelog, version)
    assert "### Added" in read_notes(changelog, version)
    day = date(2030, 1, 2)
    assert is_dated(date_changelog(changelog, version, day), version) or is_dated(changelog, version)
    assert set_version((ROOT / VERSION).read_text(), version) == (ROOT / VERSION).read_text()
    citation = (ROOT / CITATION).read_text()
    assert f"\nversion: {version}\n" in citation
    assert "date-released: 2030-01-02" in set_citation(citation, version, day)
    if (ROOT / "scripts" / "release" / "platforms.txt").exists():
        assert len(list_expected(ROOT, version)) == 6


def test_publishing_needs_no_secret() -> None:
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    assert "id-token: write" in text and "pypa/gh-action-pypi-publish@" in text
    assert "secrets." not in text and "password" not in text.replace("instead of a password", "")
    assert text.index("\n  build:") < text.index("\n  try:") < text.index("\n  publish:")
    assert "python -m scripts.release.files dist --tag" in text


def test_a_release_is_tried_on_the_oldest_and_the_newest_python() -> None:
    python = r"Programming Language :: Python :: (3\.\d+)"
    allowed = re.findall(python, (ROOT / "pyproject.toml").read_text())
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    assert f'python: ["{allowed[0]}", "{allowed[-1]}"]' in workflow
    assert f'requires-python = ">={allowed[0]}"' in (ROOT / "pyproject.toml").read_text()
