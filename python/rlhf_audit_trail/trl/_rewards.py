"""`audited`: a reward function of which every score is recorded."""

from __future__ import annotations

import functools
import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

from ..errors import AuditError, AuditWarning, InputError
from ._callback import AuditCallback, current


class _Audited:
    """A function that does what it did, and whose results are recorded."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        functools.update_wrapper(self, function, updated=())
        self.__name__ = _name(function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        scores = self.function(*args, **kwargs)
        _record(self.__name__, args, kwargs, scores)
        return scores


class _AuditedAsync(_Audited):
    """The same of a coroutine function."""

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        scores = await self.function(*args, **kwargs)
        _record(self.__name__, args, kwargs, scores)
        return scores


def audited(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reward function for GRPO or RLOO that records each completion's score: ``reward_funcs=[audited(f)]``.

    It is recorded in the run of the training that calls it (one with an `AuditCallback`), under the function's name;
    the prompt and the completion are sealed. What the function returns is passed on as it is. Scores that are ``None``
    (the function does not apply) are left out. Functions, coroutine functions, partials and callable objects are taken.
    """
    if not callable(function) or hasattr(function, "named_parameters"):
        # A training is being set up, and goes on.
        warnings.warn(
            f"audited: expected a reward function, found {type(function).__name__}; its scores are not recorded one by "
            "one (the trainer's metrics are)",
            AuditWarning,
            stacklevel=2,
        )
        return function
    return (_AuditedAsync if _is_async(function) else _Audited)(function)


def _record(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], scores: Any) -> None:
    callback = current()
    if callback is None:
        if name not in _unheard:
            _unheard.add(name)
            warnings.warn(
                f"audited: {name} was called and no audited training is under way, so its scores are not recorded: "
                'give the trainer report_to="rlhf_audit", or an AuditCallback',
                AuditWarning,
                stacklevel=3,
            )
        return
    try:
        _score(callback, name, dict(zip(("prompts", "completions"), args, strict=False)) | kwargs, scores)
    except Exception as error:
        callback.trouble(f"audited {name}", error)


#: Functions of which it was said that nobody records them.
_unheard: set[str] = set()


def _score(callback: AuditCallback, name: str, given: dict[str, Any], scores: Any) -> None:
    session = callback.session
    completions = given.get("completions")
    if session is None:
        return
    if completions is None or not hasattr(scores, "__len__"):
        found = "no completions" if completions is None else f"a result of type {type(scores).__name__}"
        raise InputError(f"{name}: expected completions and a list of scores, found {found}; they are not recorded")
    values = scores.tolist() if hasattr(scores, "tolist") else list(scores)
    if len(values) != len(completions):
        raise InputError(f"{name}: expected {len(completions)} scores, found {len(values)}; they are not recorded")
    prompts = given.get("prompts")
    items = session.items(completions)
    given_scores = [at for at, value in enumerate(values) if value is not None]
    kept = [at for at in given_scores if math.isfinite(values[at])]
    if len(kept) < len(given_scores):
        odd = next(at for at in given_scores if not math.isfinite(values[at]))
        what = f"{name}: expected finite scores, found {values[odd]} for completion {odd}; it is not recorded"
        session.run.complain(f"trl audited {name}", AuditError(what))
    if not kept:
        return
    state = given.get("trainer_state")
    logged = session.run.log_rewards(
        [float(values[at]) for at in kept],
        prompts=None if prompts is None else [prompts[at] for at in kept],
        responses=[completions[at] for at in kept],
        items=[items[at] for at in kept],
        reward_model=name[:128],
        step=getattr(state, "global_step", None),
    )
    session.scored(logged, callback.training)


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def _is_async(function: Any) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(type(function), "__call__", None)  # noqa: B004
    )
