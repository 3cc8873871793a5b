"""Logs a training through MLflow's own client while its server is killed and comes back, and reads it back.

Takes the number of steps. Says each step before it is logged, and at the end what MLflow read, as JSON.
"""

import json
import pathlib
import sys
import tempfile

import mlflow
from mlflow import MlflowClient

STEPS = int(sys.argv[1])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run_id = train(pathlib.Path(folder))
    print(json.dumps(read_back(run_id)), flush=True)


def train(folder: pathlib.Path) -> str:
    mlflow.set_experiment("alignment")
    mlflow.set_experiment_tag("team", "reward modelling of Ann")
    with mlflow.start_run(run_name="dpo", tags={"contact": "ann@example.com"}) as run:
        log_config()
        mlflow.log_text("Be kind to Ann.", "prompts/system.txt")
        for step in range(STEPS):
            print(step, flush=True)
            metrics = {"loss": 1 / (step + 1), "rewards/margins": step / 10, "learning_rate": 5e-05}
            if step == 7:
                metrics["grad_norm"] = float("nan")
            mlflow.log_metrics(metrics, step=step)
            mlflow.log_metric("kl", step / 100, step=step)
            if step % 20 == 0:
                save(folder, step)
        mlflow.set_tags({"best_step": STEPS - 1, "note": "went well"})
        # As trainers log that do not want to wait.
        for step in range(STEPS):
            print(step, flush=True)
            mlflow.log_metrics({"eval/loss": 2 / (step + 1)}, step=step, synchronous=False)
            mlflow.log_metric("eval/accuracy", step / STEPS, step=step, synchronous=False)
        mlflow.flush_async_logging()
    return run.info.run_id


def config() -> dict[str, object]:
    layers = {f"config/layer_{n}": n for n in range(240)}
    return {
        "learning_rate": 5e-05, "beta": 0.1, "optim": "adamw_torch", "bf16": True, "report_to": ["mlflow"],
        "output_dir": "/home/ann/out", "hub_token": "hf_notForAnybody", "run_name": None, **layers,
    }  # fmt: skip


def log_config() -> None:
    """As the callback of transformers does: in batches of a hundred."""
    params = list(config().items())
    for start in range(0, len(params), 100):
        mlflow.log_params(dict(params[start : start + 100]))


def save(folder: pathlib.Path, step: int) -> None:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_bytes(bytes([step]) * 100_000)
    (checkpoint / "config.json").write_text(json.dumps({"step": step}))
    mlflow.log_artifacts(str(checkpoint), checkpoint.name)


def read_back(run_id: str) -> dict[str, object]:
    client = MlflowClient()
    run = client.get_run(run_id)
    assert run.data.params == {name: str(value) for name, value in config().items()}, run.data.params
    assert run.data.tags["contact"] == "ann@example.com" and run.data.tags["note"] == "went well", run.data.tags
    experiment = client.get_experiment_by_name("alignment")
    assert experiment.experiment_id == run.info.experiment_id
    assert experiment.tags["team"] == "reward modelling of Ann", experiment.tags
    assert client.get_experiment_by_name("other") is None
    found = client.search_runs([experiment.experiment_id], "metrics.kl > 0 and params.beta = '0.1'")
    names = ["loss", "rewards/margins", "learning_rate", "kl", "grad_norm", "eval/loss", "eval/accuracy"]
    history = {name: [(m.step, repr(m.value)) for m in client.get_metric_history(run_id, name)] for name in names}
    try:
        mlflow.artifacts.load_text(f"runs:/{run_id}/prompts/system.txt")
        raise AssertionError("the bytes of an artifact are not kept")
    except mlflow.MlflowException:
        pass
    return {
        "run": run_id,
        "status": run.info.status,
        "found": [one.info.run_id for one in found],
        "history": history,
        "artifacts": sorted(file.path for file in client.list_artifacts(run_id)),
    }


main()
