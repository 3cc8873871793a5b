"""A tiny model, and what a bundle says of its training."""

from __future__ import annotations

import gzip
import json
import os
import random
import runpy
import struct
from pathlib import Path
from typing import Any

from tests.support import REPOSITORY, verify

#: Questions and answers that nobody wrote.
SUBJECTS = ("bread", "rain", "chess", "glass", "copper", "moss", "tides", "sleep")


def synthetic(count: int = 32) -> list[dict[str, str]]:
    """Pairs of which one tells more."""
    draw = random.Random(7)
    rows = []
    for at in range(count):
        subject = draw.choice(SUBJECTS)
        rows.append(
            {
                "prompt": f"Question {at}: what is {subject}?",
                "chosen": f" It is {subject}, as number {draw.randrange(1000)} of the list tells at length.",
                "rejected": f" {subject}, {draw.randrange(10)}.",
            }
        )
    return rows


def fine_grained(count: int) -> list[dict[str, str]] | None:
    """Human preferences from allenai/FineGrainedRLHF; ``None`` where the file is absent."""
    shared = Path(os.environ.get("RLHF_AUDIT_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    file = shared / "fine-grained-rlhf" / "dev_feedback.json.gz"
    if not file.is_file():
        return None
    with gzip.open(file, "rt", encoding="utf-8") as opened:
        found = json.load(opened)
    pairs = [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)]
    rows = []
    for question in found:
        for (a, b), preferred in zip(pairs, question["preference"], strict=True):
            if preferred == 0:
                continue
            answers = [" " + question[f"prediction {n}"] for n in ((a, b) if preferred == 1 else (b, a))]
            rows.append({"prompt": question["question"], "chosen": answers[0], "rejected": answers[1]})
            if len(rows) == count:
                return rows
    return rows


def tiny_model(folder: Path, texts: list[str]) -> Path:
    """The examples' model."""
    return Path(runpy.run_path(str(REPOSITORY / "examples" / "tiny_model.py"))["tiny_model"](folder, texts))


def settings(output: Path, **more: Any) -> dict[str, Any]:
    """For all trainers: on a processor, in single precision."""
    return {
        "output_dir": str(output),
        "report_to": "rlhf_audit",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "save_strategy": "no",
    } | more


class Bundle:
    """A bundle, verified by the command, and read by a reader of our own (docs/spec/bundle.md)."""

    def __init__(self, path: Path, policy: Path) -> None:
        report = verify(path, "--policy", policy)
        assert report["verdict"] == "verified", report
        self.records: list[dict[str, Any]] = []
        self.openings: list[dict[str, Any]] = []
        self.attachments: dict[str, bytes] = {}
        self._read(path.read_bytes())
        assert len(self.records) == report["counts"]["records"]

    def _read(self, data: bytes) -> None:
        at = 0

        def take(count: int) -> bytes:
            nonlocal at
            at += count
            assert at <= len(data), "the bundle ends early"
            return data[at - count : at]

        def number(form: str) -> int:
            return int(struct.unpack(f">{form}", take(struct.calcsize(f">{form}")))[0])

        magic = take(21)
        assert magic in (b"rlhf-audit-bundle/v1\n", b"rlhf-audit-bundle/v3\n"), magic
        take(27)
        take(number("I"))
        attachments = 0
        if magic[-2:] == b"3\n":
            assert number("H") == 0
            attachments = number("I")
        take(32 * number("Q"))
        for _ in range(number("Q")):
            number("Q")
            self.records.append(json.loads(take(number("H"))))
            self.openings.append(json.loads(take(number("I")) or b"{}"))
        for _ in range(attachments):
            sha256 = take(32).hex()
            self.attachments[sha256] = take(number("Q"))
        assert at == len(data)

    def of(self, kind: str, stream: str | None = None) -> list[dict[str, Any]]:
        """The records of a kind."""
        return [record for record in self.records if record["kind"] == kind and stream in (None, record["stream"])]

    def bodies(self, kind: str) -> list[dict[str, Any]]:
        return [record["body"] for record in self.of(kind)]

    def sealed(self, kind: str) -> list[dict[str, Any]]:
        """What was sealed in the records of a kind, where the bundle has it."""
        found = zip(self.records, self.openings, strict=True)
        return [
            {name: opening["value"] for name, opening in openings.items()}
            for record, openings in found
            if record["kind"] == kind
        ]

    def attachment(self, record: dict[str, Any], name: str) -> bytes:
        return self.attachments[record["attachments"][name]["sha256"]]

    @property
    def status(self) -> str:
        return str(self.bodies("run.sealed")[0]["status"])


def bundle_of(data_dir: Path, run: str, output: Path, openings: bool = True) -> Bundle:
    """The bundle of a run, from the ledger in a directory, by the command."""
    from tests.support import command

    command("bundle", run, "--data-dir", data_dir, "--output", output, *(["--openings"] if openings else []))
    return Bundle(output, data_dir / "policy")
