"""A data set as a record names it: a digest of its bytes, and of its rows without giving any away.

Files are hashed as they are. A `datasets.Dataset` (known by what it can do, never imported) brings its fingerprint,
licence, split and source. Each row's digest is an HMAC under a random key that is sealed with the record: whoever is
given key and data can find every row, and nobody else can guess one.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from . import _native
from .errors import FileError, InputError

#: Rows that are turned into digests at a time.
_ROWS_AT_ONCE = 1_000
#: An attachment has at most 256 MiB.
_MAX_DIGESTED_ROWS = (256 << 20) // 32
#: A record names as many files.
_MAX_FILES = 256
_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}


class Described(NamedTuple):
    """What `dataset.registered` will say."""

    body: dict[str, Any]
    row_key: bytes | None
    #: The digests of all rows, one after another.
    rows: bytes | None
    #: Why rows have no digests though they were wanted.
    complaint: str | None


def describe(dataset: Any, name: str | None, format: str | None, rows: bool) -> Described:
    """Reads a data set."""
    if isinstance(dataset, (str, os.PathLike)):
        return _files([Path(dataset)], name, format)
    splits = _splits(dataset)
    if splits is None:
        if isinstance(dataset, Sequence) and dataset and all(isinstance(p, (str, os.PathLike)) for p in dataset):
            return _files([Path(path) for path in dataset], name, format)
        raise InputError(
            "dataset: expected a path, several paths, a datasets.Dataset, a pandas or Arrow table, or a list of "
            f"rows, found {type(dataset).__name__}"
        )
    return _rows(splits, name, format, rows)


def _files(paths: list[Path], name: str | None, format: str | None) -> Described:
    files: list[tuple[str, Path]] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(found for found in path.rglob("*") if found.is_file())
            files.extend((found.relative_to(path).as_posix(), found) for found in inside)
        else:
            files.append((path.name, path))
    if not files:
        raise InputError(f"dataset: expected files, found an empty directory {paths[0]}")
    files.sort()
    hashed = [(label, *_sha256(path)) for label, path in files]
    if (twice := next((a for (a, _, _), (b, _, _) in pairwise(hashed) if a == b), None)) is not None:
        raise InputError(f"dataset: two of the files are called {twice!r}; give their common directory instead")
    body: dict[str, Any] = {
        "name": name or paths[0].name or paths[0].resolve().name,
        "format": format or _FORMATS.get(files[0][1].suffix.lower(), files[0][1].suffix.lstrip(".").lower() or "file"),
        "bytes": sum(size for _, size, _ in hashed),
    }
    if len(hashed) == 1 and not paths[0].is_dir():
        body["sha256"] = hashed[0][2]
    else:
        lines = "".join(f"{sha256}  {label}\n" for label, _, sha256 in hashed)
        body["sha256"] = hashlib.sha256(lines.encode()).hexdigest()
        if len(hashed) <= _MAX_FILES:
            body["files"] = [{"name": label, "bytes": size, "sha256": sha256} for label, size, sha256 in hashed]
    return Described(body, None, None, None)


def _sha256(path: Path) -> tuple[int, str]:
    """How many bytes, and their digest. A file that changes meanwhile is an error."""
    hasher = hashlib.sha256()
    size = 0
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            while piece := file.read(1 << 20):
                hasher.update(piece)
                size += len(piece)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, size):
        raise FileError(f"{path} changed while it was read; register it once it is written")
    return size, hasher.hexdigest()


def _splits(dataset: Any) -> dict[str, Any] | None:
    """Tables by the name of their split; ``None`` for what is no table."""
    if isinstance(dataset, Mapping):
        found = {str(split): table for split, table in dataset.items()}
        return found if found and all(_is_table(table) for table in found.values()) else None
    return {str(getattr(dataset, "split", None) or "train"): dataset} if _is_table(dataset) else None


def _is_table(found: Any) -> bool:
    if hasattr(found, "column_names") or (hasattr(found, "columns") and hasattr(found, "to_dict")):
        return True
    return (
        isinstance(found, Sequence)
        and not isinstance(found, (str, bytes))
        and all(isinstance(row, Mapping) for row in found[:1])
        and len(found) > 0
    )


def _rows(splits: dict[str, Any], name: str | None, format: str | None, rows: bool) -> Described:
    first = next(iter(splits.values()))
    info = getattr(first, "info", None)
    name = name or _text(getattr(info, "dataset_name", None)) or _text(getattr(info, "builder_name", None))
    if name is None:
        raise InputError("name: expected a name for this data set, by which annotations will refer to it, found none")
    counts = {split: _count(table) for split, table in splits.items()}
    body: dict[str, Any] = {"name": name, "rows": sum(counts.values()), "splits": counts}
    prints = [found for table in splits.values() if (found := _text(getattr(table, "_fingerprint", None)))]
    if prints:
        # The library has none for several splits together.
        together = hashlib.sha256("\n".join(prints).encode()).hexdigest()
        body["fingerprint"] = prints[0] if len(prints) == 1 else together
    if licence := _text(getattr(info, "license", None)):
        body["license"] = licence[:128]
    if source := _text(getattr(info, "homepage", None)):
        body["source"] = source[:512]
    key = secrets.token_bytes(32)
    digests, complaint = _digests(splits, key, body["rows"]) if rows else (None, None)
    if digests is not None:
        body |= {"format": format or "rows", "bytes": len(digests), "sha256": hashlib.sha256(digests).hexdigest()}
        return Described(body, key, digests, None)
    cached = [Path(file["filename"]) for table in splits.values() for file in getattr(table, "cache_files", None) or []]
    if not cached:
        if complaint is not None:
            raise InputError(complaint)
        raise InputError(
            "rows: this data set has no files, so nothing but its rows can be hashed; leave rows=False out"
        )
    files = _files(cached, name, format).body
    return Described(body | {member: files[member] for member in files if member != "name"}, None, None, complaint)


def _digests(splits: dict[str, Any], key: bytes, count: int) -> tuple[bytes | None, str | None]:
    if count > _MAX_DIGESTED_ROWS:
        return None, f"rows: {count} have digests of more than 256 MiB, {_MAX_DIGESTED_ROWS} at most fit"
    out = bytearray()
    try:
        for table in splits.values():
            first = 0
            for rows in _slices(table):
                out += _native.row_digests(key, rows, first)
                first += len(rows)
    except InputError as error:
        return None, f"{error} (its rows get no digests)"
    return bytes(out), None


def _slices(table: Any) -> Iterator[list[Any]]:
    """Rows as dictionaries, some at a time."""
    if hasattr(table, "to_dict") and hasattr(table, "columns") and hasattr(table, "iloc"):
        for start in range(0, len(table), _ROWS_AT_ONCE):
            yield table.iloc[start : start + _ROWS_AT_ONCE].to_dict("records")
    elif hasattr(table, "to_batches") and hasattr(table, "slice"):
        for start in range(0, table.num_rows, _ROWS_AT_ONCE):
            yield table.slice(start, _ROWS_AT_ONCE).to_pylist()
    elif hasattr(table, "column_names"):
        for start in range(0, len(table), _ROWS_AT_ONCE):
            columns: Mapping[str, Iterable[Any]] = table[start : start + _ROWS_AT_ONCE]
            names = list(columns)
            yield [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    else:
        for start in range(0, len(table), _ROWS_AT_ONCE):
            yield [dict(row) for row in table[start : start + _ROWS_AT_ONCE]]


def _count(table: Any) -> int:
    found = getattr(table, "num_rows", None)
    return int(found) if isinstance(found, int) else len(table)


def _text(found: Any) -> str | None:
    return found.strip() or None if isinstance(found, str) else None
