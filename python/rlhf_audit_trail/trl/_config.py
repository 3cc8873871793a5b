"""A trainer's settings as a run's configuration: what shaped the model, and nothing of persons or places."""

from __future__ import annotations

import dataclasses
import enum
import importlib.metadata
import math
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import _norms

#: Settings that say where or who rather than how: paths, addresses, accounts, secrets, texts.
_LEFT_OUT = re.compile(
    r"(^|_)(dir|path|paths|file|files|token|url|host|port|hub|key|secret|password|name|names|id|project|entity|user|"
    r"prompt|template|revision|resume|report|trackio|push|filename|command|env|address)(_|$)"
)
#: Settings that only sound like it.
_KEPT = frozenset({"max_prompt_length", "eos_token", "pad_token"})
_LIBRARIES = ("trl", "transformers", "torch", "accelerate", "datasets", "peft", "tokenizers")


def describe(trainer: Any, args: Any, model: Any) -> dict[str, Any]:
    """What ``run.started`` says. The most telling comes first: a record has room for 256."""
    found: dict[str, Any] = {"trainer": type(trainer).__name__ if trainer is not None else "Trainer"}
    found |= {f"model.{name}": value for name, value in _model(model).items()}
    found |= _sampling(trainer)
    found |= dict(_settings("", _fields(args)))
    found |= {f"version.{name}": version for name, version in _versions().items()}
    return found


def model_name(model: Any) -> str:
    """What a model is called: its name on a hub, or the last part of a path."""
    config = getattr(model, "config", None)
    name = str(getattr(config, "_name_or_path", "") or "")
    if name.count("/") > 1 or name.startswith(("/", ".", "~")) or "\\" in name or Path(name).is_dir():
        name = Path(name).name
    return name[:128] or str(getattr(config, "model_type", "") or "") or type(model).__name__


def run_name(trainer: Any, args: Any) -> str:
    """What a run is called: as the user says, else as the folder it is saved to."""
    given = getattr(args, "run_name", None)
    output = str(getattr(args, "output_dir", "") or "")
    # Older versions take the whole path for a name.
    if given and given != output:
        return str(given)[:128]
    return Path(output).name[:128] or type(trainer).__name__


def sharded(trainer: Any) -> bool:
    """Whether a rank has only a part of the parameters, so that nothing can be said of the model from here."""
    return bool(getattr(trainer, "is_deepspeed_enabled", False) or getattr(trainer, "is_fsdp_enabled", False))


def _model(model: Any) -> dict[str, Any]:
    config = getattr(model, "config", None)
    found: dict[str, Any] = {
        "class": type(model).__name__,
        "type": getattr(config, "model_type", None),
        "dtype": str(getattr(model, "dtype", "")).removeprefix("torch."),
    }
    counted = _norms.parameters(model)
    found |= {"parameters": counted.total, "trainable": counted.trainable}
    adapters = getattr(model, "peft_config", None)
    for adapter in list(adapters.values())[:1] if isinstance(adapters, dict) else []:
        for name in ("peft_type", "r", "lora_alpha", "lora_dropout", "bias", "target_modules"):
            found[f"adapter.{name}"] = _plain(getattr(adapter, name, None))
    return {name: value for name, value in found.items() if value not in (None, "")}


def _sampling(trainer: Any) -> dict[str, Any]:
    dataset = getattr(trainer, "train_dataset", None)
    if dataset is None:
        return {}
    return {"train_dataset.rows": len(dataset)} if hasattr(dataset, "__len__") else {"train_dataset": "streamed"}


def _fields(args: Any) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(args)] if dataclasses.is_dataclass(args) else list(vars(args))
    return {name: getattr(args, name, None) for name in names if not name.startswith("_")}


def _settings(prefix: str, found: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in found.items():
        name = str(name)
        if _LEFT_OUT.search(name.lower()) and name not in _KEPT:
            continue
        if isinstance(value, dict):
            yield from _settings(f"{prefix}{name}.", value)
        elif (plain := _plain(value)) is not None:
            yield f"{prefix}{name}", plain


def _plain(value: Any) -> bool | int | float | str | None:
    """A setting as a record has it; ``None`` where it is none, or could say where this is."""
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return None if not value or os.sep in value or "\\" in value or "@" in value else value
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = [_plain(part) for part in (sorted(value, key=str) if isinstance(value, (set, frozenset)) else value)]
        return ", ".join(str(part) for part in parts if part is not None) or None
    return None


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
