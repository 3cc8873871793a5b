"""What a trainer's callbacks are not told, seen from beside its methods: losses, gradient norms, batches, row order.

A method is observed on the one trainer that is audited, for as long as it trains. It does what it did before, with the
same arguments and the same result.
"""

from __future__ import annotations

import contextlib
import functools
import operator
from array import array
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .. import _batch

#: The order of as many rows is kept, in 8 bytes each.
MOST_ROWS = 4_000_000


@contextlib.contextmanager
def observed(thing: Any, name: str, after: Callable[[tuple[Any, ...], dict[str, Any], Any], None]) -> Iterator[None]:
    """Calls `after` with the arguments and the result of each call of a method, until the end of the block."""
    original = getattr(thing, name, None)
    if original is None:
        yield
        return

    @functools.wraps(original)
    def observing(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        after(args, kwargs, result)
        return result

    own = vars(thing).get(name)
    setattr(thing, name, observing)
    try:
        yield
    finally:
        if own is None:
            vars(thing).pop(name, None)
        else:
            setattr(thing, name, own)


class Step:
    """What one update is made of, as it comes."""

    def __init__(self) -> None:
        self.losses: list[Any] = []
        self.gradient_norm: Any = None
        self.learning_rate: float | None = None
        self._digests: list[str] = []
        self._rows = 0

    def take_batch(self, inputs: Any) -> None:
        """A micro-batch that a loss is computed from. Only its digest is kept."""
        if isinstance(inputs, Mapping):
            inputs = {name: value for name, value in inputs.items() if _is_data(value)}
        self._digests.append(_batch.digest(inputs))
        self._rows += _batch.rows(inputs) or 0

    @property
    def batch(self) -> Any:
        """Something whose digest is that of the update's batch, and whose length that of its rows."""
        return {"rows": range(self._rows), "micro_batches": self._digests} if self._digests else None

    @property
    def loss(self) -> float | None:
        """The loss: the sum of what the micro-batches have contributed."""
        if not self.losses:
            return None
        return float(sum(float(loss) for loss in self.losses))


def _is_data(value: Any) -> bool:
    """Whether a batch's member is what is trained on, and not a tool that came with it."""
    return hasattr(value, "dtype") or isinstance(value, (str, bytes, bool, int, float, list, tuple, Mapping))


class Order:
    """In which order rows are drawn from a data set."""

    def __init__(self) -> None:
        self.rows = array("q")
        self.complete = True

    def draw(self, row: Any) -> None:
        """One is drawn."""
        try:
            number = operator.index(row)
        except TypeError:
            number = -1
        if number >= 0 and len(self.rows) < MOST_ROWS:
            self.rows.append(number)
        else:
            self.complete = False

    def take(self) -> bytes | None:
        """What was drawn since the last time, a row's number a line; ``None`` where that is not known."""
        rows, complete = self.rows, self.complete
        self.rows, self.complete = array("q"), True
        if not rows or not complete:
            return None
        return b"".join(b"%d\n" % row for row in rows)


@contextlib.contextmanager
def drawn(sampler: Any, order: Order) -> Iterator[None]:
    """Sees what a sampler draws, until the end of the block. It stays of its class for all who ask."""
    original = type(sampler)

    def __iter__(self: Any) -> Iterator[Any]:  # noqa: N807
        for row in original.__iter__(self):
            order.draw(row)
            yield row

    observing = type(original.__name__, (original,), {"__iter__": __iter__, "__module__": original.__module__})
    sampler.__class__ = observing
    try:
        yield
    finally:
        sampler.__class__ = original


def sampler_of(dataloader: Any) -> Any:
    """What draws the rows of a data loader, below whatever spreads them over ranks; ``None`` for a stream."""
    batches = getattr(dataloader, "batch_sampler", None)
    while (inner := getattr(batches, "batch_sampler", None)) is not None:
        batches = inner
    return getattr(batches, "sampler", None)


def sampler_seed(sampler: Any) -> int | None:
    """What a sampler's order is drawn from, where it says so."""
    for name in ("initial_seed", "seed"):
        if isinstance(seed := getattr(sampler, name, None), int):
            return seed
    return None
