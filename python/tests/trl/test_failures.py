"""Trainings that fail or are interrupted, and their resumption; as `report_to` and the environment have it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import TrainerCallback
from trl import DPOConfig, DPOTrainer

from rlhf_audit_trail import AuditError
from tests.support import command

from .support import Bundle, bundle_of, settings, synthetic


class At(TrainerCallback):  # type: ignore[misc]
    """Does something at the beginning of a step."""

    def __init__(self, step: int, what: Callable[[], None]) -> None:
        self.step = step
        self.what = what

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            self.what()


def trainer(directory: Path, model: Path, **more: Any) -> Any:
    args = DPOConfig(
        **settings(
            directory / "out",
            max_length=32,
            max_steps=4,
            save_strategy="steps",
            save_steps=2,
            model_init_kwargs={"dtype": "float32"},
        )
    )
    return DPOTrainer(str(model), args=args, train_dataset=Dataset.from_list(synthetic(16)), **more)


def raising(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def found(directory: Path, run: str = "out") -> Bundle:
    return bundle_of(directory / "audit-data", run, directory / "run.rlhf-bundle")


def test_a_failed_training_and_the_run_that_goes_on_from_it(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLHF_AUDIT_DATA_DIR", str(tmp_path / "audit-data"))
    with pytest.raises(RuntimeError, match="node seven"):
        trainer(tmp_path, model, callbacks=[At(3, raising(RuntimeError("the disk of node seven is gone")))]).train()
    first = found(tmp_path)
    assert first.status == "failed"
    assert [body["step"] for body in first.bodies("policy.updated")] == [1, 2, 3]
    assert [body["incident"] for body in first.bodies("incident.reported")] == ["run-failed"]
    assert first.sealed("incident.reported") == [{"description": "RuntimeError: the disk of node seven is gone"}]
    orders = [record for record in first.of("metric.logged") if record["body"]["phase"] == "row-order"]
    assert len(orders) == 1

    monkeypatch.setenv("RLHF_AUDIT_EXPERIMENT", "second")
    again = trainer(tmp_path, model)
    again.train(resume_from_checkpoint=True)
    finish(again)
    listed = json.dumps(json.loads(command("run", "list", "--data-dir", tmp_path / "audit-data", "--json")))
    before = str(first.records[-1]["run"])
    (after,) = {word for word in listed.split('"') if len(word) == 26 and word.isupper()} - {before}
    second = found(tmp_path, after)
    assert second.status == "completed"
    started = second.bodies("run.started")[0]
    assert (started["config"]["resumed.run"], started["config"]["resumed.step"]) == (before, 2)
    assert started["experiment"] == "second"
    assert [body["step"] for body in second.bodies("policy.updated")] == [3, 4]
    assert [body["parent"] for body in second.bodies("model.checkpoint")] == ["checkpoint-2"]


def test_interruption(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLHF_AUDIT_DATA_DIR", str(tmp_path / "audit-data"))
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, model, callbacks=[At(1, raising(KeyboardInterrupt()))]).train()
    bundle = found(tmp_path)
    assert bundle.status == "aborted"
    assert [body["step"] for body in bundle.bodies("policy.updated")] == [1]


def test_errors_are_raised_where_that_is_asked_for(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("RLHF_AUDIT_DATA_DIR", str(tmp_path / "file"))
    monkeypatch.setenv("RLHF_AUDIT_ON_ERROR", "raise")
    with pytest.raises(AuditError):
        trainer(tmp_path, model).train()
    assert not (tmp_path / "out" / "checkpoint-2").exists()


def finish(trained: Any) -> None:
    """What the end of a process does."""
    from rlhf_audit_trail.trl import AuditCallback

    for callback in trained.callback_handler.callbacks:
        if isinstance(callback, AuditCallback):
            callback.finish()
