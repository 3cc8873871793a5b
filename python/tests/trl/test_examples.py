"""The examples run as they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY, environment

from .support import bundle_of


@pytest.mark.parametrize(("example", "name"), [("trl_dpo", "first-dpo"), ("trl_grpo", "first-grpo")])
def test_example(tmp_path: Path, example: str, name: str) -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "examples" / f"{example}.py"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(REPOSITORY / "python")),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    bundle = bundle_of(tmp_path / "audit-data", name, tmp_path / "run.rlhf-bundle")
    assert bundle.status == "completed"
    assert [body["step"] for body in bundle.bodies("policy.updated")] == [1, 2, 3, 4]
    assert (example == "trl_grpo") == bool(bundle.of("reward.scored"))
