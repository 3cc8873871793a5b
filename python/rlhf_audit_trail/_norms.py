"""How far each module of a model moved: exactly where the parameters before are at hand, else estimated.

Keeping a copy of the parameters costs as much memory as they do. So a copy is kept only where what is trained is
small (LoRA, a frozen trunk): under 1 % of the model, or under 1 MiB. Else a random projection of each module is
kept, in less than 1 % of the model's bytes: see docs/spec/record.md, "Norms of changes", for what it is and how far
it can be off.

Measuring reads every trained parameter once. It is done so seldom that it takes at most 1 % of the time (``auto``),
at every update (``always``), or not at all (``never``).
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from .errors import ModelError

#: The part of a model's bytes that may be kept between two updates.
SHARE = 0.01
#: What may be kept of any model, however small.
ALWAYS_BYTES = 1 << 20
#: The probability with which an estimate is within its bound.
CONFIDENCE = 0.95
#: The dimensions of a module's projection: as many as there is room for, within these bounds, and odd.
MIN_DIMENSIONS, MAX_DIMENSIONS = 255, 4_095
#: As many modules fit into a record.
MAX_MODULES = 256
#: So many times longer than measuring takes lies between two measurements.
PATIENCE = 100.0
#: As many numbers are projected at a time.
_CHUNK = 1 << 18
#: Up to so many dimensions rows are added up by shift, which takes the square of that in numbers meanwhile: 2 MiB.
_MOST_BY_SHIFT = 512

_MASK = (1 << 64) - 1


class Change(NamedTuple):
    """What was measured."""

    #: The Euclidean norm of each module's change.
    modules: dict[str, float]
    #: The body's member ``norms``.
    norms: dict[str, Any]


class Parameters(NamedTuple):
    """What a model has."""

    total: int
    trainable: int
    bytes: int
    #: Name and tensor of what is trained, in order.
    trained: list[tuple[str, Any]]


def parameters(model: Any) -> Parameters:
    """The parameters of a torch module, or of anything that has ``named_parameters``."""
    total = trainable = size = 0
    trained: list[tuple[str, Any]] = []
    for name, parameter in _named(model):
        numbers = int(parameter.numel())
        total += numbers
        size += numbers * int(parameter.element_size())
        if parameter.requires_grad and numbers:
            trainable += numbers
            trained.append((name, parameter))
    if total == 0:
        raise ModelError(
            f"model: {type(model).__name__} has no parameters; give the model that is trained (where its parameters "
            "are partitioned over ranks, gather them first)"
        )
    if not trained:
        raise ModelError(
            f"model: none of the {total} parameters of {type(model).__name__} is trained (requires_grad is False "
            "for all)"
        )
    return Parameters(total, trainable, size, trained)


def count(model: Any) -> int:
    """How many parameters a model has, trained or not; or the number itself, where that is given."""
    if isinstance(model, int):
        return model
    total = sum(int(parameter.numel()) for _, parameter in _named(model))
    if total == 0:
        raise ModelError(f"model: {type(model).__name__} has no parameters; give the model that was saved")
    return total


def _named(model: Any) -> Iterable[tuple[str, Any]]:
    named: Callable[[], Iterable[tuple[str, Any]]] | None = getattr(model, "named_parameters", None)
    if named is None:
        raise ModelError(
            f"model: expected a torch module (something with named_parameters), found {type(model).__name__}"
        )
    return named()


def gradient_norm(found: Parameters) -> float | None:
    """The norm of the gradients that are there; ``None`` where there are none."""
    import torch

    norms = [
        torch.linalg.vector_norm(_local(parameter.grad).detach(), dtype=torch.float32)
        for _, parameter in found.trained
        if parameter.grad is not None
    ]
    if not norms:
        return None
    return float(torch.linalg.vector_norm(torch.stack([norm.cpu() for norm in norms])))


def exact(found: Parameters, before: Mapping[str, Any]) -> Change:
    """From parameters that the caller kept: by name, as in ``state_dict``."""
    missing = [name for name, _ in found.trained if name not in before]
    if missing:
        raise ModelError(f"previous: expected a tensor for each trained parameter, found none for {missing[0]!r}")
    squares: dict[str, float] = {}
    groups = _groups(found.trained, MAX_MODULES)
    for name, parameter in found.trained:
        squares[groups[name]] = squares.get(groups[name], 0.0) + _square(parameter, before[name])
    return Change(_norms(squares), {"method": "exact"})


class Tracker:
    """Measures one model, from update to update."""

    def __init__(self, seed: int | None = None) -> None:
        #: What projections are drawn from.
        self.seed = secrets.randbits(53) if seed is None else seed
        self._kept: dict[str, Any] = {}
        self._shape: tuple[tuple[str, int], ...] = ()
        self._groups: dict[str, str] = {}
        self._dimensions = 0
        self._step: int | None = None
        self._cost = 0.0
        self._at = -math.inf

    @property
    def due(self) -> bool:
        """Whether another measurement keeps within 1 % of the time."""
        return time.perf_counter() - self._at >= PATIENCE * self._cost

    def measure(self, found: Parameters, step: int) -> Change | None:
        """The change since the last measurement; ``None`` at the first, and where what is trained has changed."""
        began = time.perf_counter()
        shape = tuple((name, int(parameter.numel())) for name, parameter in found.trained)
        comparable = shape == self._shape
        if not comparable:
            self._plan(found, shape)
        change = self._advance(found, step, comparable)
        self._step = step
        self._at = time.perf_counter()
        self._cost = self._at - began
        return change

    def _plan(self, found: Parameters, shape: tuple[tuple[str, int], ...]) -> None:
        self._shape, self._kept = shape, {}
        room = max(int(found.bytes * SHARE), ALWAYS_BYTES)
        copy = sum(int(p.numel()) * int(p.element_size()) for _, p in found.trained)
        if copy <= room:
            self._dimensions = 0
            self._groups = _groups(found.trained, MAX_MODULES)
            return
        # A projection is kept in double precision: two that hardly differ are subtracted.
        numbers = int(found.bytes * SHARE * 0.9) // 8
        self._groups = _groups(found.trained, max(1, min(MAX_MODULES, numbers // MIN_DIMENSIONS)))
        each = numbers // len(set(self._groups.values()))
        self._dimensions = (min(each, MAX_DIMENSIONS) - 1) | 1

    def _advance(self, found: Parameters, step: int, comparable: bool) -> Change | None:
        squares: dict[str, float] = {}
        if self._dimensions == 0:
            for name, parameter in found.trained:
                if comparable:
                    group = self._groups[name]
                    squares[group] = squares.get(group, 0.0) + _square(parameter, self._kept[name])
                    self._kept[name].copy_(_local(parameter.detach()))
                else:
                    self._kept[name] = _local(parameter.detach()).clone()
            norms: dict[str, Any] = {"method": "exact"}
        else:
            projected = self._project(found)
            if comparable:
                for group, numbers in projected.items():
                    squares[group] = float((numbers - self._kept[group]).square().sum())
            self._kept = projected
            norms = {
                "method": "projection",
                "confidence": CONFIDENCE,
                "dimensions": self._dimensions,
                "relative_error": relative_error(self._dimensions),
                "seed": self.seed,
            }
        if not comparable:
            return None
        norms["memory_bytes"] = sum(int(kept.numel()) * int(kept.element_size()) for kept in self._kept.values())
        if self._step is not None and self._step < step:
            norms["since"] = self._step
        return Change(_norms(squares), norms)

    def _project(self, found: Parameters) -> dict[str, Any]:
        """Of each module the sum of its turned rows."""
        import torch

        sums: dict[str, _Sum] = {}
        for name, parameter in found.trained:
            flat = _local(parameter.detach()).reshape(-1)
            # Not every accelerator has double precision.
            home = flat.device if flat.device.type in ("cpu", "cuda", "xpu") else torch.device("cpu")
            group = self._groups[name]
            if group not in sums:
                sums[group] = _Sum(torch, self._dimensions, self.seed, home)
            sums[group].add(flat)
        return {group: found.total() for group, found in sums.items()}


class _Sum:
    """The projection of one module: rows with signs, turned and added up."""

    def __init__(self, torch: Any, k: int, seed: int, home: Any) -> None:
        self._torch, self._k, self._seed, self._home = torch, k, seed, home
        self._rows = 0
        self._columns = _signs(torch, 1 << 62, k, seed, home)
        # On a processor indices cost more than sums: rows are added up by how far they are to be turned, and turned
        # then. Where that would take much room, or on an accelerator, they are turned one by one.
        self._by_shift = home.type == "cpu" and k <= _MOST_BY_SHIFT
        self._sum = torch.zeros((k, k) if self._by_shift else (k,), dtype=torch.float64, device=home)

    def add(self, flat: Any) -> None:
        """Adds the rows of one parameter."""
        torch, k = self._torch, self._k
        at_once = max(1, _CHUNK // k) * k
        for start in range(0, int(flat.numel()), at_once):
            piece = flat[start : start + at_once].to(device=self._home, dtype=torch.float64)
            rows = -(-int(piece.numel()) // k)
            if rows * k != piece.numel():
                piece = torch.nn.functional.pad(piece, (0, rows * k - int(piece.numel())))
            hashes = _hashes(torch, self._rows, rows, self._seed, self._home)
            signed = piece.view(rows, k) * self._columns * (1 - 2 * (hashes & 1))[:, None]
            shifts = ((hashes >> 1) & 0x7FFFFFFF) % k
            self._turn(signed, shifts)
            self._rows += rows

    def _turn(self, rows: Any, shifts: Any) -> None:
        torch, k = self._torch, self._k
        if self._by_shift:
            self._sum.index_add_(0, shifts, rows)
        elif self._home.type == "cpu":
            for row, shift in zip(rows, shifts.tolist(), strict=True):
                self._sum[shift:] += row[: k - shift]
                self._sum[:shift] += row[k - shift :]
        else:
            places = (torch.arange(k, device=self._home)[None, :] - shifts[:, None]) % k
            self._sum += rows.gather(1, places).sum(0)

    def total(self) -> Any:
        """The sum."""
        if not self._by_shift:
            return self._sum
        total = self._torch.zeros(self._k, dtype=self._torch.float64)
        for shift, row in enumerate(self._sum):
            total[shift:] += row[: self._k - shift]
            total[:shift] += row[self._k - shift :]
        return total


def relative_error(dimensions: int) -> float:
    """How far an estimated norm is off at most, as a fraction of the true one, with the probability CONFIDENCE."""
    # Chebyshev: the square is off by more than e with a probability of at most 4 / (k e²).
    square = math.sqrt(4.0 / (dimensions * (1.0 - CONFIDENCE)))
    return 1.0 - math.sqrt(max(0.0, 1.0 - square)) if square < 1.0 else square


def _signs(torch: Any, start: int, count: int, seed: int, device: Any) -> Any:
    return 1 - 2 * (_hashes(torch, start, count, seed, device) & 1).to(torch.float64)


def _hashes(torch: Any, start: int, count: int, seed: int, device: Any) -> Any:
    """SplitMix64 of `seed * 0x9E3779B97F4A7C15 + i` for each i: the same numbers on every device."""
    first = _signed(seed * 0x9E3779B97F4A7C15 + start)
    x = torch.arange(count, dtype=torch.int64, device=device) + first
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shifted(x, 31)


def _shifted(x: Any, by: int) -> Any:
    # Shifts of signed numbers bring copies of the sign in.
    return (x >> by) & ((1 << (64 - by)) - 1)


def _signed(number: int) -> int:
    number &= _MASK
    return number - (1 << 64) if number >> 63 else number


def _square(after: Any, before: Any) -> float:
    now = _local(after.detach())
    difference = now.float() - _local(before).to(device=now.device).float()
    return float(difference.square().sum(dtype=_double(now)))


def _double(tensor: Any) -> Any:
    import torch

    return torch.float64 if tensor.device.type in ("cpu", "cuda", "xpu") else torch.float32


def _local(tensor: Any) -> Any:
    """What of a tensor that is sharded over ranks lies on this one."""
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()


def _groups(trained: list[tuple[str, Any]], at_most: int) -> dict[str, str]:
    """The module of each parameter, as deep as leaves no more than `at_most` of them."""
    deepest = max(name.count(".") for name, _ in trained)
    for depth in range(deepest, 0, -1):
        modules = {name: ".".join(name.split(".")[:-1][:depth]) or "model" for name, _ in trained}
        if len(set(modules.values())) <= at_most:
            return {name: _short(module) for name, module in modules.items()}
    return {name: "model" for name, _ in trained}


def _short(name: str) -> str:
    """A record's names have at most 128 characters; the end says more than the beginning."""
    return name if len(name) <= 128 else "…" + name[-127:]


def _norms(squares: dict[str, float]) -> dict[str, float]:
    return {module: math.sqrt(square) for module, square in squares.items() if math.isfinite(square)}
