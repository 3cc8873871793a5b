"""How far modules moved: exact where it can be, else within the bound that is recorded, for little memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlhf_audit_trail import AuditableRLHF, _norms
from rlhf_audit_trail.errors import ModelError

from .support import Server

torch = pytest.importorskip("torch", reason="torch is not installed: what concerns models is tested where it is")


class Transformer(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Some layers, as a policy has them."""

    def __init__(self, width: int = 256, layers: int = 4) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(1_000, width)
        self.layers = torch.nn.ModuleList([Block(width) for _ in range(layers)])
        self.head = torch.nn.Linear(width, 100)

    def forward(self, tokens: Any) -> Any:
        hidden = self.embed(tokens)
        for layer in self.layers:
            hidden = hidden + layer(hidden)
        return self.head(hidden)


class Block(torch.nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(width)
        self.up = torch.nn.Linear(width, 4 * width)
        self.down = torch.nn.Linear(4 * width, width)

    def forward(self, hidden: Any) -> Any:
        return self.down(torch.relu(self.up(self.norm(hidden))))


def copied(model: Any) -> dict[str, Any]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def true_norms(model: Any, before: dict[str, Any], groups: dict[str, str]) -> dict[str, float]:
    squares: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            square = float((parameter.detach() - before[name]).double().square().sum())
            squares[groups[name]] = squares.get(groups[name], 0.0) + square
    return {module: square**0.5 for module, square in squares.items()}


def step(model: Any, optimizer: Any) -> Any:
    tokens = torch.randint(0, 1_000, (4, 16))
    loss = model(tokens).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def test_estimates_keep_within_their_bound_and_their_memory() -> None:
    torch.manual_seed(0)
    model = Transformer()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = _norms.parameters(model)
    assert found.total == found.trainable == sum(p.numel() for p in model.parameters())
    estimates = outside = 0
    for seed in range(8):
        tracker = _norms.Tracker(seed)
        assert tracker.measure(found, 0) is None
        for number in range(1, 4):
            before = copied(model)
            step(model, optimizer)
            change = tracker.measure(_norms.parameters(model), number)
            assert change is not None
            assert change.norms["method"] == "projection"
            assert change.norms["since"] == number - 1
            assert change.norms["memory_bytes"] <= 0.01 * found.bytes
            assert change.norms["seed"] == seed
            bound = change.norms["relative_error"]
            assert bound == _norms.relative_error(change.norms["dimensions"]) < 0.4
            for module, true in true_norms(model, before, tracker._groups).items():
                estimates += 1
                outside += abs(change.modules[module] - true) > bound * true
    # Chebyshev promises 95 %, and is generous.
    assert outside <= 0.05 * estimates, (outside, estimates)


def test_an_update_of_rank_one_is_no_trap() -> None:
    """All rows alike: what a projection with too little randomness adds up, or cancels out."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(2_047, 400, bias=False))
    errors = []
    bound = 0.0
    for seed in range(40):
        tracker = _norms.Tracker(seed)
        tracker.measure(_norms.parameters(model), 0)
        with torch.no_grad():
            delta = 1e-3 * torch.ones(400, 1) @ torch.randn(1, 2_047).sign()
            model[0].weight += delta
        change = tracker.measure(_norms.parameters(model), 1)
        assert change is not None
        (estimate,) = change.modules.values()
        errors.append(abs(estimate / float(delta.norm()) - 1))
        bound = change.norms["relative_error"]
    assert sum(error > bound for error in errors) <= 2
    assert sum(errors) / len(errors) < bound / 2


def test_small_changes_of_large_parameters_do_not_drown() -> None:
    model = torch.nn.Linear(2_000, 600, bias=False)
    with torch.no_grad():
        model.weight.fill_(1_000.0)
    tracker = _norms.Tracker(3)
    tracker.measure(_norms.parameters(model), 0)
    with torch.no_grad():
        model.weight[5, 7] += 1.0
    change = tracker.measure(_norms.parameters(model), 1)
    assert change is not None
    assert list(change.modules.values()) == [pytest.approx(1.0, rel=1e-6)]


def test_the_projection_is_the_specifications() -> None:
    """docs/spec/record.md, "Norms of changes", in plain Python."""
    mask = (1 << 64) - 1

    def h(seed: int, i: int) -> int:
        x = (seed * 0x9E3779B97F4A7C15 + i) & mask
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    model = torch.nn.Linear(90, 7)
    tracker = _norms.Tracker(12_345)
    tracker._dimensions, tracker._groups = 31, {"weight": "m", "bias": "m"}
    found = tracker._project(_norms.parameters(model))["m"]
    expected, row = [0.0] * 31, 0
    for parameter in (model.weight, model.bias):
        flat = parameter.detach().reshape(-1).double().tolist()
        for start in range(0, len(flat), 31):
            hashed = h(12_345, row)
            for j, value in enumerate(flat[start : start + 31]):
                tau = -1 if h(12_345, (1 << 62) + j) & 1 else 1
                place = (j + ((hashed >> 1) & 0x7FFFFFFF) % 31) % 31
                expected[place] += (-1 if hashed & 1 else 1) * tau * value
            row += 1
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


def test_lora_is_exact() -> None:
    model = Transformer()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.layers[0].up.lora_A = torch.nn.Linear(256, 8, bias=False)
    model.layers[0].up.lora_B = torch.nn.Linear(8, 1_024, bias=False)
    found = _norms.parameters(model)
    assert found.trainable == 8 * (256 + 1_024)
    assert found.total > found.trainable
    tracker = _norms.Tracker()
    tracker.measure(found, 4)
    before = copied(model)
    with torch.no_grad():
        model.layers[0].up.lora_B.weight += 0.5
    change = tracker.measure(_norms.parameters(model), 5)
    assert change is not None
    assert change.norms == {"method": "exact", "memory_bytes": 4 * found.trainable, "since": 4}
    assert change.modules == {"layers.0.up.lora_A": 0.0, "layers.0.up.lora_B": pytest.approx(0.5 * (8 * 1_024) ** 0.5)}
    # The same from parameters that the caller kept.
    assert _norms.exact(_norms.parameters(model), before).modules == change.modules
    with pytest.raises(ModelError, match="previous: expected a tensor for each trained parameter"):
        _norms.exact(found, {})


def test_what_is_frozen_meanwhile_begins_anew() -> None:
    model = Transformer()
    tracker = _norms.Tracker()
    tracker.measure(_norms.parameters(model), 0)
    for parameter in model.layers[:3].parameters():
        parameter.requires_grad_(False)
    assert tracker.measure(_norms.parameters(model), 1) is None
    change = tracker.measure(_norms.parameters(model), 2)
    assert change is not None
    assert not any(module.startswith("layers.0") for module in change.modules)
    assert set(change.modules.values()) == {0.0}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_types_of_numbers(dtype: Any) -> None:
    model = torch.nn.Linear(1_500, 1_500).to(dtype)
    tracker = _norms.Tracker()
    tracker.measure(_norms.parameters(model), 0)
    with torch.no_grad():
        model.weight.mul_(2)
    change = tracker.measure(_norms.parameters(model), 1)
    assert change is not None
    true = float(model.weight.detach().double().norm()) / 2
    assert next(iter(change.modules.values())) == pytest.approx(true, rel=change.norms["relative_error"])


def test_it_is_measured_so_seldom_that_it_takes_a_hundredth_of_the_time() -> None:
    tracker = _norms.Tracker()
    assert tracker.due
    tracker.measure(_norms.parameters(Transformer()), 0)
    assert not tracker.due
    tracker._at -= 101 * tracker._cost
    assert tracker.due


def test_many_modules_are_taken_together() -> None:
    model = torch.nn.ModuleDict({f"m{i}": torch.nn.ModuleList([torch.nn.Linear(2, 2)] * 1) for i in range(200)})
    groups = _norms._groups([(name, p) for name, p in model.named_parameters()], 256)
    assert len(set(groups.values())) == 200
    wide = torch.nn.ModuleList([torch.nn.ModuleList([torch.nn.Linear(2, 2) for _ in range(9)]) for _ in range(40)])
    groups = _norms._groups([(name, p) for name, p in wide.named_parameters()], 256)
    assert set(groups.values()) == {str(i) for i in range(40)}
    assert len(_norms._short("x" * 200)) == 128


def test_an_update_of_a_model(shared: Server, auditor: AuditableRLHF) -> None:
    model = Transformer(width=64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with auditor.track_training("torch") as run:
        for number in range(3):
            tokens = torch.randint(0, 1_000, (4, 16))
            before = copied(model)
            loss = model(tokens).square().mean()
            loss.backward()
            optimizer.step()
            auditor.track_policy_update(
                model, optimizer, {"tokens": tokens}, loss=loss, module_norms="always", step=10 + number
            )
            optimizer.zero_grad()
    first, second, third = (record["body"] for record in shared.records(run.id, "policy.updated"))
    assert "module_norms" not in first
    assert (first["batch"], first["learning_rate"], first["step"]) == ({"records": 4}, 0.001, 10)
    assert first["parameters"] == first["trainable"] == sum(p.numel() for p in model.parameters())
    assert second["gradient_norm"] > 0
    assert third["norms"]["since"] == 11
    assert third["loss"] == pytest.approx(float(loss.detach()), rel=1e-6)
    assert third["norms"]["method"] == "exact"
    assert third["module_norms"]["head"] == pytest.approx(
        float(
            sum(
                (p.detach() - before[f"head.{name}"]).double().square().sum()
                for name, p in model.head.named_parameters()
            )
            ** 0.5
        ),
        rel=1e-5,
    )


def test_models_that_are_not_trained(auditor: AuditableRLHF) -> None:
    model = torch.nn.Linear(2, 2)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with auditor.track_training("torch"):
        with pytest.raises(ModelError, match="none of the 6 parameters of Linear is trained"):
            auditor.track_policy_update(model)
        with pytest.raises(ModelError, match="Identity has no parameters"):
            auditor.track_policy_update(torch.nn.Identity())
        # Saving one is another matter.
        assert auditor.checkpoint(model=model, step=1)


def test_a_loss_that_is_a_tensor_and_a_batch_on_it(auditor: AuditableRLHF, tmp_path: Path) -> None:
    from rlhf_audit_trail import _batch

    tensor = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)
    assert _batch.digest(tensor) == _batch.digest(tensor.t().contiguous().t()) != _batch.digest(tensor.float())
    assert _batch.digest(torch.tensor(3)) != _batch.digest(torch.tensor([3]))
    with auditor.track_training("torch"):
        assert auditor.track_policy_update(batch=[tensor], loss=torch.tensor(0.5), kl=torch.tensor([0.25]))
