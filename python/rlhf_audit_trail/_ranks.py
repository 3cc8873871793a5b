"""Which of several processes this is, and how they agree on one run.

`torch.distributed` is asked where a trainer has set it up already; it is never imported for that. Without it the
launcher's variables say who is who, and the run has to be told to the others (`join=`).
"""

from __future__ import annotations

import os
import sys
from typing import Any


def rank() -> int:
    """The rank of this process among all of the training; 0 where there is only one."""
    distributed = _distributed()
    if distributed is not None:
        return int(distributed.get_rank())
    for variable in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"):
        if (found := os.environ.get(variable, "")).isdigit():
            return int(found)
    return 0


def shared_run(run: str | None) -> str | None:
    """The run that rank 0 has started: told by it, heard by the others. ``None`` where nobody can tell."""
    distributed = _distributed()
    if distributed is None or distributed.get_world_size() == 1:
        return run
    told: list[Any] = [run]
    distributed.broadcast_object_list(told, src=0)
    return None if told[0] is None else str(told[0])


def _distributed() -> Any | None:
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed


def together() -> None:
    """Waits for all ranks."""
    distributed = _distributed()
    if distributed is not None and distributed.get_world_size() > 1:
        distributed.barrier()
