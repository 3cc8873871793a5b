"""TRL's and transformers' trainers, audited: see docs/integrations/trl.md.

    import rlhf_audit_trail.trl
    from trl import DPOConfig, DPOTrainer

    trainer = DPOTrainer(…, args=DPOConfig(…, report_to="rlhf_audit"))
    trainer.train()

The import makes the name ``rlhf_audit`` known to transformers, and lets an `AuditCallback` learn how a training ended
and what was saved, of which the library's own hooks say nothing. Trainers without an `AuditCallback` are as before.
"""

from __future__ import annotations

from . import _install
from ._callback import AuditCallback
from ._rewards import audited

__all__ = ["AuditCallback", "audited"]

_install.install()
