"""Any model to measure, as a file: a real one is fetched, one of the literature is built."""

from __future__ import annotations

from pathlib import Path

from scripts.models import graph, published
from scripts.models.fetch import CACHE, fetch, write_file
from scripts.models.published import PUBLISHED


def obtain(name: str, cache: Path = CACHE) -> Path:
    """The path of the named model in `cache`. Raises FetchError for a name that nobody knows, and without a network."""
    if name not in PUBLISHED:
        return fetch(name, cache)
    path = cache / f"{name}.onnx"
    newest = max(Path(module.__file__ or "").stat().st_mtime for module in (graph, published))
    if not (path.is_file() and path.stat().st_mtime > newest):
        write_file(path, PUBLISHED[name]().SerializeToString(deterministic=True))
    return path
