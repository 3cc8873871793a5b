"""What becomes of errors: raised where the user asked for that, else recorded as an incident and warned of once."""

from __future__ import annotations

import contextlib
import re
import warnings
from types import TracebackType
from typing import TYPE_CHECKING

from .errors import AuditError, AuditWarning

if TYPE_CHECKING:
    from . import _native

#: As many causes are told apart in one run.
_MAX_CAUSES = 100
#: As many characters of an error are kept in its incident.
_MAX_DESCRIPTION = 4_096


class Reporter:
    """Keeps account of what was not recorded."""

    def __init__(self, on_error: str) -> None:
        self.raises = on_error == "raise"
        #: Nothing is recorded, and that was said.
        self.muted = False
        self._causes: dict[tuple[str, str], tuple[int, str]] = {}

    def guard(self, where: str, stream: _native.Stream | None) -> Guard:
        """What surrounds the body of a call."""
        return Guard(self, where, stream)

    def report(self, where: str, error: Exception, stream: _native.Stream | None, stacklevel: int) -> None:
        """Records and warns of the first of a cause, and counts the others."""
        cause = (where, type(error).__name__)
        count, first = self._causes.get(cause, (0, str(error)))
        if count == 0 and len(self._causes) >= _MAX_CAUSES:
            return
        self._causes[cause] = (count + 1, first)
        if count > 0 or self.muted:
            return
        incident(stream, "not-recorded", where, f"{where}: {_text(error)}")
        warnings.warn(
            f"{where}: {_text(error)} (training goes on; further ones like it are counted, not repeated)",
            AuditWarning,
            stacklevel=stacklevel + 1,
        )

    def conclude(self, stream: _native.Stream | None) -> None:
        """Records how often what was warned of once has happened."""
        for (where, _), (count, first) in self._causes.items():
            if count > 1:
                incident(stream, "not-recorded", where, f"{where}: {count} calls in all; the first: {first}")
        self._causes.clear()


class Guard:
    """Lets errors pass where they are to be raised, else reports them and goes on after the block."""

    __slots__ = ("_reporter", "_stream", "_where")

    def __init__(self, reporter: Reporter, where: str, stream: _native.Stream | None) -> None:
        self._reporter = reporter
        self._where = where
        self._stream = stream

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None or self._reporter.raises or not isinstance(error, Exception):
            return False
        self._reporter.report(self._where, error, self._stream, stacklevel=3)
        return True


def incident(stream: _native.Stream | None, what: str, detail: str, description: str) -> None:
    """Records that something went wrong, where that can be recorded. The words are sealed."""
    if stream is None:
        return
    body = {"incident": what, "detail": re.sub("[^a-z0-9]+", "-", detail.lower()).strip("-")[:64] or "other"}
    # What cannot be recorded cannot be recorded either way; the warning stands.
    with contextlib.suppress(AuditError):
        stream.write("incident.reported", body, sealed={"description": description[:_MAX_DESCRIPTION]})


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, AuditError) else f"{type(error).__name__}: {error}"
