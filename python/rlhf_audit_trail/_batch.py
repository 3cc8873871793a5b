"""What an update was computed from: a digest of the batch, and how many rows it has.

The digest is the SHA-256 of this encoding, which depends on values alone:

    mapping   "m", the number of members, then each name and its value, sorted by name
    sequence  "l", the number of values, then each
    array     "a", its dtype and its shape as texts, then its bytes in C order
    text      "s" and its UTF-8; bytes "b"; None "n"; others "r" and their ``repr``

Numbers and lengths are 8 bytes, little-endian, before what they count. A batch may be guessed from its digest where
it is small, so the digest is sealed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import InputError
from .results import Logged

#: As many records are named within `policy.updated`; more are named in an attachment.
MAX_MEMBERS = 256


def digest(batch: Any) -> str:
    """The SHA-256 of a batch, in hex."""
    hasher = hashlib.sha256()
    _encode(hasher, batch)
    return hasher.hexdigest()


def rows(batch: Any) -> int | None:
    """How many rows a batch has: the length of its first column."""
    if isinstance(batch, Mapping):
        for value in batch.values():
            if (found := _length(value)) is not None:
                return found
        return None
    return _length(batch)


def members(consumed: Logged | str | Iterable[Logged | str]) -> list[str]:
    """The names of the records that an update consumed."""
    if isinstance(consumed, Logged):
        return consumed.records
    if isinstance(consumed, str):
        return [consumed]
    names: list[str] = []
    for at, found in enumerate(consumed):
        if isinstance(found, Logged):
            names.extend(found.records)
        elif isinstance(found, str):
            names.append(found)
        else:
            raise InputError(
                f"consumed[{at}]: expected what log_annotations or log_rewards gave back, or a record's name, found "
                f"{type(found).__name__}"
            )
    return names


def _length(value: Any) -> int | None:
    if isinstance(value, (str, bytes)):
        return None
    shape = getattr(value, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else None
    try:
        return len(value)
    except TypeError:
        return None


def _encode(hasher: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        members = sorted(((str(name), found) for name, found in value.items()), key=lambda member: member[0])
        hasher.update(b"m" + _number(len(members)))
        for name, found in members:
            _encode(hasher, name)
            _encode(hasher, found)
    elif isinstance(value, str):
        _sized(hasher, b"s", value.encode("utf-8", "surrogatepass"))
    elif isinstance(value, (bytes, bytearray, memoryview)):
        _sized(hasher, b"b", value)
    elif value is None:
        hasher.update(b"n")
    elif isinstance(value, (list, tuple)):
        hasher.update(b"l" + _number(len(value)))
        for found in value:
            _encode(hasher, found)
    elif hasattr(value, "dtype") and hasattr(value, "shape"):
        hasher.update(b"a")
        _sized(hasher, b"", str(value.dtype).removeprefix("torch.").encode())
        _sized(hasher, b"", ",".join(str(int(n)) for n in value.shape).encode())
        _sized(hasher, b"", array_bytes(value))
    else:
        _sized(hasher, b"r", repr(value).encode("utf-8", "surrogatepass"))


def array_bytes(array: Any) -> bytes | memoryview:
    """The bytes of an array or a tensor, in C order, wherever it lies and whatever its type."""
    if not hasattr(array, "untyped_storage"):
        return bytes(array.tobytes())
    import torch

    flat = array.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    try:
        return memoryview(flat.numpy())
    except (RuntimeError, ImportError):
        # torch without NumPy.
        return bytes(flat.tolist())


def _sized(hasher: Any, tag: bytes, value: bytes | bytearray | memoryview) -> None:
    hasher.update(tag + _number(value.nbytes if isinstance(value, memoryview) else len(value)))
    hasher.update(value)


def _number(number: int) -> bytes:
    return number.to_bytes(8, "little")
