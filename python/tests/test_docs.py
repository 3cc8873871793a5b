"""The guide's code runs, in order, as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from .support import ADMIN, REPOSITORY, Server, verify


def test_the_guide(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The first part has a ledger of its own, in ./audit-data.
    here = tmp_path / "guide"
    here.mkdir()
    text = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 7
    try:
        import torch
    except ImportError:
        torch = None
        print("torch is not installed: the part about models is left out")
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    names: dict[str, Any] = {"SERVER": server.url, "TOKEN": ADMIN, "torch": torch}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    report = verify(here / "first-try.rlhf-bundle", "--policy", here / "audit-data" / "policy")
    assert report["verdict"] == "verified"
    assert all(run["status"] == "completed" for run in server.runs())
