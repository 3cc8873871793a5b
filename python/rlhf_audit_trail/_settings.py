"""What is set by arguments, else by the environment: where the ledger is, and how one gets in."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from .errors import FileError, InputError

#: Where the ledger is without any setting: as for the command line.
DEFAULT_DATA_DIR = "./audit-data"


class Settings(NamedTuple):
    """Where records go."""

    server: str | None
    token: str | None
    #: Read again when the server refuses the token.
    token_file: Path | None
    data_dir: Path | None
    spool_dir: Path
    passphrase: str | None
    #: The log's policy, where its keys are known beforehand.
    policy: str | None


def settings(
    server: str | None,
    token: str | None,
    data_dir: str | os.PathLike[str] | None,
    spool_dir: str | os.PathLike[str] | None,
    policy: str | os.PathLike[str] | None,
) -> Settings:
    """Arguments first, then the environment, then the defaults."""
    if server is not None and data_dir is not None:
        raise InputError(
            "server and data_dir are both given: records go to one ledger; give the server's address, or the "
            "directory of a ledger that this process opens itself"
        )
    if data_dir is None:
        server = server or os.environ.get("RLHF_AUDIT_SERVER") or None
    token_file: Path | None = None
    directory: Path | None = None
    if server is None:
        if token is not None:
            raise InputError("token is given and no server: a ledger in this process needs none; leave it out")
        directory = Path(data_dir or os.environ.get("RLHF_AUDIT_DATA_DIR") or DEFAULT_DATA_DIR).absolute()
    elif token is None:
        token = os.environ.get("RLHF_AUDIT_TOKEN") or None
        if token is None and (named := os.environ.get("RLHF_AUDIT_TOKEN_FILE")):
            token_file = Path(named)
            token = read_secret(token_file)
    return Settings(
        server=server,
        token=token,
        token_file=token_file,
        data_dir=directory,
        spool_dir=_spool_dir(spool_dir, server, directory),
        passphrase=_passphrase() if directory else None,
        policy=None if policy is None else _read(Path(policy)),
    )


def read_secret(path: Path) -> str:
    """The first line of a file."""
    lines = _read(path).splitlines()
    if not lines or not lines[0].strip():
        raise InputError(f"{path}: expected a token, found an empty file")
    return lines[0].strip()


def _spool_dir(given: str | os.PathLike[str] | None, server: str | None, data_dir: Path | None) -> Path:
    if named := given or os.environ.get("RLHF_AUDIT_SPOOL_DIR"):
        return Path(named).absolute()
    if data_dir is not None:
        return data_dir / "spool"
    state = os.environ.get("XDG_STATE_HOME")
    base = Path(state) if state else Path.home() / ".local" / "state"
    # What waits for one server must never go to another.
    digest = hashlib.sha256(str(server).encode()).hexdigest()[:16]
    return base / "rlhf-audit" / "spool" / digest


def _passphrase() -> str | None:
    if given := os.environ.get("RLHF_AUDIT_KEY_PASSPHRASE"):
        return given
    if named := os.environ.get("RLHF_AUDIT_KEY_PASSPHRASE_FILE"):
        return _read(Path(named)).rstrip("\r\n")
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error
