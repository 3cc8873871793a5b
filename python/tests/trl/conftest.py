"""Real trainers: `make test-trl` installs them. Without TRL these tests are left out, and that is said."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

# Before torch is imported. On few cores its threads wait for each other more than they work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

HAS_TRL = importlib.util.find_spec("trl") is not None
collect_ignore_glob = [] if HAS_TRL else ["test_*.py"]


def pytest_report_header() -> str | None:
    return None if HAS_TRL else "tests/trl: left out, since TRL is not installed (make test-trl)"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, in a folder."""
    from .support import synthetic, tiny_model

    texts = [text for row in synthetic() for text in row.values()]
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny-gpt2", texts)
