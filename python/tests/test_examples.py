"""The examples that need no trainer run as they stand; those that train with TRL are in `trl/test_examples.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .support import DEADLINE, REPOSITORY, binary, environment, verify

EXAMPLES = REPOSITORY / "examples"


def run(*command: str | Path, cwd: Path) -> str:
    """Runs a command in a directory with a state of its own; gives what it printed."""
    env = environment(
        PYTHONPATH=str(REPOSITORY / "python"),
        RLHF_AUDIT=str(binary()),
        HF_HOME=str(cwd / "hf"),
        XDG_STATE_HOME=str(cwd / "state"),
    )
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_proxy_before_a_reward_model(tmp_path: Path) -> None:
    said = run("sh", EXAMPLES / "openrlhf_reward_proxy.sh", cwd=tmp_path)
    assert "verified" in said


def test_a_verl_run_that_is_followed(tmp_path: Path) -> None:
    said = run("sh", EXAMPLES / "verl_ingest.sh", cwd=tmp_path)
    assert "Killed; the same command goes on:" in said
    assert "verified" in said


def test_a_hugging_face_data_set(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    run(sys.executable, EXAMPLES / "hf_datasets.py", cwd=tmp_path)
    report = verify(tmp_path / "datasets-example.rlhf-bundle", "--policy", tmp_path / "audit-data" / "policy")
    assert report["verdict"] == "verified"


@pytest.mark.parametrize("name", ["quick_start", "audit"])
def test_a_notebook_runs_top_to_bottom(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "python"))
    monkeypatch.setenv("PATH", f"{binary().parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    file = EXAMPLES / f"{name}.ipynb"
    # What it printed on somebody's machine is not kept.
    kept = json.loads(file.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in kept)
    notebook = nbformat.read(file, as_version=4)
    nbclient.NotebookClient(notebook, timeout=DEADLINE, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (bundle,) = (path for path in tmp_path.glob("*.rlhf-bundle") if path.stem in ("quick-start", "audited"))
    policy = tmp_path / ("policy" if name == "audit" else "audit-data/policy")
    assert verify(bundle, "--policy", policy)["verdict"] == "verified"
