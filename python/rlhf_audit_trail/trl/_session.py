"""One training as it is recorded: from its start to its seal."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..auditor import AuditableRLHF
from ..errors import AuditError
from ..results import Logged
from ..run import Run
from . import _config
from ._observe import Order, Step

#: The digests of as many rows are recorded where a data set has files that can be hashed instead.
MOST_ROWS = 20_000
#: So many times longer than it takes to look at a model passes between two looks: half a percent of the time.
PATIENCE = 200.0
#: Under which name a trainer's state knows the run, so that whoever resumes finds it.
STATE = "RlhfAudit"
#: What trainers call what `policy.updated` has a word for.
_NAMES = {
    "kl": ("objective/kl", "kl"),
    "entropy": ("objective/entropy", "entropy", "policy/entropy_avg"),
    "reward_mean": ("reward",),
    "reward_std": ("reward_std",),
}


class Session:
    """What is being recorded of one training, by one rank."""

    def __init__(self, run: Run, auditor: AuditableRLHF, *, first: bool, owned: bool) -> None:
        self.run = run
        self.auditor = auditor
        #: Rank 0 speaks for all: updates, metrics, saved models. Others record what they alone have.
        self.first = first
        #: Whether the run was begun here, and is to be ended here.
        self.owned = owned
        self.model: Any = None
        self.module_norms: Literal["auto", "always", "never"] = "auto"
        self.order = Order()
        #: When the model may be looked at again.
        self._look_at = 0.0
        #: The checkpoint that the training goes on from.
        self.resumed_from: str | None = None
        self._step: Step | None = None
        self._pending: dict[str, Any] | None = None
        self._parent: str | None = None
        self._saved_at: int | None = None
        self._datasets: dict[str, str] = {}
        self._evaluated: dict[str, Any] = {}
        self._fresh: list[str] = []
        self._consumed: list[str] = []
        self._scored: tuple[Any, list[str]] = (None, [])

    # Data.

    def register(self, role: str, dataset: Any) -> None:
        """A data set that is trained or evaluated on, as the trainer has prepared it."""
        if dataset is None or not hasattr(dataset, "__len__"):
            return
        if isinstance(dataset, Mapping):
            for name, part in dataset.items():
                self.register(f"{role}_{name}", part)
            return
        named = getattr(getattr(dataset, "info", None), "dataset_name", None)
        name = f"{named} ({role})" if named else role
        self._datasets[role] = name
        rows = len(dataset) <= MOST_ROWS or not getattr(dataset, "cache_files", None)
        self.run.register_dataset(dataset, name=name, splits={role: len(dataset)}, rows=rows)

    def record_order(self, step: int, epoch: float | None) -> None:
        """In which order rows were drawn since the last time."""
        count = len(self.order.rows)
        lines = self.order.take()
        if lines is None or not self.first:
            return
        body: dict[str, Any] = {"metrics": {"rows_drawn": count}, "phase": "row-order", "step": step}
        if epoch is not None:
            body["epoch"] = epoch
        self.run.record("metric.logged", body, attachments={"row_order": self.run.spool.attach(lines)})

    # Updates.

    def restart(self) -> None:
        """What was begun of an update comes to nothing."""
        self.flush_update()
        self._step = None

    @property
    def step(self) -> Step:
        """The update that is being made."""
        if self._step is None:
            self._step = Step()
        return self._step

    def updated(self, number: int, epoch: float | None, wait: bool) -> None:
        """An update is made. With `wait` its metrics come at once, and it is recorded with them."""
        made, self._step = self._step or Step(), None
        if self._fresh:
            self._consumed, self._fresh = self._fresh, []
        if not self.first:
            return
        self._pending = {
            "step": number,
            "epoch": epoch,
            "batch": made.batch,
            "loss": made.loss,
            "learning_rate": made.learning_rate,
            "gradient_norm": made.gradient_norm,
            "consumed": self._consumed or None,
        }
        if not wait:
            self.flush_update()

    def flush_update(self, logged: Mapping[str, Any] | None = None) -> None:
        """Records the update that waits for its metrics, with them or without."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        logged = logged or {}
        for member, names in _NAMES.items():
            pending[member] = next((logged[name] for name in names if _is_number(logged.get(name))), None)
        for member, name in (("loss", "loss"), ("gradient_norm", "grad_norm"), ("learning_rate", "learning_rate")):
            if pending[member] is None and _is_number(logged.get(name)):
                pending[member] = logged[name]
        began = time.perf_counter()
        looked = self.module_norms == "always" or (self.module_norms == "auto" and began >= self._look_at)
        self.run.track_policy_update(self.model if looked else None, module_norms=self.module_norms, **pending)
        if looked:
            now = time.perf_counter()
            self._look_at = now + PATIENCE * (now - began)

    # Metrics.

    def logged(self, logs: Mapping[str, Any], step: int, epoch: float | None) -> None:
        """What the trainer logs: each number under its own name."""
        numbers = {name: value for name, value in logs.items() if name != "epoch" and _is_number(value)}
        evaluation = _prefix(numbers)
        if evaluation is None and "loss" in numbers:
            self.flush_update(numbers)
        self.flush_update()
        if not self.first or not numbers:
            return
        if evaluation is not None:
            self._evaluated = numbers
        phase = "train" if evaluation is None else "test" if evaluation.startswith("test") else "validation"
        self.run.log_metrics(numbers, step=step, epoch=epoch, phase=phase)

    def evaluated(self, metrics: Mapping[str, Any], step: int, rows: Any, own: bool) -> None:
        """An evaluation's result, on so many rows, of the trainer's own data set or of another.

        What was logged of it has the trainer's own metrics too.
        """
        numbers = {name: value for name, value in metrics.items() if name != "epoch" and _is_number(value)}
        logged, self._evaluated = self._evaluated, {}
        if numbers.items() <= logged.items():
            numbers = dict(logged)
        if not self.first or not numbers:
            return
        name = _prefix(numbers) or "evaluation"
        self.run.log_evaluation(
            name,
            numbers,
            dataset=self._datasets.get(name) if own else None,
            samples=len(rows) if hasattr(rows, "__len__") else None,
            # The weights as they are now have a name only where they were saved.
            model=self._parent if self._saved_at == step else None,
            step=step,
        )

    # Saved models.

    def saved(self, path: Path, step: int, epoch: float | None, model: Any) -> None:
        """A model was saved: its files are hashed."""
        self.flush_update()
        if not self.first:
            return
        parent = self._parent or self.resumed_from or _config.model_name(self.model if model is None else model)
        with _without_checkpoints(path) as folder:
            written = self.run.checkpoint(
                folder, name=path.absolute().name[-128:] or "model", model=model, epoch=epoch, step=step, parent=parent
            )
        if written is not None:
            self._parent, self._saved_at = path.absolute().name[-128:], step

    # Rewards.

    def items(self, completions: Any) -> list[str]:
        """What the records call these completions, the same for each function that scores them."""
        known, items = self._scored
        if known is not completions or len(items) != len(completions):
            items = [secrets.token_hex(12) for _ in completions]
            self._scored = (completions, items)
        return items

    def scored(self, logged: Logged, training: bool) -> None:
        """Completions were scored, which the next updates are made of."""
        if training:
            self._fresh.extend(logged.records)

    # The end.

    def finish(self) -> None:
        """Ends the run, where it was begun here."""
        self.flush_update()
        if self.owned:
            self.run.finish()

    def fail(self, error: BaseException, step: int, epoch: float | None) -> None:
        """Ends it as failed, or interrupted."""
        self.flush_update()
        self.record_order(step, epoch)
        if self.owned:
            self.run.__exit__(type(error), error, error.__traceback__)
        else:
            self.run.record_incident("training-failed", description=f"{type(error).__name__}: {error}")


class Training(NamedTuple):
    """What a trainer says of itself as it begins."""

    trainer: Any
    args: Any
    state: Any
    model: Any
    #: How rows are drawn.
    sampling: dict[str, Any]


def begin(auditor: AuditableRLHF | None, experiment: str | None, training: Training) -> Session | None:
    """Begins to record a training, on the first rank; ``None`` where no run could be started."""
    auditor = auditor or _auditor(training.model)
    adopted = auditor.run
    run = adopted or _run(auditor, _experiment(experiment, training), training)
    return None if run.id is None else Session(run, auditor, first=True, owned=adopted is None)


def join(auditor: AuditableRLHF | None, experiment: str | None, training: Training, run_id: str) -> Session | None:
    """Begins to record what another rank has to add."""
    auditor = auditor or _auditor(training.model)
    adopted = auditor.run
    run = adopted or auditor.track_training(_experiment(experiment, training), join=run_id).start()
    return None if run.id is None else Session(run, auditor, first=False, owned=adopted is None)


def _experiment(given: str | None, training: Training) -> str:
    return given or os.environ.get("RLHF_AUDIT_EXPERIMENT") or type(training.trainer).__name__


def _auditor(model: Any) -> AuditableRLHF:
    """The auditor that the environment describes."""
    return AuditableRLHF(_config.model_name(model), on_error="raise" if raises() else "warn")


def raises() -> bool:
    """Whether the environment asks for errors to stop the training."""
    return os.environ.get("RLHF_AUDIT_ON_ERROR") == "raise"


def _run(auditor: AuditableRLHF, experiment: str, training: Training) -> Run:
    """A new run; or the one that a checkpoint tells of, where that was never ended."""
    name = _config.run_name(training.trainer, training.args)
    step = getattr(training.state, "global_step", 0)
    before = _before(training.state) if step > 0 else None
    if before is not None and _is_open(auditor, before):
        run = auditor.track_training(experiment, name=name, resume=before).start()
        run.record_incident("training-resumed", detail=f"from-step-{step}")
        return run
    config = _config.describe(training.trainer, training.args, training.model) | training.sampling
    if before is not None:
        config = {"resumed.run": before, "resumed.step": step, **config}
    return auditor.track_training(experiment, name=name, config=config).start()


def _before(state: Any) -> str | None:
    known = getattr(state, "stateful_callbacks", None) or {}
    found = known.get(STATE)
    run = found.get("attributes", {}).get("run") if isinstance(found, dict) else None
    return str(run) if run else None


def _is_open(auditor: AuditableRLHF, run: str) -> bool:
    """Whether the ledger says so. Where it says nothing, a run of its own is safe."""
    try:
        return bool(json.loads(auditor.place.reads.run(run)).get("status") == "open")
    except (AuditError, ValueError):
        return False


def remember(state: Any, run: str | None) -> None:
    """Writes the run into what the trainer saves of its state."""
    known = getattr(state, "stateful_callbacks", None)
    if isinstance(known, dict) and run is not None:
        known[STATE] = {"args": {}, "attributes": {"run": run}}


@contextlib.contextmanager
def _without_checkpoints(path: Path) -> Iterator[Path]:
    """The folder of a finished model without the checkpoints that its training left in there."""
    inside = list(path.iterdir()) if path.is_dir() else []
    own = [found for found in inside if not (found.is_dir() and found.name.startswith(("checkpoint-", "runs")))]
    if len(own) == len(inside):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="rlhf-audit-") as directory:
        for found in own:
            (Path(directory) / found.name).symlink_to(found.absolute())
        yield Path(directory)


def _prefix(numbers: Mapping[str, Any]) -> str | None:
    """`eval` of `eval_loss`, `eval_runtime`, …; ``None`` for what training logs."""
    for name in numbers:
        if name.endswith("_runtime") and name != "train_runtime":
            return name.removesuffix("_runtime")
    names = [name for name in numbers if name.startswith(("eval_", "test_"))]
    return names[0].split("_", 1)[0] if names and len(names) == len(numbers) else None


def _is_number(value: Any) -> bool:
    return value is not None and (isinstance(value, (int, float)) or getattr(value, "ndim", None) == 0)
