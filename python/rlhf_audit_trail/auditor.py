"""`AuditableRLHF`: what a trainer makes once, and then records with."""

from __future__ import annotations

import contextvars
import json
import os
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from . import _place, _ranks
from ._logging import LogMethods
from ._place import Limits
from ._reporter import Guard, Reporter
from ._settings import settings
from ._verify import check
from .errors import ContradictionError, InputError, LedgerError, NoActiveRunError
from .results import Provenance, Status
from .run import Run

#: How often a look is taken whether the ledger takes what is recorded, in seconds.
_LOOK_EVERY = 30.0
#: What a model card can be had as, and which of the ledger's forms that is.
_CARD_FORMATS = {"eu_standard": "markdown", "markdown": "markdown", "html": "html", "json": "json"}

CardFormat = Literal["eu_standard", "markdown", "html", "json"]


class AuditableRLHF(LogMethods):
    """Records how a model is trained from human feedback.

    Args:
        model_name: the model that is trained, as it is to stand in the log.
        server: the address of a ledger, such as ``http://localhost:8000`` [default: ``RLHF_AUDIT_SERVER``].
        token: what lets one in there: a producer's token, or an admin's [default: ``RLHF_AUDIT_TOKEN``, or the file
            named by ``RLHF_AUDIT_TOKEN_FILE``].
        data_dir: the directory of a ledger that this process opens itself, without a server; made where there is
            none. One process at a time [default: ``RLHF_AUDIT_DATA_DIR``, else ``./audit-data``].
        spool_dir: where records lie until the ledger has them [default: ``RLHF_AUDIT_SPOOL_DIR``, else
            ``~/.local/state/rlhf-audit/spool``, or ``spool`` in the data directory]. Keep it on a disk that stays.
        durability: what a record survives once a call returned: the end of the process (``"process"``), or of the
            machine (``"fsync"``), which costs what the disk takes for that, at each call.
        on_full: when so much waits that the spool is full: wait for room (``"block"``), so long as `full_timeout`
            says, or fail at once (``"fail"``). Nothing is dropped in silence.
        full_timeout: in seconds; ``None``: for ever.
        on_error: what becomes of errors once training runs: ``"warn"`` records an incident, warns once a cause and
            lets training go on; ``"raise"`` raises. Making an auditor raises in any case.
        spool_limit_bytes: how much may wait [default: 4 GiB].
        flush_timeout: how long the end of a run waits for the ledger, in seconds.
        rank: which of several processes this is [default: as ``torch.distributed`` or the launcher says]. Each
            writes a stream of its own, ``rank0``, ``rank1``, ….
        producer: under which name streams are opened.
        policy: a file with the log's policy, or its keys, where they are known beforehand; without it the keys that
            the server shows first are remembered, and others refused from then on.

    Raises:
        InputError: an argument is not what it has to be.
        LockedError: another process has the data directory open.
        SpoolError: the spool's directory cannot be used.

    """

    def __init__(
        self,
        model_name: str,
        *,
        server: str | None = None,
        token: str | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        spool_dir: str | os.PathLike[str] | None = None,
        durability: Literal["process", "fsync"] = "process",
        on_full: Literal["block", "fail"] = "block",
        full_timeout: float | None = 60.0,
        on_error: Literal["warn", "raise"] = "warn",
        spool_limit_bytes: int | None = None,
        flush_timeout: float = 30.0,
        rank: int | None = None,
        producer: str = "rlhf-audit-trail",
        policy: str | os.PathLike[str] | None = None,
    ) -> None:
        if on_error not in ("warn", "raise"):
            raise InputError(f'on_error: expected "warn" or "raise", found {on_error!r}')
        if not model_name:
            raise InputError("model_name: expected a name, found an empty text")
        self.model_name = model_name
        self.on_error = on_error
        self.flush_timeout = flush_timeout
        self.rank = _ranks.rank() if rank is None else rank
        where = settings(server, token, data_dir, spool_dir, policy)
        limits = Limits(durability, on_full, full_timeout, spool_limit_bytes, producer)
        self.place = _place.open_place(where, limits)
        self._closed = False
        self._reporter = Reporter(on_error)
        self._open_runs: list[Run] = []
        #: All that were begun here and that somebody has still.
        self._runs: weakref.WeakSet[Run] = weakref.WeakSet()
        self._last: str | None = None
        self._looked = time.monotonic()
        self._told: set[str] = set()
        #: The run of this thread or task; where it has none, the one that was entered last.
        self._current: contextvars.ContextVar[Run | None] = contextvars.ContextVar("rlhf_audit_run", default=None)

    # Runs.

    def track_training(
        self,
        experiment_name: str,
        *,
        name: str | None = None,
        resume: str | bool = False,
        join: str | None = None,
        distributed: bool = False,
        config: Mapping[str, Any] | None = None,
        description: str | None = None,
    ) -> Run:
        """A run, to be entered: ``with`` or ``async with``, or ``start()`` and ``finish()``.

        Args:
            experiment_name: what it belongs to.
            name: what people call it [default: the experiment's name].
            resume: go on with a run that was left open, after a preemption: its id, its name, or ``True`` for the
                one of this `experiment_name` and `name` that was started here, if there is one, else a new one. The
                ranks may be others than before.
            join: the id of a run that another process has started and will seal: this one writes a stream of its own.
            distributed: all ranks enter at the same time, and ``torch.distributed`` is set up: rank 0 starts the
                run, and the others join it.
            config: settings, recorded in the clear: texts, numbers and booleans (nested ones by their path).
                Nothing personal.
            description: free text, sealed.

        Raises:
            InputError: arguments that do not go together.

        """
        if not experiment_name:
            raise InputError("experiment_name: expected a name, found an empty text")
        return Run(
            self,
            experiment_name,
            name,
            resume,
            join,
            distributed,
            None if config is None else dict(config),
            description,
        )

    @property
    def run(self) -> Run | None:
        """The run that is recorded in, as things stand."""
        current = self._current.get()
        if current is not None and current in self._open_runs:
            return current
        return self._open_runs[-1] if self._open_runs else None

    def entered(self, run: Run) -> None:
        """A run has begun. Private to the package."""
        self._open_runs.append(run)
        self._runs.add(run)
        self._last = run.id or self._last
        self._current.set(run)

    def entered_here(self, run: Run) -> None:
        """A run that was begun in another thread is this task's. Private to the package."""
        self._current.set(run)

    def left(self, run: Run) -> None:
        """A run has ended. Private to the package."""
        if run in self._open_runs:
            self._open_runs.remove(run)

    # Human oversight.

    def approve(self, subject: str, **details: Any) -> str | None:
        """Records that a person approved: see ``reject``."""
        return self._decide("approved", subject, **details)

    def reject(self, subject: str, **details: Any) -> str | None:
        """Records that a person rejected something. The record's name.

        Args:
            subject: what it is about: a release, a model checkpoint, a run.
            details: `reason` (sealed), `reviewer` (a person's id, sealed; a pseudonym appears), `record` (the name
                of the record that it is about), `step`, and `run`, the id of a run that is not open any more: the
                decision then goes to the ledger's own scope, and names it.

        """
        return self._decide("rejected", subject, **details)

    def stop(self, subject: str, **details: Any) -> str | None:
        """Records that a person stopped what was going on: see ``reject``. It stops nothing itself."""
        return self._decide("stopped", subject, **details)

    def _decide(
        self,
        decision: str,
        subject: str,
        *,
        reason: str | None = None,
        reviewer: str | None = None,
        record: str | None = None,
        step: int | None = None,
        run: str | None = None,
    ) -> str | None:
        with self._guard(decision):
            open_run = self.run
            late = run if run is not None and (open_run is None or open_run.id != run) else None
            if late is None and open_run is not None:
                stream = open_run.stream
            else:
                late = late or self._last
                stream = self.place.spool.ledger_stream("oversight")
            body: dict[str, Any] = {"subject": subject}
            sealed: dict[str, Any] = {}
            if reviewer is not None:
                body["reviewer"] = stream.pseudonym(reviewer)
                sealed["reviewer_id"] = reviewer
            if reason is not None:
                sealed["reason"] = reason
            body |= {k: v for k, v in (("record", record), ("step", step), ("run", late)) if v is not None}
            return stream.write(f"oversight.{decision}", body, sealed=sealed or None, person=reviewer)
        return None

    # What the log says.

    def generate_model_card(
        self,
        format: CardFormat = "markdown",
        *,
        run: str | None = None,
        path: str | os.PathLike[str] | None = None,
        issue: bool = False,
    ) -> str:
        """The model card of a run, in which each number says from which records it is. Raises in any case.

        Args:
            format: ``markdown`` (with the metadata of a model hub), ``html`` (one page) or ``json``.
                ``eu_standard`` is at present the Markdown card; a template of its own comes with the compliance
                reports.
            run: a run's id or name [default: the present one, or the last].
            path: a file to write it to as well.
            issue: record that it was issued (an admin's token is needed), so that a forged card is found out by
                ``rlhf-audit verify --document``. The card says what is in the log then.

        """
        if format not in _CARD_FORMATS:
            raise InputError(f"format: expected one of {', '.join(_CARD_FORMATS)}, found {format!r}")
        run = self._named(run)
        self.flush()
        if issue:
            issued = json.loads(self.place.reads.issue_card(run))
            suffix = {"markdown": ".md", "html": ".html", "json": ".json"}[_CARD_FORMATS[format]]
            cards = [str(file["content"]) for file in issued["files"] if file["name"].endswith(suffix)]
            if not cards:
                raise LedgerError(f"the ledger issued no card in the format {format!r}")
            card = cards[0]
        else:
            card = self.place.reads.card(run, _CARD_FORMATS[format])
        if path is not None:
            Path(path).write_text(card, encoding="utf-8")
        return card

    def verify_provenance(
        self,
        *,
        run: str | None = None,
        bundle: str | os.PathLike[str] | None = None,
        policy: str | os.PathLike[str] | None = None,
    ) -> Provenance:
        """Checks a run as an auditor would: every hash, chain and signature, and that nothing is missing. Raises in
        any case.

        Args:
            run: a run's id or name [default: the present one, or the last].
            bundle: a file that ``export_bundle`` wrote, instead of what the ledger has now.
            policy: the log's policy, from somebody you trust [default: the auditor's, else the server's own word,
                which shows that the log agrees with itself].

        """
        words = None if policy is None else Path(policy).read_text(encoding="utf-8")
        words = words or self.place.settings.policy
        pinned = words is not None
        if words is None:
            words = self.place.reads.policy()
        if bundle is not None:
            return check(Path(bundle), words, pinned)
        import tempfile

        with tempfile.TemporaryDirectory(prefix="rlhf-audit-") as directory:
            return check(self.export_bundle(Path(directory) / "run.bundle", run=run), words, pinned)

    def export_bundle(self, path: str | os.PathLike[str], *, run: str | None = None, openings: bool = False) -> Path:
        """Writes one file with which anybody can verify a run offline, with ``rlhf-audit verify``. Raises in any case.

        With `openings` it holds the sealed values too: for the auditor who is to see them (an admin's token is
        needed).
        """
        run = self._named(run)
        self.flush()
        self.place.reads.bundle(run, path, openings=openings)
        return Path(path)

    # How it stands.

    def flush(self, timeout: float | None = None) -> None:
        """Waits until all that was recorded is durable at the ledger. Raises in any case.

        Args:
            timeout: in seconds [default: the auditor's ``flush_timeout``].

        Raises:
            FlushTimeoutError: it took longer. Nothing is lost: it is sent later.

        """
        self.place.refresh_token()
        self.place.spool.flush(self.flush_timeout if timeout is None else timeout)

    def status(self) -> Status:
        """How it stands with what was recorded."""
        found = self.place.spool.status()
        return Status(
            waiting_records=found["waiting_records"],
            waiting_bytes=found["waiting_bytes"],
            acknowledged=found["acknowledged"],
            last_error=found["last_error"],
            incidents=[(what, Path(kept)) for what, kept in found["incidents"]],
            contradiction=found["contradiction"],
        )

    def set_token(self, token: str | None) -> None:
        """Another token from now on: for one that has expired or was revoked. What waits is sent with it."""
        self.place.set_token(token)

    def close(self, timeout: float | None = None) -> None:
        """Ends: runs that are still open are left open, to be resumed, and what was recorded is sent.

        Not needed at the end of a process, which does the same. Raises in any case.
        """
        if self._closed:
            return
        self._closed = True
        for run in list(self._runs):
            run.release()
        self._open_runs.clear()
        _place.leave_place(self.place, self.flush_timeout if timeout is None else timeout)

    def __enter__(self) -> AuditableRLHF:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._guard("close"):
            self.close()

    def look(self, reporter: Reporter) -> None:
        """Says, now and then, that the ledger does not take what is recorded. Private to the package."""
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        self.place.refresh_token()
        status = self.status()
        found = [what for what, _ in status.incidents] + [status.contradiction, status.last_error]
        for what in self._news(found):
            if not reporter.raises:
                reporter.report("ledger", LedgerError(what), None, stacklevel=4)

    def conclude(self) -> None:
        """Raises what went wrong for good with something that was recorded. Private to the package."""
        status = self.status()
        if status.contradiction is not None:
            raise ContradictionError(status.contradiction)
        for what in self._news([what for what, _ in status.incidents]):
            raise LedgerError(what)

    def _news(self, found: list[str | None]) -> list[str]:
        """What was not told of before."""
        news = [what for what in found if what is not None and what not in self._told]
        self._told.update(news)
        return news

    def _named(self, run: str | None) -> str:
        named = run or (self.run.id if self.run is not None else None) or self._last
        if named is None:
            raise NoActiveRunError("there has been no run yet: name one with run=")
        return named

    def _run(self) -> Run:
        run = self.run
        if run is None:
            raise NoActiveRunError("no run is open: record within `with auditor.track_training(…)`")
        return run

    def _guard(self, where: str) -> Guard:
        run = self.run
        return self._reporter.guard(where, None) if run is None else run._guard(where)
