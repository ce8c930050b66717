"""The package as it is installed: imports, names, version, wheel."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import onnx_fft
from onnx_fft.native import LIBRARY_NAME
from scripts.shared.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it along there

FORBIDDEN_AT_IMPORT = ("onnxruntime", "rich", "matplotlib")
MAX_PUBLIC_NAMES = 21
"""Six functions, their options, four results, nine errors, and the version."""

SOURCES_ONLY = (".cpp", ".h", ".map", ".md", "CMakeLists.txt")


def test_import_does_not_start_onnxruntime() -> None:
    code = f"import sys, onnx_fft; print([name for name in {FORBIDDEN_AT_IMPORT!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_fourier_imports_numpy_only() -> None:
    code = (
        "import importlib, pkgutil, sys, types\n"
        f"package = types.ModuleType('onnx_fft'); package.__path__ = [{str(ROOT / 'onnx_fft')!r}]\n"
        "sys.modules['onnx_fft'] = package  # the real one imports the public API\n"
        "import onnx_fft.fourier as fourier\n"
        "names = [module.name for module in pkgutil.walk_packages(fourier.__path__, 'onnx_fft.fourier.')]\n"
        "[importlib.import_module(name) for name in names]\n"
        "print(len(names), [name for name in ('onnx', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, loaded = done.stdout.strip().split(" ", 1)
    assert int(count) > 0
    assert loaded == "[]"


def test_public_names_exist_and_are_few() -> None:
    assert len(onnx_fft.__all__) <= MAX_PUBLIC_NAMES
    assert sorted(set(onnx_fft.__all__)) == sorted(onnx_fft.__all__)
    for name in onnx_fft.__all__:
        assert getattr(onnx_fft, name) is not None


@pytest.mark.parametrize("name", ["rewrite", "inspect", "validate"])
def test_promised_names_are_public(name: str) -> None:
    assert name in onnx_fft.__all__


def test_version_agrees_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" in project["dynamic"]
    assert onnx_fft.__version__ == importlib.metadata.version("onnx-fft")
    assert f"[{onnx_fft.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.slow
def test_a_checkout_works_without_being_installed() -> None:
    """The script, which takes what `onnx-fft validate` takes, where no metadata of the package exist."""
    script, model = ROOT / "scripts" / "validate.py", ROOT / "models" / "large_kernel.onnx"
    code = (
        "import importlib.metadata, runpy, sys\n"
        "def version(name): raise importlib.metadata.PackageNotFoundError(name)\n"
        "importlib.metadata.version = version\n"
        f"sys.argv = ['validate.py', {str(model)!r}, {str(model)!r}, '--seed', '1', '--json']\n"
        f"sys.path[:] = [path for path in sys.path if path not in ('', {str(ROOT)!r})]\n"
        f"runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] is True


def test_lower_bounds_are_those_of_the_constraints_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    entries = [*project["dependencies"], *project["optional-dependencies"]["cpu"]]
    bounds = {entry.split(">=")[0]: entry.split(">=")[1] for entry in entries}
    lines = (ROOT / "tests" / "oldest.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert set(pins) == set(bounds)
    for package, bound in bounds.items():
        assert f"{pins[package]}.".startswith(f"{bound}."), f"{package}: bound {bound}, pinned {pins[package]}"


@pytest.mark.slow
def test_wheel_has_the_library_and_is_complete(tmp_path: Path) -> None:
    wheel = _build_wheel(tmp_path)
    assert re.fullmatch(rf"onnx_fft-{re.escape(onnx_fft.__version__)}-py3-none-(?!any)\w+\.whl", wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("onnx_fft/")}
        entry_points = archive.read(f"onnx_fft-{onnx_fft.__version__}.dist-info/entry_points.txt").decode()
    assert packed == {*_python_files(), f"onnx_fft/native/{LIBRARY_NAME}", "onnx_fft/native/origin.txt"}
    assert packed >= {"onnx_fft/py.typed", "onnx_fft/report/html/style.css", "onnx_fft/report/html/copy.js"}
    assert "onnx-fft = onnx_fft.cli:main" in entry_points.replace("=", " = ").replace("  ", " ").replace("  ", " ")


@pytest.mark.slow
def test_wheel_without_a_compiler_is_pure_python(tmp_path: Path) -> None:
    wheel = _build_wheel(tmp_path, "--config-settings", f"build-dir={tmp_path}", CXX="/no/compiler")
    assert wheel.name == f"onnx_fft-{onnx_fft.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if name.startswith("onnx_fft/")} == _python_files()


def _build_wheel(folder: Path, *options: str, **environment: str) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", *options]
    subprocess.run(
        [*command, "--wheel-dir", str(folder / "wheels"), str(ROOT)], check=True, env={**os.environ, **environment}
    )
    (wheel,) = (folder / "wheels").glob("*.whl")
    return wheel


def _python_files() -> set[str]:
    """Everything of the package in a checkout except its pages and the sources of the library."""
    files = (path for path in (ROOT / "onnx_fft").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)) for path in files if not path.name.endswith(SOURCES_ONLY)}
