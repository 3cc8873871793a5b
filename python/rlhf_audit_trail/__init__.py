"""RLHF Audit Trail: a verifiable record of how a model was trained from human feedback.

    from rlhf_audit_trail import AuditableRLHF

    auditor = AuditableRLHF("my-model", server="http://localhost:8000")   # or data_dir="./audit-data": no server
    with auditor.track_training("safety_alignment_v2"):
        logged = auditor.log_annotations(prompts=…, chosen=…, rejected=…, annotator_ids=…)
        auditor.track_policy_update(model, optimizer, batch, consumed=logged, loss=loss)
        auditor.checkpoint("out/checkpoint-100", step=100)
    auditor.export_bundle("run.bundle")

A call returns once what it records is on this machine's disk; it is signed and sent behind it. See docs/python.md.
"""

from __future__ import annotations

from . import errors
from ._native import __version__
from ._verify import verify_bundle
from .auditor import AuditableRLHF
from .errors import AuditError, AuditWarning
from .results import Logged, Provenance, Receipt, Status
from .run import Run

__all__ = [
    "AuditError",
    "AuditWarning",
    "AuditableRLHF",
    "Logged",
    "Provenance",
    "Receipt",
    "Run",
    "Status",
    "__version__",
    "errors",
    "verify_bundle",
]
