"""Verification of a bundle, as the command does it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from . import _native
from .results import Provenance


def verify_bundle(bundle: str | os.PathLike[str], *, policy: str | os.PathLike[str]) -> Provenance:
    """Checks a run's bundle, offline: every hash, chain and signature, and that nothing is missing.

    Args:
        bundle: the file that ``export_bundle`` or ``rlhf-audit bundle`` wrote.
        policy: the log's policy, a file (c2sp.org/tlog-policy, or one verifier key), from somebody you trust, and by
            another way than the bundle came.

    Raises:
        OSError: a file cannot be read.
        AuditError: the policy is none, or the file is no bundle at all.

    """
    return check(Path(bundle), Path(policy).read_text(encoding="utf-8"), pinned=True)


def check(bundle: Path, policy: str, pinned: bool) -> Provenance:
    """What verification finds, by a policy's words."""
    report, text = _native.verify_bundle(bundle, policy)
    found = json.loads(report)
    failures = [
        f"{failure['check']}: expected {failure['expected']}, found {failure['found']}" for failure in found["failures"]
    ]
    return Provenance(
        ok=found["verdict"] == "verified",
        verdict=found["verdict"],
        run=found.get("run", ""),
        records=found["counts"]["records"],
        failures=failures,
        pinned=pinned,
        text=text,
        report=found,
    )
