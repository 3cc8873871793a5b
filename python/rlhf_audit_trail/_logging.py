"""Everything that can be recorded, for runs and auditors alike."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import _batch, _columns, _norms, _weights
from ._datasets import describe
from .errors import InputError
from .results import Logged

if TYPE_CHECKING:
    from ._reporter import Guard
    from .run import Run

#: A column of values: a list, a tuple, a NumPy array, a pandas series, an Arrow array or a torch tensor.
Column = Any
#: As many numbers fit into one map of a record.
_MAX_NUMBERS = 256
#: As many files are named within a record; the manifest has all.
_MAX_FILES = 256


class LogMethods(ABC):
    """The calls that record something. With ``on_error="warn"`` none of them raises."""

    @abstractmethod
    def _run(self) -> Run:
        """The run to record in; `NoActiveRunError` where there is none."""

    @abstractmethod
    def _guard(self, where: str) -> Guard:
        """What surrounds a call."""

    def log_annotations(
        self,
        data: Any = None,
        *,
        prompts: Column = None,
        responses: Column = None,
        rewards: Column = None,
        ratings: Column = None,
        scale: tuple[float, float] | None = None,
        chosen: Column = None,
        rejected: Column = None,
        responses_a: Column = None,
        responses_b: Column = None,
        choices: Column = None,
        strengths: Column = None,
        ranks: Column = None,
        corrections: Column = None,
        critiques: Column = None,
        categories: Column = None,
        targets: Column = None,
        demonstrations: Column = None,
        annotator_ids: Column = None,
        annotator_types: Column = None,
        criterion: Column = None,
        rationales: Column = None,
        items: Column = None,
        at: Column = None,
        durations_ms: Column = None,
        dataset: str | None = None,
        rows: Column = None,
    ) -> Logged:
        """Records what annotators said, one record a row. The call returns once it is on this machine's disk.

        What was said follows from the columns that are given:

        ===========================================  ==============================================================
        `chosen`, `rejected`                         a preference for the first
        `responses_a`, `responses_b`, `choices`      a preference: "a", "b" or "no_preference"; `strengths` if known
        `responses`, `ratings` (or `rewards`)        a rating; `scale=(lowest, highest)` where there is one
        `responses`, `ranks`                         a ranking: of each row a list of responses, and their ranks (1 is
                                                     best, equal ranks are ties)
        `corrections`, perhaps `responses`           a response as it should have been, and as it was
        `critiques`, perhaps `responses`             what was found in a response, with `categories` and `targets`
        `demonstrations`                             a response that an annotator wrote
        ===========================================  ==============================================================

        `prompts` may be given with each. A prompt or response is a text or a list of messages. Columns are lists,
        NumPy arrays, pandas series, Arrow arrays or torch tensors, all of one length; those of `annotator_ids`,
        `annotator_types`, `criterion` and `choices` may be one value for all rows. `data` is a table with such
        columns (pandas, Arrow, `datasets.Dataset`, a dictionary of lists or a list of dictionaries).

        Prompts, responses, critiques, rationales and annotators' ids are sealed: the log holds commitments to them.
        Annotators appear by pseudonyms that are drawn for the run. `annotator_types` are human, expert, crowd,
        user, model or rule; `at` is when they decided (a datetime, or seconds since 1970) and `durations_ms` how
        long it took; `dataset` and `rows` say where in a registered data set it was read.

        Raises:
            InputError: the lengths differ, a number is NaN or infinite, an annotator type is unknown, …: says which
                column and row. Nothing of the call is recorded then.

        """
        with self._guard("log_annotations"):
            columns = {
                "prompts": prompts,
                "responses": responses,
                "rewards": rewards,
                "ratings": ratings,
                "scale": scale,
                "chosen": chosen,
                "rejected": rejected,
                "responses_a": responses_a,
                "responses_b": responses_b,
                "choices": choices,
                "strengths": strengths,
                "ranks": ranks,
                "corrections": corrections,
                "critiques": critiques,
                "categories": categories,
                "targets": targets,
                "demonstrations": demonstrations,
                "annotator_ids": annotator_ids,
                "annotator_types": annotator_types,
                "criterion": criterion,
                "rationales": rationales,
                "items": items,
                "at": at,
                "durations_ms": durations_ms,
                "dataset": dataset,
                "rows": rows,
            }
            if data is not None:
                _columns.add_table(columns, data)
            sort = _columns.sort(columns)
            return Logged(*self._run().stream.annotate(sort, columns))
        return Logged([], [])

    def log_rewards(
        self,
        rewards: Column,
        *,
        prompts: Column = None,
        responses: Column = None,
        items: Column = None,
        components: Mapping[str, Column] | None = None,
        reward_model: str | None = None,
        step: int | None = None,
    ) -> Logged:
        """Records the scores that a reward model, or a reward function, gave: one record a row.

        `components` are the columns that the rewards are made of, by name. `items` are what `log_annotations` gave
        back for the same things. Prompts and responses are sealed.

        Raises:
            InputError: the lengths differ, or a score is NaN or infinite: says which.

        """
        with self._guard("log_rewards"):
            columns = {
                "rewards": rewards,
                "prompts": prompts,
                "responses": responses,
                "items": items,
                "reward_model": reward_model,
                "step": step,
            }
            return Logged(*self._run().stream.reward(columns, dict(components or {})))
        return Logged([], [])

    def track_policy_update(
        self,
        model: Any = None,
        optimizer: Any = None,
        batch: Any = None,
        *,
        step: int | None = None,
        consumed: Logged | str | Iterable[Logged | str] | None = None,
        loss: Any = None,
        learning_rate: float | None = None,
        gradient_norm: Any = None,
        kl: Any = None,
        entropy: Any = None,
        epoch: float | None = None,
        reward_mean: Any = None,
        reward_std: Any = None,
        metrics: Mapping[str, Any] | None = None,
        previous: Mapping[str, Any] | None = None,
        module_norms: Literal["auto", "always", "never"] = "auto",
    ) -> str | None:
        """Records one update of the policy: to be called after ``optimizer.step()``. The record's name.

        - `batch` is hashed (any nesting of dictionaries, lists, tensors and texts); the digest is sealed.
        - `consumed` says which records it was made of, as `log_annotations` and `log_rewards` gave them back: so an
          annotation can be traced to the updates it went into.
        - `learning_rate` is taken from the optimizer, `gradient_norm` from the gradients that are still there,
          where they are not given. `kl` and `entropy` are in nats.
        - Of `model` it is recorded how far each module moved since the last time: exactly where `previous` (a state
          dict of before) is given or what is trained is small, else from a random projection whose error bound is
          recorded too. What is kept for that is under 1 % of the model's bytes (or under 1 MiB). With
          ``module_norms="auto"`` it is measured so seldom that it takes at most 1 % of the time; the record says
          since which step. The first call only begins.
        - `step` counts on by itself where it is not given.

        A loss or metric that is NaN or infinite is left out, and that is recorded as an incident.

        Raises:
            ModelError: the model has no parameters, or none that is trained.
            InputError: a loss is NaN and ``on_error="raise"``; something is of another type than it has to be.

        """
        with self._guard("track_policy_update"):
            run = self._run()
            step = run.next_step(step)
            body: dict[str, Any] = {"step": step}
            found = None if model is None else _norms.parameters(model)
            numbers = {
                "loss": loss,
                "learning_rate": _learning_rate(optimizer) if learning_rate is None else learning_rate,
                "gradient_norm": gradient_norm,
                "kl": kl,
                "entropy": entropy,
                "epoch": epoch,
                "reward_mean": reward_mean,
                "reward_std": reward_std,
            }
            if found is not None:
                body |= {"parameters": found.total, "trainable": found.trainable}
                body |= self._measured(run, found, step, previous, module_norms, numbers)
            body |= self._finite(numbers, step)
            if metrics and (named := self._finite(metrics, step)):
                body["metrics"] = named
            sealed: dict[str, Any] = {}
            attachments: dict[str, tuple[str, int]] = {}
            if batch is not None:
                sealed["batch_sha256"] = _batch.digest(batch)
            names = None if consumed is None else _batch.members(consumed)
            count = _batch.rows(batch) if batch is not None else None
            if names or count is not None:
                body["batch"] = {"records": len(names or ()) if count is None else count}
            if names and len(names) <= _batch.MAX_MEMBERS:
                body["batch"]["members"] = names
            elif names:
                lines = "".join(f"{name}\n" for name in names)
                attachments["batch"] = run.spool.attach(lines.encode())
            return run.record("policy.updated", body, sealed=sealed, attachments=attachments)
        return None

    def _measured(
        self,
        run: Run,
        found: _norms.Parameters,
        step: int,
        previous: Mapping[str, Any] | None,
        module_norms: str,
        numbers: dict[str, Any],
    ) -> dict[str, Any]:
        """What is measured of a model, so seldom that it does not slow anybody down."""
        if module_norms not in ("auto", "always", "never"):
            raise InputError(f'module_norms: expected "auto", "always" or "never", found {module_norms!r}')
        if module_norms == "never":
            return {}
        change = None
        if previous is not None:
            change = _norms.exact(found, previous)
        elif module_norms == "always" or run.tracker.due:
            if numbers["gradient_norm"] is None:
                numbers["gradient_norm"] = _norms.gradient_norm(found)
            change = run.tracker.measure(found, step)
        if change is None or not change.modules:
            return {}
        return {"module_norms": change.modules, "norms": change.norms}

    def log_metrics(
        self,
        metrics: Mapping[str, Any],
        *,
        step: int | None = None,
        epoch: float | None = None,
        phase: str | None = None,
    ) -> str | None:
        """Records numbers by name, such as a trainer logs them. The record's name (the last, where there are several).

        Those that are NaN or infinite are left out, and that is recorded as an incident. `phase` is train,
        validation, ….
        """
        with self._guard("log_metrics"):
            run = self._run()
            named = list(self._finite(metrics, step).items())
            rest = _given(step=step, epoch=epoch, phase=phase)
            last = None
            for start in range(0, len(named), _MAX_NUMBERS):
                body = {"metrics": dict(named[start : start + _MAX_NUMBERS]), **rest}
                last = run.record("metric.logged", body)
            return last
        return None

    def checkpoint(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        name: str | None = None,
        model: Any = None,
        epoch: float | None = None,
        step: int | None = None,
        metrics: Mapping[str, Any] | None = None,
        parent: str | None = None,
        tensors: Literal["auto", "always", "never"] = "auto",
    ) -> str | None:
        """Records that a model was saved. The record's name.

        The weights at `path` (a file or a folder: safetensors, sharded or not, torch checkpoints, optimizer state,
        tokenizer, whatever is there) are hashed as they are, per file and per tensor, on all cores, without loading
        a file whole; the manifest is an attachment. `tensors` says whether each tensor is hashed besides its file:
        always, never, or where it takes hardly longer (``auto``). Without a path only the moment is recorded.
        `model` gives the number of parameters, `parent` the name of the model checkpoint it was trained from.

        Raises:
            FileError: a file cannot be read, or changed while it was hashed.

        """
        with self._guard("checkpoint"):
            run = self._run()
            body: dict[str, Any] = {"files": [], **_given(epoch=epoch, step=step, parent=parent)}
            attachments: dict[str, tuple[str, int]] = {}
            if path is not None:
                files, manifest = _weights.manifest(Path(path), tensors)
                attachments["manifest"] = run.spool.attach(manifest)
                if len(files) <= _MAX_FILES:
                    body["files"] = files
            if model is not None:
                body["parameters"] = _norms.count(model)
            if metrics and (named := self._finite(metrics, step)):
                body["metrics"] = named
            body["name"] = name or _checkpoint_name(path, epoch, step)
            return run.record("model.checkpoint", body, attachments=attachments)
        return None

    def log_evaluation(
        self,
        name: str,
        metrics: Mapping[str, Any],
        *,
        dataset: str | None = None,
        model: str | None = None,
        samples: int | None = None,
        step: int | None = None,
    ) -> str | None:
        """Records the result of an evaluation. The record's name.

        `dataset` and `model` are the names under which they were registered and saved, `samples` how many there were.
        """
        with self._guard("log_evaluation"):
            body = {"name": name, "metrics": self._finite(metrics, step)}
            body |= _given(dataset=dataset, model=model, samples=samples, step=step)
            return self._run().record("evaluation.completed", body)
        return None

    def register_dataset(
        self,
        dataset: Any,
        *,
        name: str | None = None,
        license: str | None = None,
        source: str | None = None,
        splits: Mapping[str, int] | None = None,
        format: str | None = None,
        rows: bool = True,
    ) -> str | None:
        """Records which data is used: a path, several paths, a `datasets.Dataset` (or a dictionary of splits), a
        pandas or Arrow table, or a list of rows. The record's name.

        Files are hashed as they are. Of tables each row gets a digest, in an attachment, unless ``rows=False``;
        they are keyed, and the key is sealed, so that nobody can guess a row. A `datasets.Dataset` brings its name,
        fingerprint, licence, splits and source; arguments go before what it says. `license` is an SPDX identifier
        where there is one.

        Raises:
            InputError: nothing of it can be hashed, or it has no name.
            FileError: a file cannot be read, or changed meanwhile.

        """
        with self._guard("register_dataset"):
            run = self._run()
            described = describe(dataset, name, format, rows)
            body = described.body | _given(license=license, source=source)
            if splits is not None:
                body["splits"] = dict(splits)
            attachments: dict[str, tuple[str, int]] = {}
            sealed: dict[str, Any] = {}
            if described.rows is not None and described.row_key is not None:
                attachments["rows"] = run.spool.attach(described.rows)
                sealed["row_key"] = described.row_key.hex()
            if described.complaint is not None:
                run.complain("register_dataset", InputError(described.complaint))
            return run.record("dataset.registered", body, sealed=sealed, attachments=attachments)
        return None

    def record_incident(
        self, incident: str, *, detail: str | None = None, description: str | None = None
    ) -> str | None:
        """Records that something went wrong. The record's name.

        `incident` and `detail` are words like ``reward-hacking`` (a to z, 0 to 9 and hyphens); `description` is
        sealed.
        """
        with self._guard("record_incident"):
            body = {"incident": incident, **_given(detail=detail)}
            return self._run().record("incident.reported", body, sealed=_given(description=description))
        return None

    def _finite(self, numbers: Mapping[str, Any], step: int | None) -> dict[str, float]:
        """Those that JSON has. A NaN among them is worth knowing, and no reason to lose the others."""
        found: dict[str, float] = {}
        for name, value in numbers.items():
            if value is None:
                continue
            # A loss as it comes from the model.
            value = value.detach() if hasattr(value, "detach") else value
            try:
                number = float(value)
            except (TypeError, ValueError):
                raise InputError(f"{name}: expected a number, found {type(value).__name__}") from None
            if math.isfinite(number):
                found[name[:128] or "unnamed"] = number
            else:
                self._run().complain(f"{name}-not-finite", InputError(_not_finite(name, number, step)))
        return found


def _not_finite(name: str, number: float, step: int | None) -> str:
    at = "" if step is None else f" at step {step}"
    return f"{name}: expected a finite number, found {number}{at}; it is left out of the record"


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _learning_rate(optimizer: Any) -> float | None:
    groups: Sequence[Mapping[str, Any]] | None = getattr(optimizer, "param_groups", None)
    return float(groups[0]["lr"]) if groups and "lr" in groups[0] else None


def _checkpoint_name(path: str | os.PathLike[str] | None, epoch: float | None, step: int | None) -> str:
    if path is not None:
        return Path(path).absolute().name[-128:] or "model"
    if step is not None:
        return f"step-{step}"
    return "model" if epoch is None else f"epoch-{epoch:g}"
