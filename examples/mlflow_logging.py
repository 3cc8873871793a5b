"""A training that logs through MLflow, recorded by a ledger: nothing in it is particular to the ledger.

    rlhf-audit init
    rlhf-audit token create --name trainer --role producer    # prints the token, once
    rlhf-audit serve                                          # from here on in another terminal
    pip install mlflow-skinny                                 # or mlflow
    export MLFLOW_TRACKING_URI=http://localhost:8000 MLFLOW_TRACKING_TOKEN=rat_...
    python examples/mlflow_logging.py

It fits a reward to comparisons of answers (Bradley and Terry, 1952) in plain Python, and logs what a trainer logs.
"""

import json
import math
import pathlib
import random
import tempfile

import mlflow

SETTINGS = {"learning_rate": 0.5, "epochs": 20, "seed": 7, "answers": 12, "comparisons": 200}


def main() -> None:
    mlflow.set_experiment("reward of toy answers")
    with mlflow.start_run(run_name="bradley-terry") as run, tempfile.TemporaryDirectory() as folder:
        mlflow.log_params(SETTINGS)
        comparisons = compare(random.Random(SETTINGS["seed"]))
        rewards = fit(comparisons)
        save(rewards, pathlib.Path(folder))
    print(run.info.run_id)


def compare(dice: random.Random) -> list[tuple[int, int]]:
    """Pairs of answers, the better one first; the higher its number, the likelier an answer is to be better."""
    pairs = []
    for _ in range(SETTINGS["comparisons"]):
        a, b = dice.sample(range(SETTINGS["answers"]), 2)
        pairs.append((a, b) if dice.random() < chance(a / 4 - b / 4) else (b, a))
    return pairs


def fit(comparisons: list[tuple[int, int]]) -> list[float]:
    rewards = [0.0] * SETTINGS["answers"]
    for epoch in range(SETTINGS["epochs"]):
        slopes = [0.0] * len(rewards)
        loss = right = 0.0
        for chosen, rejected in comparisons:
            p = chance(rewards[chosen] - rewards[rejected])
            loss -= math.log(p)
            right += p > 0.5
            slopes[chosen] += 1 - p
            slopes[rejected] -= 1 - p
        step = SETTINGS["learning_rate"] * len(rewards) / len(comparisons)
        rewards = [reward + step * slope for reward, slope in zip(rewards, slopes, strict=True)]
        count = len(comparisons)
        mlflow.log_metrics({"loss": loss / count, "accuracy": right / count}, step=epoch)
    return rewards


def chance(margin: float) -> float:
    return 1 / (1 + math.exp(-margin))


def save(rewards: list[float], folder: pathlib.Path) -> None:
    """What is in the folder is recorded by its digests; the files themselves stay with you."""
    (folder / "rewards.json").write_text(json.dumps(rewards))
    mlflow.log_artifacts(str(folder), "reward-model")


if __name__ == "__main__":
    main()
