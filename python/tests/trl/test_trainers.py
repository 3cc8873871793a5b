"""Reward and KTO trainers, adapters, trainers of transformers, and runs that somebody else opens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer

from rlhf_audit_trail import AuditableRLHF
from rlhf_audit_trail.trl import AuditCallback

from .support import bundle_of, settings, synthetic


def metrics(bundle: Any, phase: str = "train") -> list[dict[str, float]]:
    return [body["metrics"] for body in bundle.bodies("metric.logged") if body["phase"] == phase]


def expected(trainer: Any) -> list[dict[str, float]]:
    return [
        {name: value for name, value in entry.items() if name not in ("step", "epoch")}
        for entry in trainer.state.log_history
    ]


def test_reward_trainer(tmp_path: Path, model: Path) -> None:
    auditor = AuditableRLHF("tiny-rm", data_dir=tmp_path / "audit-data", on_error="raise")
    callback = AuditCallback(auditor, seal="train")
    args = RewardConfig(
        **settings(
            tmp_path / "reward",
            report_to="none",
            max_steps=3,
            gradient_accumulation_steps=2,
            max_length=64,
            model_init_kwargs={"dtype": "float32"},
        )
    )
    trainer = RewardTrainer(str(model), args=args, train_dataset=Dataset.from_list(synthetic(32)), callbacks=[callback])
    trainer.train()
    auditor.close()
    bundle = bundle_of(tmp_path / "audit-data", "reward", tmp_path / "run.rlhf-bundle")
    updates = bundle.bodies("policy.updated")
    assert [update["step"] for update in updates] == [1, 2, 3]
    # Two micro-batches of four pairs.
    assert [update["batch"]["records"] for update in updates] == [16, 16, 16]
    assert metrics(bundle) == expected(trainer)
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert [round(update["loss"], 5) for update in updates] == [round(loss, 5) for loss in logged]
    assert {"margin", "accuracy"} <= metrics(bundle)[0].keys()
    assert bundle.status == "completed"


def test_kto_in_a_run_of_ones_own(tmp_path: Path, model: Path) -> None:
    """Whoever opens a run records in it what else there is, and ends it."""
    rows: list[dict[str, Any]] = [
        {"prompt": row["prompt"], "completion": row[column], "label": column == "chosen"}
        for row in synthetic(16)
        for column in ("chosen", "rejected")
    ]
    auditor = AuditableRLHF("tiny-gpt2", data_dir=tmp_path / "audit-data", on_error="raise")
    args = KTOConfig(
        **settings(
            tmp_path / "kto",
            report_to="none",
            max_steps=2,
            max_length=64,
            model_init_kwargs={"dtype": "float32"},
        )
    )
    with auditor.track_training("kto", name="mine"):
        auditor.log_annotations(
            prompts=[row["prompt"] for row in rows],
            responses=[row["completion"] for row in rows],
            ratings=[int(row["label"]) for row in rows],
        )
        trainer = KTOTrainer(
            str(model), args=args, train_dataset=Dataset.from_list(rows), callbacks=[AuditCallback(auditor)]
        )
        trainer.train()
        auditor.approve("release")
    auditor.close()
    bundle = bundle_of(tmp_path / "audit-data", "mine", tmp_path / "run.rlhf-bundle")
    assert [body["step"] for body in bundle.bodies("policy.updated")] == [1, 2]
    assert metrics(bundle) == expected(trainer)
    assert len(bundle.of("annotation.rating")) == 32
    assert len(bundle.of("oversight.approved")) == 1
    assert "beta" not in json.dumps(bundle.bodies("run.started"))


def test_two_trainings_after_each_other_are_two_runs(tmp_path: Path, model: Path) -> None:
    """A trainer of transformers alone; the second training ends the first one's run."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForLanguageModeling, Trainer
    from transformers import TrainingArguments as Arguments

    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = Dataset.from_list([dict(tokenizer(row["prompt"])) for row in synthetic(8)])
    given = settings(tmp_path / "plain", report_to="none", max_steps=2, run_name="plain language")
    given.pop("gradient_checkpointing")
    auditor = AuditableRLHF("tiny-gpt2", data_dir=tmp_path / "audit-data", on_error="raise")
    callback = AuditCallback(auditor, module_norms="never")
    trainer = Trainer(
        AutoModelForCausalLM.from_pretrained(model),
        Arguments(**given),
        DataCollatorForLanguageModeling(tokenizer, mlm=False),
        rows,
        callbacks=[callback],
    )
    runs = []
    for _ in range(2):
        trainer.train()
        assert callback.session is not None
        runs.append(callback.session.run.id)
    callback.finish()
    callback.finish()
    auditor.close()
    assert len(set(runs)) == 2
    for run in runs:
        bundle = bundle_of(tmp_path / "audit-data", str(run), tmp_path / f"{run}.rlhf-bundle")
        assert bundle.status == "completed"
        assert bundle.bodies("run.started")[0]["name"] == "plain language"
        assert len(bundle.of("policy.updated")) == 2
        assert not bundle.bodies("policy.updated")[0].get("module_norms")


def test_lora_with_peft(tmp_path: Path, model: Path) -> None:
    """Of a frozen model with adapters, the adapters' change is measured exactly, and their file is what was saved."""
    auditor = AuditableRLHF("tiny-lora", data_dir=tmp_path / "audit-data", on_error="raise")
    callback = AuditCallback(auditor, seal="train", module_norms="always")
    args = DPOConfig(
        **settings(
            tmp_path / "lora",
            report_to="none",
            max_steps=3,
            max_length=64,
            save_strategy="steps",
            save_steps=3,
            model_init_kwargs={"dtype": "float32"},
        )
    )
    trainer = DPOTrainer(
        str(model),
        args=args,
        train_dataset=Dataset.from_list(synthetic(12)),
        callbacks=[callback],
        peft_config=LoraConfig(r=4, target_modules=["c_attn"], task_type="CAUSAL_LM"),
    )
    trainer.train()
    auditor.close()
    bundle = bundle_of(tmp_path / "audit-data", "lora", tmp_path / "run.rlhf-bundle")
    updates = bundle.bodies("policy.updated")
    assert [update["step"] for update in updates] == [1, 2, 3]
    trained = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    for update in updates:
        assert update["trainable"] == trained < update["parameters"]
    for update in updates[1:]:
        assert update["norms"]["method"] == "exact"
        assert update["module_norms"]
        assert all("lora_" in module for module in update["module_norms"])
    (saved,) = bundle.of("model.checkpoint")
    files = bundle.attachment(saved, "manifest").decode()
    assert "adapter_model.safetensors" in files
