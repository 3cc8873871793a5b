"""What can go wrong, as one tree of exceptions. Each says what was seen, what was expected, and what to do."""

from __future__ import annotations

__all__ = [
    "AuditError",
    "AuditWarning",
    "AuthenticationError",
    "ClosedError",
    "ContradictionError",
    "FileError",
    "FlushTimeoutError",
    "InputError",
    "LedgerError",
    "LockedError",
    "ModelError",
    "NoActiveRunError",
    "NotFoundError",
    "RefusedError",
    "SpoolError",
    "SpoolFullError",
    "UnavailableError",
    "VerificationError",
]


class AuditError(Exception):
    """Anything that keeps something from being recorded, read or verified."""


class InputError(AuditError, ValueError):
    """What was given is not what it has to be. Nothing of the call was recorded."""


class ModelError(InputError):
    """A model of which nothing can be recorded: it has no parameters, or none that is trained."""


class NoActiveRunError(AuditError, RuntimeError):
    """There is no run to record in: ``track_training`` was not entered, or has been left."""


class ClosedError(AuditError, RuntimeError):
    """The run is sealed, or the spool is closed. Nothing of the call was recorded."""


class FileError(AuditError, OSError):
    """A file that was named cannot be read or written, or changed while it was read."""


class SpoolError(AuditError, OSError):
    """The spool's directory cannot be read or written. Nothing of the call was recorded."""


class SpoolFullError(SpoolError):
    """So much waits for the server that the spool takes no more."""


class FlushTimeoutError(AuditError, TimeoutError):
    """The server did not take everything in time. What was accepted is kept, and sent later."""


class LedgerError(AuditError):
    """The ledger, in this process or at a server, did not do what it was asked."""


class LockedError(LedgerError):
    """Another process has the data directory open."""


class UnavailableError(LedgerError, ConnectionError):
    """The server did not answer."""


class RefusedError(LedgerError):
    """The server said no."""

    #: The HTTP status, such as 422.
    status: int
    #: The stable name of the problem, such as ``stream-head``.
    code: str

    def __init__(self, message: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class AuthenticationError(RefusedError):
    """The token is missing, unknown, revoked, or of a role that may not do this."""


class NotFoundError(RefusedError):
    """The server knows no such run, or has not published it yet."""


class ContradictionError(LedgerError):
    """The server has shown what cannot both be true. The evidence is in the directory that is named."""


class VerificationError(AuditError):
    """Verification could not be carried out. (What it finds false is no exception: see ``Provenance``.)"""


class AuditWarning(UserWarning):
    """Something was not recorded, and training goes on: what ``on_error="warn"`` warns with, once a cause."""
