"""The whole system on this machine, without an engine: server, worker, scheduler, witness, PostgreSQL, Redis, their
exporters, Prometheus and Alertmanager. All of it is real, on ports of the kernel's choosing, and ends with the test."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from observing import ROOT, alertmanager, binary, free_port, get, load, needed, run, running, tool

EVENTS = [
    {
        "kind": "annotation.preference",
        "body": {"choice": "a"},
        "sealed": {"prompt": "p", "response_a": "x", "response_b": "y"},
    },
    {"kind": "reward.scored", "body": {"reward": 0.5}},
    {"kind": "policy.updated", "body": {"step": 1, "loss": 0.25}},
    {"kind": "metric.logged", "body": {"metrics": {"loss": 0.25}}},
    {"kind": "evaluation.completed", "body": {"name": "held out", "metrics": {"accuracy": 0.75}}},
]


@dataclass
class Scene:
    """Where everything is."""

    folder: Path
    prometheus: str = ""
    server: str = ""
    token: str = ""
    log: Path = Path()
    targets: dict[str, str] = field(default_factory=dict)

    def query(self, expression: str) -> list[dict]:
        """What Prometheus answers now, without what is no number."""
        from urllib.parse import quote

        status, text = get(f"{self.prometheus}/api/v1/query?query={quote(expression)}")
        answer = json.loads(text)
        assert status == 200 and answer["status"] == "success", f"{expression}: {text}"
        if answer["data"]["resultType"] == "scalar":
            return [{"metric": {}, "value": answer["data"]["result"]}]
        return [row for row in answer["data"]["result"] if row["value"][1] != "NaN"]


def bin_of_postgres(name: str) -> str:
    """Debian keeps the server's binaries out of the path."""
    needed("postgres")
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else name


def as_somebody() -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []


@contextlib.contextmanager
def postgres(password: str | None = None) -> Iterator[int]:
    """A PostgreSQL that is thrown away; gives its port. The user is `postgres`."""
    with tempfile.TemporaryDirectory(prefix="rlhf-audit-postgres.") as name:
        folder = Path(name)
        secret = folder / "password"
        secret.write_text(password or "unused")
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
            shutil.chown(secret, "postgres", "postgres")
        how = ["--auth=scram-sha-256", f"--pwfile={secret}"] if password else ["--auth=trust"]
        done = run(
            *as_somebody(),
            bin_of_postgres("initdb"),
            "-D",
            folder / "data",
            "-U",
            "postgres",
            *how,
            "--no-sync",
            cwd="/",
        )
        assert done.returncode == 0, done.stderr
        port = free_port()
        args = [
            *as_somebody(),
            bin_of_postgres("postgres"),
            "-D",
            folder / "data",
            "-p",
            port,
            "-k",
            folder,
            "-h",
            "127.0.0.1",
        ]
        args += ["-c", "fsync=off"]
        log = Path(tempfile.mkstemp(prefix="rlhf-audit-postgres-log.")[1])
        try:
            with running(args, log, cwd="/") as process:
                wait = ["-h", "127.0.0.1", "-p", port, "-t", "30", "-q"]
                ready = run(bin_of_postgres("pg_isready"), *wait)
                for _ in range(100):
                    if ready.returncode == 0:
                        break
                    assert process.child.poll() is None, process.said()
                    ready = run("sleep", "0.1") and run(bin_of_postgres("pg_isready"), *wait)
                assert ready.returncode == 0, process.said()
                yield port
        finally:
            log.unlink()


def static(config: dict, targets: dict[str, str]) -> dict:
    """The configuration that is shipped, with this machine's addresses, and scraping each second."""
    config["global"].update(scrape_interval="1s", scrape_timeout="1s", evaluation_interval="1s")
    for job in config["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [targets["alertmanager"]]
    config["rule_files"] = [str(ROOT / "deploy" / "prometheus" / "rules" / "*.yml")]
    return config


@contextlib.contextmanager
def whole() -> Iterator[Scene]:
    """All of it, under a load that goes on until the test is over."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rlhf-audit-scene.")))
        scene = Scene(folder)
        audit = binary()
        database = f"postgresql://postgres@127.0.0.1:{stack.enter_context(postgres())}/postgres"
        needed("redis")
        redis_port = free_port()
        redis = ["redis-server", "--port", redis_port, "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        stack.enter_context(running(redis, folder / "redis.log"))
        data = folder / "data"
        at = ["--database-url", database, "--data-dir", data]
        made = run(audit, "init", *at, "--json")
        assert made.returncode == 0, made.stderr
        scene.token = json.loads(made.stdout)["admin_token"]
        policy = witnessed(stack, folder, audit, data / "policy")

        ports = {job: free_port() for job in ("rlhf-audit", "rlhf-audit-worker", "rlhf-audit-scheduler")}
        scene.server = f"http://127.0.0.1:{ports['rlhf-audit']}"
        scene.log = folder / "server.log"
        serve = [
            audit,
            "serve",
            *at,
            "--port",
            ports["rlhf-audit"],
            "--workers",
            0,
            "--no-scheduler",
            "--witness-policy",
            policy,
        ]
        server = stack.enter_context(running(serve, scene.log))
        server.answers(f"{scene.server}/health/ready")
        for role in ("worker", "scheduler"):
            listen = f"127.0.0.1:{ports[f'rlhf-audit-{role}']}"
            args = [audit, role, *at, "--redis-url", f"redis://127.0.0.1:{redis_port}", "--metrics-listen", listen]
            process = stack.enter_context(running(args, folder / f"{role}.log"))
            process.answers(f"http://{listen}/metrics")
        targets = {job: f"127.0.0.1:{port}" for job, port in ports.items()}

        for job, package, args, environment in (
            ("postgres", "prometheus-postgres-exporter", [], {"DATA_SOURCE_NAME": f"{database}?sslmode=disable"}),
            ("redis", "prometheus-redis-exporter", ["--redis.addr", f"redis://127.0.0.1:{redis_port}"], {}),
            ("alertmanager", "prometheus-alertmanager", [
                "--config.file", ROOT / "deploy" / "alertmanager" / "alertmanager.yml",
                "--storage.path", folder / "alertmanager", "--cluster.listen-address=",
            ], {}),
        ):  # fmt: skip
            port = free_port()
            targets[job] = f"127.0.0.1:{port}"
            command: list[object] = [tool(package, package), *args, f"--web.listen-address=127.0.0.1:{port}"]
            if job == "alertmanager":
                command = alertmanager(*command)
            process = stack.enter_context(running(command, folder / f"{job}.log", env={**os.environ, **environment}))
            process.answers(f"http://127.0.0.1:{port}/metrics")

        port = free_port()
        targets["prometheus"] = f"127.0.0.1:{port}"
        scene.targets = targets
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(static(load(ROOT / "deploy" / "prometheus" / "prometheus.yml"), targets)))
        command = [tool("prometheus", "prometheus"), "--config.file", config, "--storage.tsdb.path", folder / "tsdb"]
        command.append(f"--web.listen-address=127.0.0.1:{port}")
        process = stack.enter_context(running(command, folder / "prometheus.log"))
        scene.prometheus = f"http://127.0.0.1:{port}"
        process.answers(f"{scene.prometheus}/-/ready")
        stack.enter_context(loaded(scene, audit))
        yield scene


def witnessed(stack: contextlib.ExitStack, folder: Path, audit: Path, policy: Path) -> Path:
    """A witness, and the policy that asks it."""
    port = free_port()
    args = [
        audit,
        "witness",
        "--data-dir",
        folder / "witness",
        "--name",
        "witness.example/w1",
        "--log",
        policy,
        "--port",
        port,
    ]
    process = stack.enter_context(running(args, folder / "witness.log"))
    process.answers(f"http://127.0.0.1:{port}/health")
    vkey = (folder / "witness" / "vkeys").read_text().split()[0]
    lines = [line for line in policy.read_text().splitlines() if not line.startswith("quorum ")]
    before = [line for line in policy.read_text().splitlines() if line.startswith("quorum ")][-1].split()[1]
    group = "group all-of-them any w1" if before == "none" else f"group all-of-them all {before} w1"
    lines += [f"witness w1 {vkey} http://127.0.0.1:{port}", group, "quorum all-of-them"]
    path = folder / "policy"
    path.write_text("\n".join(lines) + "\n")
    return path


@contextlib.contextmanager
def loaded(scene: Scene, audit: Path) -> Iterator[None]:
    """Appends, reads, refusals, until the end."""
    place = ["--server", scene.server, "--token", scene.token, "--state-dir", scene.folder / "state"]
    begun = run(audit, "run", "start", "--name", "scene", *place, "--key", scene.folder / "key")
    assert begun.returncode == 0, begun.stderr
    stop = threading.Event()
    failures: list[str] = []

    def once(*args: object, given: str = "") -> None:
        done = run(audit, *args, input=given)
        if done.returncode != 0 and not stop.is_set():
            failures.append(f"{args}: {done.stdout}{done.stderr}")

    def work() -> None:
        events = "\n".join(json.dumps(event) for event in EVENTS)
        while not stop.is_set() and not failures:
            bench = ["bench", "append", "--clients", 4, "--batch", 5, "--rate", 200, "--seconds", 3, "--no-verify"]
            once(*bench, "--server", scene.server, "--token", scene.token, "--policy", scene.folder / "data" / "policy")
            once("append", "--run", "scene", *place, "--key", scene.folder / "key", given=events)
            for path in ("/v1/records?limit=100", "/v1/runs", "/v1/findings", "/v1/records/0/proof"):
                get(scene.server + path, authorization=f"Bearer {scene.token}")
            get(scene.server + "/v1/runs", authorization="Bearer rat_wrong")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not failures, failures[0]
