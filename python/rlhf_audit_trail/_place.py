"""Where this process records: one spool for each ledger, shared by all auditors, safe to make twice and to fork.

A notebook's cell that is run again makes a second auditor for the same ledger; it gets the spool, and the ledger in
this process, that the first one has.
"""

from __future__ import annotations

import atexit
import os
import platform
import sys
import threading
from pathlib import Path
from typing import NamedTuple

from . import _native
from ._settings import Settings, read_secret
from .errors import AuditError, ClosedError, LockedError

#: How long the end of the interpreter waits for what is not sent yet, in seconds. What is not sent by then stays in
#: the spool.
EXIT_TIMEOUT = 10.0


class Limits(NamedTuple):
    """How a spool behaves."""

    durability: str
    on_full: str
    full_timeout: float | None
    limit_bytes: int | None
    producer: str


class Place:
    """An open ledger or a server, and the spool before it."""

    def __init__(self, key: tuple[Settings, Limits]) -> None:
        settings, limits = self.key = key
        self.settings = settings
        self.ledger: _native.Ledger | None = None
        if settings.data_dir is not None:
            self.ledger = _open_ledger(settings.data_dir, settings.passphrase)
            self.url, token = self.ledger.url, self.ledger.token
        else:
            assert settings.server is not None  # noqa: S101 - `settings` sees to it
            self.url, token = settings.server, settings.token or ""
        self.token = token or None
        try:
            self._spool: _native.Spool | None = _native.Spool(
                settings.spool_dir,
                self.url,
                token=self.token,
                limit_bytes=limits.limit_bytes,
                on_full=limits.on_full,
                full_timeout=limits.full_timeout,
                durability=limits.durability,
                producer=limits.producer,
                software=software(),
                policy=settings.policy,
            )
        except BaseException:
            if self.ledger is not None:
                _close_ledger(settings.data_dir)
            raise
        self.reads = _native.Reads(self.url, token=self.token)
        self.users = 0

    @property
    def spool(self) -> _native.Spool:
        """Where records wait."""
        if self._spool is None:
            raise ClosedError("the auditor is closed: make another")
        return self._spool

    def set_token(self, token: str | None) -> None:
        """Another token from now on."""
        self.token = token
        self.spool.set_token(token)
        self.reads = _native.Reads(self.url, token=token)

    def refresh_token(self) -> None:
        """Reads the token's file again: whoever renews tokens writes it there."""
        if self.settings.token_file is not None:
            token = read_secret(self.settings.token_file)
            if token != self.token:
                self.set_token(token)

    def close(self, timeout: float | None) -> None:
        """Sends what is left, and ends."""
        # Whoever has the spool holds its streams, which the next process is to take over.
        spool, self._spool = self._spool, None
        try:
            if spool is not None:
                spool.close(timeout)
        finally:
            del spool
            if self.ledger is not None:
                _close_ledger(self.settings.data_dir)


_lock = threading.Lock()
_places: dict[tuple[Settings, Limits], Place] = {}
#: Ledgers in this process by their real path, with how many places use each.
_ledgers: dict[Path, tuple[_native.Ledger, int]] = {}
#: Whether this process was forked and has not recorded anything yet.
forked = False


def open_place(settings: Settings, limits: Limits) -> Place:
    """The place for these settings, made where there is none."""
    key = (settings, limits)
    with _lock:
        place = _places.get(key)
        if place is None:
            place = _places[key] = Place(key)
        place.users += 1
        return place


def leave_place(place: Place, timeout: float | None) -> None:
    """One user less. The last one closes it."""
    with _lock:
        place.users -= 1
        if place.users > 0:
            return
        _places.pop(place.key, None)
    place.close(timeout)


def software() -> str:
    """What ``stream.opened`` says of the software."""
    return f"rlhf-audit-trail {_native.__version__} (Python {platform.python_version()})"


def _open_ledger(data_dir: Path, passphrase: str | None) -> _native.Ledger:
    path = Path(os.path.realpath(data_dir))
    known = _ledgers.get(path)
    if known is None:
        try:
            ledger = _native.Ledger(path, passphrase=passphrase)
        except LockedError as error:
            raise LockedError(
                f"{error}; one process at a time has a data directory: to record from several, let "
                f'`rlhf-audit serve --data-dir {path}` have it, and give each of them server="http://localhost:8000" '
                "and a token (rlhf-audit token create)"
            ) from None
        known = (ledger, 0)
    _ledgers[path] = (known[0], known[1] + 1)
    return known[0]


def _close_ledger(data_dir: Path | None) -> None:
    if data_dir is None:
        return
    path = Path(os.path.realpath(data_dir))
    known = _ledgers.pop(path, None)
    if known is None:
        return
    ledger, users = known
    if users > 1:
        _ledgers[path] = (ledger, users - 1)
    else:
        ledger.close()


def used_after_fork() -> None:
    """Sees to it, once, that a forked process sends what it records before it ends.

    A worker of ``multiprocessing`` ends without the interpreter's own ending, so ``atexit`` is not enough.
    """
    global forked
    forked = False
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, _at_exit, exitpriority=10)


def _in_child() -> None:
    global _lock, forked
    _lock = threading.Lock()
    forked = True


def _at_exit() -> None:
    """Bounded, and quiet: what is not sent is kept for the next process, and nobody listens any more."""
    for place in list(_places.values()):
        try:
            if forked:
                continue
            place.close(EXIT_TIMEOUT)
        except AuditError as error:
            print(f"rlhf-audit-trail: {error}", file=sys.stderr)
    if not forked:
        _places.clear()


os.register_at_fork(after_in_child=_in_child)
atexit.register(_at_exit)
