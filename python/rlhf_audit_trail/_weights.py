"""The weights of a saved model as a record names them: a digest of each file, and a manifest of each tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import _native


def manifest(path: Path, tensors: str) -> tuple[list[dict[str, Any]], bytes]:
    """The files of a saved model, for the record; and the manifest, for its attachment."""
    files, text = _native.manifest(path, tensors)
    return [{"name": name, "bytes": size, "sha256": sha256} for name, size, sha256 in files], text
