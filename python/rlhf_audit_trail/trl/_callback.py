"""`AuditCallback`: what a trainer tells, as records."""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

from transformers import TrainerCallback

from .. import _ranks
from ..auditor import AuditableRLHF
from ..errors import AuditError, AuditWarning
from . import _config, _session
from ._observe import drawn, observed, sampler_of, sampler_seed
from ._session import Session, Training

#: Those that have a run that is not ended, the latest last.
_open: list[AuditCallback] = []

F = TypeVar("F", bound=Callable[..., None])


def _careful(method: F) -> F:
    """An event that never stops the training, unless the user asked for that."""

    @functools.wraps(method)
    def event(self: AuditCallback, *args: Any, **kwargs: Any) -> None:
        if self._broken:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.trouble(method.__name__, error)

    return event  # type: ignore[return-value]


class AuditCallback(TrainerCallback):  # type: ignore[misc]
    """Records what a trainer of TRL or transformers does. To be given to it as one of its `callbacks`.

    Args:
        auditor: where to record. Where it has a run open, that is recorded in, and whoever opened it ends it; else each
            training is a run of its own. By default the auditor that the environment describes: ``RLHF_AUDIT_SERVER``
            and ``RLHF_AUDIT_TOKEN``, or ``RLHF_AUDIT_DATA_DIR``; ``RLHF_AUDIT_ON_ERROR=raise`` for ``on_error``.
        experiment: what the runs belong to [default: ``RLHF_AUDIT_EXPERIMENT``, else the trainer's class].
        seal: when a run that the callback began ends: with the process (``"exit"``), so that the finished model, which
            scripts save after training, and later evaluations belong to it; or with the training (``"train"``). A
            training that fails is sealed as failed at once. See also `finish`.
        module_norms: as of ``track_policy_update``.

    """

    def __init__(
        self,
        auditor: AuditableRLHF | None = None,
        *,
        experiment: str | None = None,
        seal: Literal["exit", "train"] = "exit",
        module_norms: Literal["auto", "always", "never"] = "auto",
    ) -> None:
        self._given = auditor
        self._experiment = experiment
        self._seal = seal
        self._module_norms = module_norms
        self._trainer: Any = None
        self._args: Any = None
        self._state: Any = None
        self._session: Session | None = None
        self._together = False
        self._broken = False
        self._sampling = contextlib.ExitStack()

    @property
    def session(self) -> Session | None:
        """What is being recorded; ``None`` between trainings. Private to the package."""
        return self._session

    @property
    def training(self) -> bool:
        """Whether the model is being trained, not evaluated. Private to the package."""
        return bool(getattr(getattr(self._trainer, "model", None), "training", False))

    # How a training begins and ends.

    @contextlib.contextmanager
    def watching(self, trainer: Any) -> Iterator[None]:
        """Surrounds a training, to see how it ends. Private to the package."""
        if self._session is not None:
            self.finish()
        self._trainer, self._broken, self._together = trainer, False, False
        try:
            with (
                observed(trainer, "training_step", self._on_training_step),
                observed(trainer, "compute_loss", self._on_compute_loss),
                observed(trainer, "_get_grad_norm", self._on_grad_norm),
            ):
                yield
        except BaseException as error:
            self.abandon(error)
            raise
        else:
            self._trained()
        finally:
            self._sampling.close()
            self._trainer = None

    @_careful
    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A run begins; or goes on, where the trainer begins anew by itself (a batch size that was too large)."""
        model, dataloader = kwargs.get("model"), kwargs.get("train_dataloader")
        sampler = sampler_of(dataloader)
        self._args, self._state = args, state
        if self._session is None:
            self._session = self._begin(args, state, model, sampler)
            if self._session is None:
                self._broken = True
                return
            _open.append(self)
            self._session.module_norms = self._module_norms
        else:
            self._session.restart()
            self._session.run.record_incident("training-restarted", detail=f"at-step-{state.global_step}")
        self._begun(self._session, args, state, model, sampler)

    def _begin(self, args: Any, state: Any, model: Any, sampler: Any) -> Session | None:
        """The run, which the first rank starts, and the others join."""
        sampling = {} if sampler is None else {"sampler": type(sampler).__name__, "sampler.seed": sampler_seed(sampler)}
        training = Training(self._trainer, args, state, model, sampling)
        if getattr(args, "process_index", 0) != 0:
            run = _ranks.shared_run(None)
            # Where there is one all ranks wait for each other later, whatever becomes of their own records.
            self._together = run is not None
            return None if run is None else _session.join(self._given, self._experiment, training, run)
        session: Session | None = None
        try:
            session = _session.begin(self._given, self._experiment, training)
        finally:
            self._together = _ranks.shared_run(None if session is None else session.run.id) is not None
        return session

    def _begun(self, session: Session, args: Any, state: Any, model: Any, sampler: Any) -> None:
        # What is partitioned over ranks cannot be measured on one.
        session.model = None if _config.sharded(self._trainer) else model
        if state.global_step > 0:
            session.resumed_from = f"checkpoint-{state.global_step}"
        if session.first:
            _session.remember(state, session.run.id)
            session.register("train", getattr(self._trainer, "train_dataset", None))
            if getattr(args, "eval_strategy", "no") != "no":
                session.register("eval", getattr(self._trainer, "eval_dataset", None))
        self._sampling.close()
        if sampler is not None and session.first:
            self._sampling.enter_context(drawn(sampler, session.order))

    def _trained(self) -> None:
        if self._together:
            # A record of another rank that comes after the seal would be refused.
            self._end_of_training()
            _ranks.together()
        if self._session is not None and (self._seal == "train" or not self._session.owned):
            self.finish()

    @_careful
    def _end_of_training(self) -> None:
        session = self._session
        if session is None:
            return
        session.flush_update()
        session.record_order(self._state.global_step, self._state.epoch)
        if not session.first:
            self.finish()

    def abandon(self, error: BaseException) -> None:
        """Ends the run as failed, or interrupted. Private to the package."""
        session = self._leave()
        if session is None:
            return
        try:
            session.fail(error, self._state.global_step, self._state.epoch)
            self._close(session)
        except Exception as failed:
            # The exception that ended the training is the one to hear of.
            _warn(f"trl: how the training ended could not be recorded: {failed}")

    def finish(self) -> None:
        """Ends the run, if the callback began it: seals it as completed. Else that is done when the process ends."""
        session = self._leave()
        if session is None:
            return
        try:
            session.finish()
            self._close(session)
        except AuditError as error:
            if session.auditor.on_error == "raise":
                raise
            _warn(f"trl finish: {error}")

    def _leave(self) -> Session | None:
        session, self._session = self._session, None
        if self in _open:
            _open.remove(self)
        return session

    def _close(self, session: Session) -> None:
        # The ledger in this process is free for others, until the next training.
        if self._given is None:
            session.auditor.close()

    # Updates.

    @_careful
    def _on_training_step(self, args: tuple[Any, ...], kwargs: dict[str, Any], loss: Any) -> None:
        if self._session is not None and self._session.first:
            self._session.step.losses.append(loss)

    @_careful
    def _on_compute_loss(self, args: tuple[Any, ...], kwargs: dict[str, Any], loss: Any) -> None:
        given = dict(zip(("model", "inputs"), args, strict=False)) | kwargs
        if self._session is not None and self._session.first and getattr(given.get("model"), "training", False):
            self._session.step.take_batch(given.get("inputs"))

    @_careful
    def _on_grad_norm(self, args: tuple[Any, ...], kwargs: dict[str, Any], norm: Any) -> None:
        if self._session is not None and self._session.first:
            self._session.step.gradient_norm = norm

    @_careful
    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The rate that is learned with, before the schedule changes it."""
        groups = getattr(kwargs.get("optimizer"), "param_groups", None)
        if self._session is not None and groups:
            self._session.step.learning_rate = float(groups[0]["lr"])

    @_careful
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An update is made."""
        if self._session is not None:
            self._session.updated(state.global_step, state.epoch, wait=bool(control.should_log))

    @_careful
    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The rows of an epoch are drawn."""
        if self._session is not None:
            self._session.record_order(state.global_step, state.epoch)

    # What is logged, evaluated, saved.

    @_careful
    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Metrics."""
        if self._session is not None and logs:
            self._session.logged(logs, state.global_step, state.epoch)

    @_careful
    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """An evaluation."""
        if self._session is not None and metrics:
            rows = getattr(kwargs.get("eval_dataloader"), "dataset", None)
            # Between trainings anything may be evaluated on.
            own = self._trainer is not None
            self._session.evaluated(metrics, state.global_step, rows, own)

    @_careful
    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """A test."""
        self.on_evaluate(args, state, control, metrics, **kwargs)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A model checkpoint."""
        if self._together:
            # Each rank writes files of its own into it.
            _ranks.together()
        self._saved(_checkpoint(self._trainer, args, state), state)

    def on_save_model(self, trainer: Any, path: Any) -> None:
        """The finished model. Private to the package."""
        if getattr(trainer.args, "should_save", True):
            self._saved(Path(trainer.args.output_dir if path is None else path), trainer.state)

    @_careful
    def _saved(self, path: Path, state: Any) -> None:
        if self._session is not None:
            self._session.saved(path, state.global_step, state.epoch, self._session.model)

    # What goes wrong.

    def trouble(self, where: str, error: Exception) -> None:
        """Something could not be recorded: raised where the user asked for that, else recorded and warned of once."""
        session = self._session
        auditor = self._given if session is None else session.auditor
        if (auditor is not None and auditor.on_error == "raise") or (auditor is None and _session.raises()):
            raise error
        where = f"trl {where.strip('_')}"
        if session is not None:
            known = error if isinstance(error, AuditError) else AuditError(f"{type(error).__name__}: {error}")
            session.run.complain(where, known)
            return
        self._broken = True
        _warn(f"{where}: {error}; nothing of this training is recorded, and it goes on")


def _warn(message: str) -> None:
    warnings.warn(message, AuditWarning, stacklevel=5)


def current() -> AuditCallback | None:
    """The callback whose training was begun last and is not ended."""
    return _open[-1] if _open else None


def finish_all() -> None:
    """Ends the runs that are open, as the process ends."""
    for callback in list(_open):
        # Set by the interpreter before it ends because of an exception; a prompt sets it, too, and goes on.
        error = getattr(sys, "last_value", None)
        try:
            if error is not None and not hasattr(sys, "ps1") and "IPython" not in sys.modules:
                callback.abandon(error)
            else:
                callback.finish()
        except Exception as failed:
            print(f"rlhf-audit-trail: {failed}", file=sys.stderr)


def _checkpoint(trainer: Any, args: Any, state: Any) -> Path:
    folder = f"checkpoint-{state.global_step}"
    trial = getattr(trainer, "_trial", None)
    if trial is not None and hasattr(trainer, "_get_output_dir"):
        return Path(trainer._get_output_dir(trial)) / folder
    return Path(args.output_dir) / folder
