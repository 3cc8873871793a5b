"""DPO with TRL, audited by one import. Some seconds on a processor; see docs/integrations/trl.md.

python examples/trl_dpo.py
rlhf-audit run list --data-dir audit-data
rlhf-audit bundle first-dpo --data-dir audit-data --output first-dpo.rlhf-bundle
rlhf-audit verify first-dpo.rlhf-bundle --policy audit-data/policy
"""

from __future__ import annotations

from datasets import Dataset
from tiny_model import tiny_model
from trl import DPOConfig, DPOTrainer

import rlhf_audit_trail.trl  # noqa: F401 - this makes report_to="rlhf_audit" known

PAIRS = [
    ("Why does bread rise?", " Yeast gives off gas, which the gluten holds.", " It does."),
    ("What is glass made of?", " Of sand, soda and lime, melted together.", " Glass."),
    ("Why is the sea salty?", " Rivers bring salts, and only the water leaves.", " Fish."),
    ("How do bees find flowers?", " By colour and scent, and by each other's dances.", " They look."),
] * 4

rows = [{"prompt": prompt, "chosen": chosen, "rejected": rejected} for prompt, chosen, rejected in PAIRS]
model = tiny_model("tiny-gpt2", [text for pair in PAIRS for text in pair])

trainer = DPOTrainer(
    model,
    args=DPOConfig(
        output_dir="first-dpo",
        report_to="rlhf_audit",  # the other line of ours
        num_train_epochs=1,
        per_device_train_batch_size=4,
        logging_steps=1,
        save_steps=2,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        model_init_kwargs={"dtype": "float32"},
    ),
    train_dataset=Dataset.from_list(rows),
)
trainer.train()
trainer.save_model()
