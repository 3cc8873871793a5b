"""GRPO and RLOO: each completion's score, by functions that are what they were."""

from __future__ import annotations

import asyncio
import functools
import json
import pickle
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from rlhf_audit_trail import AuditableRLHF, AuditWarning
from rlhf_audit_trail.trl import AuditCallback, audited

from .support import Bundle, bundle_of, settings, synthetic


def lowercase(completions: list[str], **kwargs: Any) -> list[float]:
    """The share of characters that are lower case."""
    return [len(re.findall("[a-z]", text)) / max(len(text), 1) for text in completions]


async def even_length(completions: list[str], **kwargs: Any) -> list[float | None]:
    """Applies to half of the completions."""
    await asyncio.sleep(0)
    return [None if at % 2 else float(len(text) % 2 == 0) for at, text in enumerate(completions)]


def rows() -> Dataset:
    return Dataset.from_list([{"prompt": row["prompt"]} for row in synthetic(16)])


class Trained:
    def __init__(
        self, directory: Path, trainer: Any, callback: AuditCallback, auditor: AuditableRLHF, name: str
    ) -> None:
        trainer.train()
        trainer.save_state()
        callback.finish()
        auditor.close()
        self.trainer = trainer
        self.output = Path(trainer.args.output_dir)
        self.state = json.loads((self.output / "trainer_state.json").read_text())
        self.bundle: Bundle = bundle_of(directory / "audit-data", name, directory / "run.rlhf-bundle")


@pytest.fixture(scope="module")
def grpo(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Trained]:
    directory = tmp_path_factory.mktemp("grpo")
    auditor = AuditableRLHF("tiny-gpt2", data_dir=directory / "audit-data", on_error="raise")
    callback = AuditCallback(auditor)
    args = GRPOConfig(
        **settings(
            directory / "grpo",
            report_to="none",
            max_steps=6,
            save_strategy="steps",
            save_steps=3,
            num_generations=4,
            max_completion_length=12,
            steps_per_generation=2,
            beta=0.05,
            model_init_kwargs={"dtype": "float32"},
        )
    )
    trainer = GRPOTrainer(
        str(model),
        args=args,
        train_dataset=rows(),
        reward_funcs=[audited(lowercase), audited(even_length)],
        callbacks=[callback],
    )
    yield Trained(directory, trainer, callback, auditor, "grpo")


def test_steps_metrics_and_files(grpo: Trained) -> None:
    updates = grpo.bundle.bodies("policy.updated")
    assert [update["step"] for update in updates] == list(range(1, grpo.state["global_step"] + 1))
    logged = [entry for entry in grpo.state["log_history"] if "loss" in entry]
    for update, entry in zip(updates, logged, strict=True):
        assert update["loss"] == pytest.approx(entry["loss"], abs=1e-6)
        assert update["kl"] == entry["kl"]
        # Logged where completions were generated, of which two updates are made.
        assert (update.get("reward_mean"), update.get("reward_std")) == (entry.get("reward"), entry.get("reward_std"))
    recorded = [body for body in grpo.bundle.bodies("metric.logged") if body["phase"] == "train"]
    expected = [
        {name: value for name, value in entry.items() if name not in ("step", "epoch")}
        for entry in grpo.state["log_history"]
    ]
    assert [body["metrics"] for body in recorded] == expected
    assert {"rewards/lowercase/mean", "rewards/even_length/mean", "kl"} <= recorded[0]["metrics"].keys()
    saved = {body["name"]: {file["name"] for file in body["files"]} for body in grpo.bundle.bodies("model.checkpoint")}
    on_disk = {
        folder.name: {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        for folder in grpo.output.glob("checkpoint-*")
    }
    assert saved == on_disk
    assert on_disk.keys() == {"checkpoint-3", "checkpoint-6"}


def test_each_score_is_recorded(grpo: Trained) -> None:
    scores = grpo.bundle.bodies("reward.scored")
    # Three generations of eight completions; one function applies to half of them.
    assert Counter(score["reward_model"] for score in scores) == {"lowercase": 24, "even_length": 12}
    means = [entry[name] for entry in grpo.state["log_history"] if (name := "rewards/lowercase/mean") in entry]
    assert len(means) == 3
    found = [score["reward"] for score in scores if score["reward_model"] == "lowercase"]
    for at, mean in enumerate(means):
        assert sum(found[8 * at : 8 * at + 8]) / 8 == pytest.approx(mean, abs=1e-6)
    sealed = grpo.bundle.sealed("reward.scored")
    prompts = {row["prompt"] for row in synthetic(16)}
    for score, values in zip(scores, sealed, strict=True):
        assert values["prompt"] in prompts
        if score["reward_model"] == "lowercase":
            assert score["reward"] == lowercase([values["response"]])[0]
    # The same completion has the same name, whoever scores it.
    items = {score["item"]: 0 for score in scores if score["reward_model"] == "lowercase"}
    assert {score["item"] for score in scores if score["reward_model"] == "even_length"} < items.keys()


def test_an_update_names_the_scores_it_was_made_of(grpo: Trained) -> None:
    updates = grpo.bundle.bodies("policy.updated")
    members = [set(update["batch"]["members"]) for update in updates]
    assert [len(found) for found in members] == [12] * 6
    # Two updates from each generation.
    assert members[0] == members[1] != members[2] == members[3]


def test_nothing_of_the_completions_is_in_the_clear(grpo: Trained) -> None:
    clear = json.dumps(grpo.bundle.records)
    for row in synthetic(16):
        assert row["prompt"][:14] not in clear


def test_rloo(tmp_path: Path, model: Path) -> None:
    auditor = AuditableRLHF("tiny-gpt2", data_dir=tmp_path / "audit-data", on_error="raise")
    callback = AuditCallback(auditor)
    args = RLOOConfig(
        **settings(
            tmp_path / "rloo",
            report_to="none",
            max_steps=2,
            num_generations=2,
            max_completion_length=8,
            model_init_kwargs={"dtype": "float32"},
        )
    )
    trainer = RLOOTrainer(
        str(model), args=args, train_dataset=rows(), reward_funcs=audited(lowercase), callbacks=[callback]
    )
    done = Trained(tmp_path, trainer, callback, auditor, "rloo")
    assert len(done.bundle.bodies("policy.updated")) == done.state["global_step"] == 2
    assert len(done.bundle.bodies("reward.scored")) == 8
    assert done.bundle.bodies("run.started")[0]["config"]["trainer"] == "RLOOTrainer"
    assert all("kl" in body["metrics"] for body in done.bundle.bodies("metric.logged")[:2])
    assert done.bundle.status == "completed"


class Judge:
    """A reward function that is an object."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, completions: list[str], **kwargs: Any) -> list[float]:
        return [self.factor * len(text) for text in completions]


def test_an_audited_function_is_what_it_was() -> None:
    from trl.trainer.utils import get_callable_name, is_async_callable

    assert get_callable_name(audited(lowercase)) == "lowercase"
    assert get_callable_name(audited(functools.partial(lowercase, factor=2))) == "lowercase"
    assert get_callable_name(audited(Judge(2.0))) == "Judge"
    assert audited(lowercase).__doc__ == lowercase.__doc__
    assert is_async_callable(audited(even_length))
    assert not is_async_callable(audited(lowercase))
    assert pickle.loads(pickle.dumps(audited(Judge(2.0)))).function.factor == 2.0
    with pytest.warns(AuditWarning, match="no audited training is under way"):
        assert audited(Judge(2.0))(completions=["ab"]) == [4.0]
    with pytest.warns(AuditWarning, match="expected a reward function, found str"):
        model: Any = "some/reward-model"
        assert audited(model) is model


def test_odd_results_are_passed_on_and_reported(tmp_path: Path) -> None:
    """A generator, a wrong length and a NaN: recorded as incidents, and the function's own as before."""
    from rlhf_audit_trail.trl import _callback, _session

    auditor = AuditableRLHF("tiny-gpt2", data_dir=tmp_path / "audit-data")
    with auditor.track_training("odd") as run:
        callback = AuditCallback(auditor)
        callback._session = _session.Session(run, auditor, first=True, owned=False)
        _callback._open.append(callback)
        try:
            odd: Any = object()
            for result, text in [
                (odd, "expected completions and a list of scores"),
                ([1.0], "expected 2 scores, found 1"),
                ([1.0, float("nan")], "found nan for completion 1"),
                ([True, "much"], "trl audited"),
            ]:

                def reward(completions: list[str], given: Any = result) -> Any:
                    return given

                reward.__name__ = f"reward{len(str(text))}"
                with pytest.warns(AuditWarning, match=text):
                    assert audited(reward)(completions=["a", "b"]) is result
        finally:
            _callback._open.remove(callback)
    auditor.close()
    found = bundle_of(tmp_path / "audit-data", "odd", tmp_path / "odd.rlhf-bundle")
    assert [body["reward"] for body in found.bodies("reward.scored")] == [1.0]
    assert len(found.bodies("incident.reported")) == 4
