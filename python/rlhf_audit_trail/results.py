"""What the calls of this package give back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple


class Logged:
    """What a call has recorded, one entry a row; empty where it could not and training goes on."""

    __slots__ = ("items", "records")

    def __init__(self, records: list[str], items: list[str]) -> None:
        #: The records' names for ever: their leaf hashes, in base64.
        self.records = records
        #: What the records call the thing they are about. Opaque: drawn at random unless it was given.
        self.items = items

    def __len__(self) -> int:
        """How many records there are."""
        return len(self.records)

    def __repr__(self) -> str:
        """For people."""
        return f"Logged({len(self.records)} records)"


class Status(NamedTuple):
    """How it stands with what was recorded."""

    #: Records that are on this machine's disk and not acknowledged by the ledger yet.
    waiting_records: int
    #: The bytes of those and of attachments, of all processes that share the spool's directory.
    waiting_bytes: int
    #: Records that the ledger acknowledged since this process began.
    acknowledged: int
    #: Why the ledger does not take what waits; ``None`` while it does.
    last_error: str | None
    #: What went wrong for good: what, and where the evidence or the bytes are.
    incidents: list[tuple[str, Path]]
    #: Why nothing is sent any more; ``None`` while it is.
    contradiction: str | None


class Receipt(NamedTuple):
    """What the log has promised and proven of one record, and with it of all before it in its stream."""

    #: Its place in its stream.
    seq: int
    #: Its place in the log.
    log_index: int
    #: Its name.
    record: str
    #: The file with its bytes.
    record_file: Path
    #: The file with the proof (C2SP tlog-proof).
    proof_file: Path


class Provenance(NamedTuple):
    """What verification found."""

    #: Whether everything was checked and holds.
    ok: bool
    #: ``verified``, ``incomplete``, ``failed`` or ``nothing-to-check``.
    verdict: str
    #: The run.
    run: str
    #: How many of its records were checked.
    records: int
    #: What does not hold.
    failures: list[str]
    #: Whether the log's keys were known beforehand. If not, they are the server's own word: get the policy from
    #: somebody else, and give it as ``policy=``.
    pinned: bool
    #: The whole report, in words.
    text: str
    #: The whole report, as data.
    report: dict[str, Any]

    def __bool__(self) -> bool:
        """Whether everything was checked and holds."""
        return self.ok
