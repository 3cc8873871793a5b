"""A training run: what happens between entering and leaving ``track_training``."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from . import _place, _ranks
from ._logging import LogMethods
from ._norms import Tracker
from ._reporter import Guard, Reporter
from .errors import AuditError, ClosedError, FlushTimeoutError, InputError, NoActiveRunError
from .results import Receipt

if TYPE_CHECKING:
    from . import _native
    from .auditor import AuditableRLHF

RunStatus = Literal["completed", "failed", "aborted"]


class Run(LogMethods):
    """A training run. Made by ``AuditableRLHF.track_training``; a context manager, and an asynchronous one too.

    Left without an exception it is sealed as ``completed``; with one as ``failed``, and the exception is recorded,
    sealed, and goes on its way; with KeyboardInterrupt as ``aborted``. A process other than the one that started it
    (another rank, a forked worker) only sends what it recorded.
    """

    def __init__(
        self,
        auditor: AuditableRLHF,
        experiment: str,
        name: str | None,
        resume: str | bool,
        join: str | None,
        distributed: bool,
        config: dict[str, Any] | None,
        description: str | None,
    ) -> None:
        if join is not None and resume:
            raise InputError(
                "join and resume are both given: resume a run of yours, or join one that another process seals"
            )
        if resume is True and name is None:
            raise InputError("resume: expected name= too, by which the run is found again, found none")
        self.experiment = experiment
        self.name = name or experiment
        self._auditor = auditor
        self._place = auditor.place
        self._resume = resume
        self._join = join
        self._distributed = distributed
        self._config = config
        self._description = description
        self._reporter = Reporter(auditor.on_error)
        self._stream: _native.Stream | None = None
        self._id: str | None = None
        self._state: Literal["new", "open", "unrecorded", "ended"] = "new"
        self._owner = False
        self._process = os.getpid()
        self._steps = -1
        self._lock = threading.Lock()
        self.tracker = Tracker()

    # What it is.

    @property
    def id(self) -> str | None:
        """The run's id, by which every process and every reader knows it; ``None`` where it could not be recorded."""
        return self._id

    @property
    def stream(self) -> _native.Stream:
        """The stream that this process writes."""
        if _place.forked:
            _place.used_after_fork()
        if self._stream is None or self._state != "open":
            if self._state == "unrecorded":
                raise ClosedError(f"the run {self.name!r} could not be started, so nothing of it is recorded")
            raise NoActiveRunError(
                f"the run {self.name!r} is {self._state}: record within `with auditor.track_training(…)`"
            )
        return self._stream

    @property
    def spool(self) -> _native.Spool:
        """Where its records wait."""
        return self._place.spool

    def __repr__(self) -> str:
        """For people."""
        return f"Run({self.name!r}, {self.id}, {self._state})"

    # How it begins and ends.

    def start(self) -> Run:
        """Begins, where no ``with`` is at hand: a notebook's cell. ``finish`` ends it."""
        if self._state != "new":
            raise ClosedError(f"the run {self.name!r} was started before; make another with track_training")
        try:
            with self._reporter.guard("track_training", None):
                self._begin()
        except BaseException:
            self._state = "ended"
            raise
        self._state = "open"
        if self._stream is not None:
            self._id = self._stream.run
        else:
            self._state = "unrecorded"
            self._reporter.muted = True
        self._auditor.entered(self)
        return self

    def _begin(self) -> None:
        rank = self._auditor.rank
        name = f"rank{rank}"
        if self._distributed and rank != 0:
            told = _ranks.shared_run(None)
            if told is None:
                raise ClosedError("rank 0 could not start the run, so nothing of it is recorded here")
            self._stream = self.spool.join_run(told, name)
            return
        try:
            self._stream = self._begin_here(name)
        finally:
            if self._distributed:
                _ranks.shared_run(None if self._stream is None else self._stream.run)
        if self._owner:
            self._remember(self._stream)

    def _begin_here(self, stream: str) -> _native.Stream:
        if self._join is not None:
            return self.spool.join_run(self._join, stream)
        self._owner = self._auditor.rank == 0
        if run := self._resumed():
            return self.spool.join_run(run, stream)
        self._owner = True
        return self.spool.start_run(
            self.name,
            stream=stream,
            experiment=self.experiment,
            model=self._auditor.model_name,
            config=_scalars(self._config),
            description=self._description,
        )

    def _resumed(self) -> str | None:
        """The run to go on with; ``None`` where a new one is to be started."""
        if self._resume is True:
            try:
                found: dict[str, str] = json.loads(self._memory.read_text(encoding="utf-8"))
            except FileNotFoundError:
                return None
            return found["run"]
        if not self._resume:
            return None
        if len(self._resume) == 26 and self._resume.isalnum() and self._resume.upper() == self._resume:
            return self._resume
        # A name: the server knows its id.
        found = json.loads(self._place.reads.run(self._resume))
        return found["run"]

    @property
    def _memory(self) -> Path:
        """Where it is remembered which run of this name is open, for ``resume=True``."""
        digest = hashlib.sha256(f"{self.experiment}\0{self.name}".encode()).hexdigest()[:32]
        return self._place.settings.spool_dir / "runs" / f"{digest}.json"

    def _remember(self, stream: _native.Stream) -> None:
        self._memory.parent.mkdir(mode=0o700, exist_ok=True)
        fresh = self._memory.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps({"run": stream.run, "name": self.name}), encoding="utf-8")
        fresh.replace(self._memory)

    def finish(self, status: RunStatus = "completed", *, timeout: float | None = None) -> None:
        """Ends: seals the run as ``completed``, ``failed`` or ``aborted``, and waits until that is in the log.

        `timeout` is in seconds, by default the auditor's ``flush_timeout``. What the ledger does not take in time
        is kept and sent later, and the run is sealed then. A rank other than the first sends what it has, and seals
        nothing.
        """
        with self._lock:
            if self._state in ("new", "ended"):
                return
            if self._state == "unrecorded":
                self._state = "ended"
                self._auditor.left(self)
                return
        timeout = self._auditor.flush_timeout if timeout is None else timeout
        stream = self._stream
        assert stream is not None  # noqa: S101 - the state is `open`
        self._reporter.conclude(stream)
        with self._guard("finish"):
            try:
                self._end(stream, status, timeout)
            finally:
                self._state = "ended"
                self._auditor.left(self)

    def _end(self, stream: _native.Stream, status: RunStatus, timeout: float) -> None:
        self._place.refresh_token()
        here = os.getpid() == self._process
        if not (here and self._owner):
            self.spool.flush(timeout)
            if here and self._distributed and status == "completed":
                _ranks.together()
            return
        if self._distributed and status == "completed":
            # A record of another rank that comes after the seal would be refused.
            _ranks.together()
        try:
            stream.seal(status, timeout)
        except FlushTimeoutError as error:
            raise FlushTimeoutError(f"{error}; the run is sealed once the ledger takes them") from None
        self._memory.unlink(missing_ok=True)
        self._auditor.conclude()

    def release(self) -> None:
        """Lets go of the stream, for the next process to take. Private to the package."""
        self._stream = None
        if self._state == "open":
            self._state = "ended"

    def __enter__(self) -> Run:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave(kind, error)

    async def __aenter__(self) -> Run:
        # Not everybody who trains has tasks.
        import asyncio

        # What is awaited runs in a thread; the run is the task's all the same.
        await asyncio.to_thread(self.start)
        self._auditor.entered_here(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        import asyncio

        await asyncio.to_thread(self._leave, kind, error)

    def _leave(self, kind: type[BaseException] | None, error: BaseException | None) -> None:
        status = _status(kind, error)
        if status != "completed" and self._state == "open" and os.getpid() == self._process:
            with self._guard("finish"):
                words = f"{kind.__name__}: {error}" if kind is not None else status
                body = {"incident": "run-failed" if status == "failed" else "run-aborted"}
                self.stream.write("incident.reported", body, sealed={"description": words[:4_096]})
        if error is None:
            self.finish(status)
            return
        try:
            self.finish(status)
        except AuditError as failed:
            # The exception that ended the run is the one to hear of.
            _add_note(error, f"rlhf-audit-trail: the run could not be sealed: {failed}")

    # What it records.

    def record(
        self,
        kind: str,
        body: dict[str, Any],
        *,
        sealed: dict[str, Any] | None = None,
        attachments: dict[str, tuple[str, int]] | None = None,
        person: str | None = None,
    ) -> str:
        """Records anything that has a kind (docs/spec/record.md), for what has no call of its own. The record's name.

        `sealed` are the values to be sealed, under the key of `person` (an id, whose pseudonym is drawn) or of the
        run. Raises whatever ``on_error`` says.
        """
        written = self.stream.write(kind, body, sealed=sealed or None, attachments=attachments or None, person=person)
        self._auditor.look(self._reporter)
        return written

    def pseudonym(self, person: str) -> str:
        """Under which name somebody appears in this run."""
        return self.stream.pseudonym(person)

    def receipts(self) -> list[Receipt]:
        """What the log has proven of this process's records so far, the oldest first."""
        stream = self._stream
        if stream is None:
            return []
        return [
            Receipt(seq, index, record, Path(file), Path(proof))
            for seq, index, record, file, proof in stream.receipts()
        ]

    def next_step(self, step: int | None) -> int:
        """A step that is given, or the one after the last."""
        with self._lock:
            self._steps = self._steps + 1 if step is None else int(step)
            return self._steps

    def complain(self, where: str, error: AuditError) -> None:
        """Says that a part of something could not be recorded: raises, or records and warns, as is set."""
        if self._reporter.raises:
            raise error
        self._reporter.report(where, error, self._stream, stacklevel=4)

    def _run(self) -> Run:
        return self

    def _guard(self, where: str) -> Guard:
        return self._reporter.guard(where, self._stream if self._state == "open" else None)


def _status(kind: type[BaseException] | None, error: BaseException | None) -> RunStatus:
    if kind is None:
        return "completed"
    if issubclass(kind, SystemExit):
        return "completed" if getattr(error, "code", None) in (None, 0) else "failed"
    asyncio = sys.modules.get("asyncio")
    cancelled = () if asyncio is None else (asyncio.CancelledError,)
    if issubclass(kind, (KeyboardInterrupt, GeneratorExit, *cancelled)):
        return "aborted"
    return "failed"


def _scalars(config: dict[str, Any] | None) -> dict[str, Any] | None:
    """Settings as a record holds them: texts, numbers and booleans, nested ones by their path. At most 256."""
    if not config:
        return None
    flat: dict[str, Any] = {}

    def add(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for inner, found in value.items():
                add(f"{name}.{inner}" if name else str(inner), found)
        elif value is not None:
            number = isinstance(value, (bool, int)) or (isinstance(value, float) and value - value == 0)
            kept = value if number and abs(value) < 2**53 else _line(str(value))
            if kept != "":
                flat[_line(name) or "setting"] = kept

    add("", config)
    return dict(list(flat.items())[:256])


def _line(text: str) -> str:
    """A text as records have it: at most 128 characters, none of them a control character."""
    return "".join(" " if ord(c) < 0x20 or ord(c) == 0x7F else c for c in text[:128])


def _add_note(error: BaseException, note: str) -> None:
    # From Python 3.11 on.
    add_note = getattr(error, "add_note", None)
    if add_note is not None:
        add_note(note)
