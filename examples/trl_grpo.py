"""GRPO with TRL, each completion's score recorded, and the run verified at the end. Some seconds on a processor.

python examples/trl_grpo.py
"""

from __future__ import annotations

from datasets import Dataset
from tiny_model import tiny_model
from trl import GRPOConfig, GRPOTrainer

from rlhf_audit_trail import AuditableRLHF
from rlhf_audit_trail.trl import AuditCallback, audited

PROMPTS = ["Why does bread rise?", "What is glass made of?", "Why is the sea salty?", "How do bees find flowers?"] * 4


@audited
def variety(completions: list[str], **kwargs: object) -> list[float]:
    """The share of characters that differ."""
    return [len(set(text)) / max(len(text), 1) for text in completions]


auditor = AuditableRLHF("tiny-gpt2", data_dir="audit-data")
with auditor.track_training("examples", name="first-grpo") as run:
    trainer = GRPOTrainer(
        tiny_model("tiny-gpt2", PROMPTS),
        args=GRPOConfig(
            output_dir="first-grpo",
            max_steps=4,
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=16,
            beta=0.05,
            logging_steps=1,
            save_steps=4,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            model_init_kwargs={"dtype": "float32"},
        ),
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in PROMPTS]),
        reward_funcs=variety,
        callbacks=[AuditCallback(auditor)],
    )
    trainer.train()
    auditor.approve("release", reason="it is only an example", reviewer="somebody")

print(auditor.generate_model_card(run=run.id, path="first-grpo-card.md")[:400])
provenance = auditor.verify_provenance(run=run.id)
print(provenance.text)
assert provenance
auditor.close()
