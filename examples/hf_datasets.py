"""A Hugging Face data set, registered.

python examples/hf_datasets.py

The record has the data set's fingerprint, licence, splits and a digest of each row. The digests are made under a random
key that is sealed with the record, so nobody without it can guess a row.
"""

from __future__ import annotations

from datasets import Dataset, DatasetDict, DatasetInfo

from rlhf_audit_trail import AuditableRLHF

rows = [{"prompt": f"What is {n} + {n}?", "chosen": str(2 * n), "rejected": str(n)} for n in range(100)]
info = DatasetInfo(dataset_name="sums", license="cc-by-4.0", homepage="https://example.com/sums")
whole = Dataset.from_list(rows, info=info).train_test_split(test_size=0.2, seed=1)
assert isinstance(whole, DatasetDict)

auditor = AuditableRLHF("my-model", data_dir="audit-data", on_error="raise")
with auditor.track_training("with a data set", name="datasets-example"):
    auditor.register_dataset(whole)  # or load_dataset(…), one split of it, a file, a folder
assert auditor.verify_provenance()
auditor.export_bundle("datasets-example.rlhf-bundle", openings=True)
auditor.close()
print("registered 80 + 20 rows; `rlhf-audit verify datasets-example.rlhf-bundle --policy audit-data/policy` checks it")
