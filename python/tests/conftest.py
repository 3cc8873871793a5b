"""A server for the tests that need one, and auditors that leave nothing behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlhf_audit_trail import AuditableRLHF

from .support import ADMIN, Server


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("RLHF_AUDIT_") and name != "RLHF_AUDIT_BINARY":
            monkeypatch.delenv(name)
    for name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of its own, with a fresh ledger."""
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for the tests of a file that do not stop it."""
    server = Server(tmp_path_factory.mktemp("shared"))
    yield server
    server.stop()


@pytest.fixture
def auditor_at(tmp_path: Path) -> Iterator[Callable[..., AuditableRLHF]]:
    """Makes auditors for a server, with a spool in the test's directory. Errors are raised unless a test says so."""
    made: list[AuditableRLHF] = []

    def make(server: Server, **options: Any) -> AuditableRLHF:
        given: dict[str, Any] = {"token": ADMIN, "spool_dir": tmp_path / "spool", "on_error": "raise"}
        auditor = AuditableRLHF("tiny-gpt", server=server.url, **(given | options))
        made.append(auditor)
        return auditor

    yield make
    for auditor in made:
        try:
            auditor.close(timeout=1.0)
        except Exception as error:
            print(f"at the end: {error}")


@pytest.fixture
def auditor(shared: Server, auditor_at: Callable[..., AuditableRLHF]) -> AuditableRLHF:
    """An auditor for the shared server."""
    return auditor_at(shared)
