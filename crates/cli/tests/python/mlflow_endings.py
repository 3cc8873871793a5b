"""Ends runs in each way that MLflow's own client knows, nests them, takes one up again, and logs after the end."""

import json

import mlflow
from mlflow import MlflowClient


class Broken(Exception):
    pass


def ends() -> dict[str, str]:
    runs = {}
    with mlflow.start_run(run_name="parent") as parent:
        runs["FINISHED"] = parent.info.run_id
        try:
            with mlflow.start_run(run_name="breaks", nested=True) as run:
                runs["FAILED"] = run.info.run_id
                mlflow.log_metric("loss", float("inf"))
                raise Broken
        except Broken:
            pass
        run = mlflow.start_run(run_name="stopped", nested=True)
        runs["KILLED"] = run.info.run_id
        mlflow.end_run("KILLED")
    return runs


def taken_up() -> str:
    """A training that goes on in another process names the run."""
    client = MlflowClient()
    run = client.create_run("0", run_name="long")
    client.log_metric(run.info.run_id, "loss", 0.5, step=1)
    with mlflow.start_run(run_id=run.info.run_id):
        mlflow.log_metric("loss", 0.25, step=2)
    return run.info.run_id


def main() -> None:
    client = MlflowClient()
    runs = ends()
    read = {wanted: client.get_run(run).info.status for wanted, run in runs.items()}
    assert all(wanted == status for wanted, status in read.items()), read
    parent = client.get_run(runs["FAILED"]).data.tags["mlflow.parentRunId"]
    assert parent == runs["FINISHED"], parent
    children = client.search_runs(["0"], f"tags.mlflow.parentRunId = '{parent}'", order_by=["start_time ASC"])
    assert [run.info.run_name for run in children] == ["breaks", "stopped"], children

    long = taken_up()
    # An evaluation that comes after the run's end: recorded as late.
    client.log_metric(long, "eval/loss", 0.125, step=2)
    client.set_tag(long, "judged", "fine")
    read = client.get_run(long)
    assert read.info.status == "FINISHED" and read.data.metrics == {"loss": 0.25, "eval/loss": 0.125}, read
    assert [m.step for m in client.get_metric_history(long, "loss")] == [1, 2]

    for forbidden in (lambda: client.delete_run(long), lambda: client.delete_experiment("0")):
        try:
            forbidden()
            raise AssertionError("something was deleted")
        except mlflow.MlflowException as refused:
            assert refused.error_code == "NOT_IMPLEMENTED", refused
    print(json.dumps({**runs, "long": long}))


main()
