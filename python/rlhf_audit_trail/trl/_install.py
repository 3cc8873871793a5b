"""What the import changes in transformers: one more name to report to, and two methods that are observed."""

from __future__ import annotations

import atexit
import contextlib
import functools
from typing import Any

from transformers import Trainer
from transformers.integrations import integration_utils

from ._callback import AuditCallback, finish_all

#: What a training is told with `report_to`.
NAME = "rlhf_audit"


def install() -> None:
    """Does all of it, once."""
    if NAME in integration_utils.INTEGRATION_TO_CALLBACK:
        return
    integration_utils.INTEGRATION_TO_CALLBACK[NAME] = AuditCallback
    # No event tells a callback that training failed, or that the finished model was saved.
    _observe_train()
    _observe_save_model()
    # Before the auditors' own ending, which was registered when they were imported.
    atexit.register(finish_all)


def _observe_train() -> None:
    original = Trainer.train

    @functools.wraps(original)
    def train(self: Any, *args: Any, **kwargs: Any) -> Any:
        with contextlib.ExitStack() as stack:
            for callback in _callbacks(self):
                stack.enter_context(callback.watching(self))
            return original(self, *args, **kwargs)

    Trainer.train = train


def _observe_save_model() -> None:
    original = Trainer.save_model

    @functools.wraps(original)
    def save_model(self: Any, *args: Any, **kwargs: Any) -> Any:
        done = original(self, *args, **kwargs)
        given = dict(zip(("output_dir", "_internal_call"), args, strict=False)) | kwargs
        if not given.get("_internal_call"):
            for callback in _callbacks(self):
                callback.on_save_model(self, given.get("output_dir"))
        return done

    Trainer.save_model = save_model


def _callbacks(trainer: Any) -> list[AuditCallback]:
    handler = getattr(trainer, "callback_handler", None)
    return [found for found in getattr(handler, "callbacks", ()) if isinstance(found, AuditCallback)]
