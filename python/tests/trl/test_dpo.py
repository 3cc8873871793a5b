"""DPO: what the bundle says is what the trainer wrote down, and what lies on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from accelerate.data_loader import SeedableRandomSampler
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from rlhf_audit_trail import AuditableRLHF
from rlhf_audit_trail.trl import AuditCallback

from .support import bundle_of, fine_grained, settings, synthetic


class Trained(NamedTuple):
    trainer: Any
    output: Path
    rows: list[dict[str, str]]
    bundle: Any


def train(directory: Path, model: Path, rows: list[dict[str, str]], audit: bool = True, **more: Any) -> Trained:
    output = directory / "somebodys-home" / "first-dpo"
    args = DPOConfig(
        **settings(
            output,
            max_length=64,
            eval_strategy="steps",
            save_strategy="steps",
            data_seed=5,
            model_init_kwargs={"dtype": "float32"},
            report_to="none",
            **more,
        )
    )
    data = directory / "audit-data"
    auditor = AuditableRLHF("tiny-gpt2", data_dir=data, on_error="raise")
    callback = AuditCallback(auditor, experiment="dpo", module_norms="always")
    dataset = Dataset.from_list(rows)
    trainer = DPOTrainer(
        str(model),
        args=args,
        train_dataset=dataset,
        eval_dataset=dataset.select(range(4)),
        callbacks=[callback] if audit else None,
    )
    trainer.train()
    trainer.save_model()
    callback.finish()
    trainer.save_state()
    auditor.close()
    bundle = bundle_of(data, "first-dpo", directory / "run.rlhf-bundle") if audit else None
    return Trained(trainer, output, rows, bundle)


@pytest.fixture(scope="module", params=["synthetic", "fine-grained"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Trained]:
    directory = tmp_path_factory.mktemp("dpo")
    if request.param == "synthetic":
        yield train(directory, model, synthetic(16), num_train_epochs=2, logging_steps=1, save_steps=4, eval_steps=4)
        return
    rows = fine_grained(48)
    if rows is None:
        pytest.skip("the human preferences of fine-grained-rlhf are absent (RLHF_AUDIT_SHARED_DATA)")
    yield train(directory, model, rows, num_train_epochs=1, logging_steps=3, save_steps=5, eval_steps=6)


def test_each_step_is_an_update(trained: Trained) -> None:
    updates = trained.bundle.bodies("policy.updated")
    state = json.loads((trained.output / "trainer_state.json").read_text())
    assert [update["step"] for update in updates] == list(range(1, state["global_step"] + 1))
    logged = {entry["step"]: entry for entry in state["log_history"] if "loss" in entry}
    assert logged
    every = trained.trainer.args.logging_steps
    for update in updates:
        assert update["batch"]["records"] == 8  # four pairs
        assert update["gradient_norm"] > 0
        assert update["parameters"] == update["trainable"] > 100_000
        if (entry := logged.get(update["step"])) is not None:
            assert update["learning_rate"] == pytest.approx(entry["learning_rate"])
            assert update["gradient_norm"] == pytest.approx(entry["grad_norm"])
            assert update["entropy"] == pytest.approx(entry["entropy"])
            # What is logged is the mean since the last time.
            window = [u["loss"] for u in updates if update["step"] - every < u["step"] <= update["step"]]
            assert sum(window) / len(window) == pytest.approx(entry["loss"], rel=1e-4)
    # The first measurement only begins; from then on every module has moved.
    assert all(update["module_norms"] and update["norms"]["method"] == "exact" for update in updates[1:])
    sealed = [values["batch_sha256"] for values in trained.bundle.sealed("policy.updated")]
    assert len(set(sealed)) == len(sealed)


def test_each_metric_is_recorded_under_its_own_name(trained: Trained) -> None:
    state = json.loads((trained.output / "trainer_state.json").read_text())
    recorded = [body for body in trained.bundle.bodies("metric.logged") if body["phase"] != "row-order"]
    assert len(recorded) == len(state["log_history"])
    for body, entry in zip(recorded, state["log_history"], strict=True):
        expected = {name: value for name, value in entry.items() if name not in ("step", "epoch")}
        assert body["metrics"] == expected
        assert (body["step"], body["epoch"]) == (entry["step"], entry["epoch"])
        assert body["phase"] == ("validation" if "eval_loss" in entry else "train")
    assert {"rewards/margins", "logps/chosen", "loss"} <= recorded[0]["metrics"].keys()


def test_saved_models_are_the_files_on_disk(trained: Trained) -> None:
    saved = {body["name"]: body for body in trained.bundle.bodies("model.checkpoint")}
    folders = {path.name: path for path in trained.output.glob("checkpoint-*")}
    assert saved.keys() == folders.keys() | {"first-dpo"}
    for name, folder in folders.items():
        on_disk = {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file()
        }
        assert {file["name"]: file["sha256"] for file in saved[name]["files"]} == on_disk
        assert {"model.safetensors", "trainer_state.json", "optimizer.pt"} <= on_disk.keys()
        assert saved[name]["step"] == json.loads((folder / "trainer_state.json").read_text())["global_step"]
    final = {file["name"]: file["sha256"] for file in saved["first-dpo"]["files"]}
    assert not any(name.startswith("checkpoint-") for name in final)
    assert final["model.safetensors"] == hashlib.sha256((trained.output / "model.safetensors").read_bytes()).hexdigest()
    for record in trained.bundle.of("model.checkpoint"):
        manifest = json.loads(trained.bundle.attachment(record, "manifest"))
        assert "model.safetensors" in json.dumps(manifest)


def test_evaluations(trained: Trained) -> None:
    state = json.loads((trained.output / "trainer_state.json").read_text())
    entries = [entry for entry in state["log_history"] if "eval_loss" in entry]
    bodies = trained.bundle.bodies("evaluation.completed")
    assert [body["step"] for body in bodies] == [entry["step"] for entry in entries]
    for body, entry in zip(bodies, entries, strict=True):
        assert (body["name"], body["dataset"], body["samples"]) == ("eval", "eval", 4)
        assert body["metrics"]["eval_rewards/margins"] == entry["eval_rewards/margins"]


def test_the_data_and_the_order_of_its_rows(trained: Trained) -> None:
    data = {body["name"]: body for body in trained.bundle.bodies("dataset.registered")}
    dataset = trained.trainer.train_dataset
    assert data["train"]["fingerprint"] == dataset._fingerprint
    assert data["train"]["rows"] == len(dataset) == data["train"]["splits"]["train"]
    orders = [record for record in trained.bundle.of("metric.logged") if record["body"]["phase"] == "row-order"]
    assert len(orders) == trained.trainer.args.num_train_epochs
    drawn = [[int(row) for row in trained.bundle.attachment(record, "row_order").split()] for record in orders]
    for rows in drawn:
        assert sorted(rows) == list(range(len(dataset)))
    assert len({tuple(rows) for rows in drawn}) == len(drawn)
    config = trained.bundle.bodies("run.started")[0]["config"]
    assert (config["sampler"], config["sampler.seed"]) == ("SeedableRandomSampler", 5)


def test_the_batch_is_what_the_rows_were(trained: Trained) -> None:
    """The sealed digest is that of the rows that the recorded order names: anybody with the data can compute it."""
    from rlhf_audit_trail import _batch

    first = next(record for record in trained.bundle.of("metric.logged") if record["body"]["phase"] == "row-order")
    rows = [int(row) for row in trained.bundle.attachment(first, "row_order").split()][:4]
    dataset = trained.trainer.train_dataset
    columns = ["prompt_ids", "chosen_ids", "rejected_ids"]
    batch = trained.trainer.data_collator([{name: dataset[row][name] for name in columns} for row in rows])
    data = {name: value for name, value in batch.items() if hasattr(value, "dtype")}
    expected = _batch.digest({"rows": range(8), "micro_batches": [_batch.digest(data)]})
    assert trained.bundle.sealed("policy.updated")[0]["batch_sha256"] == expected


def test_configuration_without_anything_personal(trained: Trained) -> None:
    started = trained.bundle.bodies("run.started")[0]
    assert (started["name"], started["experiment"], started["model"]) == ("first-dpo", "dpo", "tiny-gpt2")
    config = started["config"]
    assert config["trainer"] == "DPOTrainer"
    assert config["beta"] == 0.1
    assert config["loss_type"] == "sigmoid"
    assert config["per_device_train_batch_size"] == 4
    assert config["model.type"] == "gpt2"
    assert {"version.trl", "version.torch", "seed", "learning_rate"} <= config.keys()
    clear = json.dumps(trained.bundle.records)
    assert "somebodys-home" not in clear
    assert str(trained.output.parent) not in clear
    for row in trained.rows[:4]:
        assert row["chosen"][:20] not in clear


def test_the_run_is_sealed_once_the_model_is_saved(trained: Trained) -> None:
    assert trained.bundle.status == "completed"
    kinds = [record["kind"] for record in trained.bundle.records if record["kind"] != "stream.signed"]
    assert kinds[-2:] == ["model.checkpoint", "run.sealed"]
    assert not trained.bundle.of("incident.reported")
    # Whoever resumes finds the run in the trainer's state.
    state = json.loads((trained.output / "trainer_state.json").read_text())
    run = trained.bundle.records[-1]["run"]
    assert state["stateful_callbacks"]["RlhfAudit"]["attributes"]["run"] == run


def test_the_trainer_is_as_it_was(trained: Trained) -> None:
    assert not {"training_step", "compute_loss", "_get_grad_norm"} & vars(trained.trainer).keys()
    assert type(trained.trainer.callback_handler.train_dataloader.batch_sampler.sampler) is SeedableRandomSampler


def test_the_model_is_the_one_that_would_have_been_trained_without_us(tmp_path: Path, model: Path) -> None:
    saved = []
    for audited in (True, False):
        directory = tmp_path / str(audited)
        directory.mkdir()
        trained = train(directory, model, synthetic(8), audit=audited, max_steps=2, save_steps=2, eval_steps=2)
        log = trained.trainer.state.log_history
        timeless = [{k: v for k, v in entry.items() if "runtime" not in k and "per_second" not in k} for entry in log]
        saved.append(((trained.output / "model.safetensors").read_bytes(), timeless))
    assert saved[0] == saved[1]
