"""The chart's pods, as rendered, run by a container engine: they start, become ready, and pass what `helm test` asks. And the task of
deploy/aws, with a real PostgreSQL and moto's S3."""

from __future__ import annotations

import base64
import secrets
import stat
import string
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from conftest import Engine, eventually, free_port, get, need_images
from kube import ROOT, SERVICES, by_name, need, pods, template
from pods import Node

RELEASE = "audit-rlhf-audit-trail"


@pytest.fixture
def node(engine: Engine, image: str, tmp_path: Path) -> Iterator[Callable[[dict], Node]]:
    made: list[Node] = []

    def release(values: dict) -> Node:
        made.append(Node(engine, image, tmp_path, template(values)))
        return made[-1]

    yield release
    for one in made:
        one.close()


def spec_of(node: Node, name: str) -> dict:
    return next(pod["spec"] for found, pod in pods(node.objects) if found == name)


def helm_test(node: Node) -> str:
    test = by_name(node.objects, "Pod", f"{RELEASE}-test")["spec"]
    return node.once("test", test, test["containers"][0])


def test_the_default_release_becomes_ready_keeps_its_ledger_and_passes_its_test(node: Callable[[dict], Node]) -> None:
    release = node({})
    spec = spec_of(release, f"StatefulSet/{RELEASE}")
    (container,) = spec["containers"]
    server = release.start("app", spec, RELEASE, f"{RELEASE}-nodes")
    release.ready(server, container)
    assert "lets the admin in and nobody else" in helm_test(release)
    origin = server.logs().split("serving ")[1].split()[0]
    keys = release.root / "claims" / f"data-{RELEASE}-0" / "ledger/keys"
    assert {stat.S_IMODE(key.stat().st_mode) & 0o777 for key in keys.iterdir()} == {0o600}
    release.engine.ok("stop", "--time", str(spec["terminationGracePeriodSeconds"]), server.name)
    assert server.inspect()["State"]["ExitCode"] == 0
    release.engine.ok("rm", server.name)
    # Another pod on the same volume is the same ledger.
    again = release.start("app", spec, RELEASE, f"{RELEASE}-nodes")
    release.ready(again, container)
    assert again.logs().split("serving ")[1].split()[0] == origin


def test_a_shared_release_becomes_ready_and_passes_its_test(node: Callable[[dict], Node]) -> None:
    release = node({"mode": "shared", "keys": {"existingSecret": f"{RELEASE}-keys"}})
    # As `objects.url` would have the chart make them: keys out of a Secret.
    release.objects.append(by_name(template({"mode": "shared", "objects": {"url": "s3://a/b"}}), "Secret", f"{RELEASE}-keys"))
    need_images(
        release.engine, *{c["image"] for _, pod in pods(release.objects) for c in pod["spec"]["containers"] if "rlhf" not in c["image"]}
    )
    for store in ("postgres", "redis"):
        spec = spec_of(release, f"StatefulSet/{RELEASE}-{store}")
        release.ready(release.start(store, spec, f"{RELEASE}-{store}"), spec["containers"][0])
    migrate = spec_of(release, f"Job/{RELEASE}-migrate")
    assert "holds no ledger yet" in release.once("migrate", migrate, migrate["containers"][0])
    app = spec_of(release, f"Deployment/{RELEASE}")
    first = release.start("app-1", app, RELEASE, f"{RELEASE}-nodes")
    release.ready(first, app["containers"][0])
    started = {"app": first}
    for component in ("worker", "scheduler"):
        spec = spec_of(release, f"Deployment/{RELEASE}-{component}")
        started[component] = release.start(component, spec)
        release.ready(started[component], spec["containers"][0])
    second = release.start("app-2", app)
    release.ready(second, app["containers"][0])
    assert "holds a ledger" in release.once("migrate", migrate, migrate["containers"][0])
    assert "lets the admin in and nobody else" in helm_test(release)
    for name, container in started.items():
        release.engine.ok("stop", "--time", "35", container.name)
        assert container.inspect()["State"]["ExitCode"] == 0, f"{name}: {container.logs()}"


def test_the_backup_is_made_encrypted_beside_a_server_that_runs(node: Callable[[dict], Node]) -> None:
    release = node({})
    spec = spec_of(release, f"StatefulSet/{RELEASE}")
    server = release.start("app", spec, RELEASE, f"{RELEASE}-nodes")
    release.ready(server, spec["containers"][0])
    backup = spec_of(release, f"CronJob/{RELEASE}-backup")
    said = release.once("backup", backup, backup["containers"][0])
    assert "Backed up" in said and "NOT ENCRYPTED" not in said


class Template(yaml.SafeLoader):
    """CloudFormation's YAML; what functions say is kept as their text."""


Template.add_multi_constructor("!", lambda loader, suffix, node: {suffix: getattr(node, "value", None)})


@pytest.fixture
def s3() -> Iterator[int]:
    """moto on every address, with a bucket; its port."""
    need("moto")
    port = free_port()
    program = next(SERVICES.glob("moto-*")) / "bin/moto_server"
    moto = subprocess.Popen([program, "-p", str(port), "-H", "0.0.0.0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while get(f"http://127.0.0.1:{port}/moto-api/")[0] != 200:
        assert moto.poll() is None and time.monotonic() < deadline, "moto did not start"
        time.sleep(0.1)
    bucket = urllib.request.Request(f"http://127.0.0.1:{port}/audit", method="PUT", headers={"host": "s3.amazonaws.com"})
    urllib.request.urlopen(bucket, timeout=10).close()
    yield port
    moto.terminate()
    moto.wait(30)


def test_the_task_of_ecs_starts_with_what_its_stack_makes(node: Callable[[dict], Node], s3: int) -> None:
    release = node({"mode": "shared"})
    spec = spec_of(release, f"StatefulSet/{RELEASE}-postgres")
    need_images(release.engine, spec["containers"][0]["image"])
    release.ready(release.start("postgres", spec, f"{RELEASE}-postgres"), spec["containers"][0])
    stores = by_name(release.objects, "Secret", f"{RELEASE}-stores")["data"]
    template_of_aws = yaml.load((ROOT / "deploy/aws/template.yaml").read_text(), Template)
    (container,) = template_of_aws["Resources"]["ServerTask"]["Properties"]["ContainerDefinitions"]
    gateway = release.engine.ok("network", "inspect", release.network, "--format", "{{(index .IPAM.Config 0).Gateway}}")
    env = {entry["Name"]: entry["Value"] for entry in container["Environment"]}
    env |= {
        "DATABASE_HOST": f"{RELEASE}-postgres",
        "RLHF_AUDIT_OBJECTS": "s3://audit/ledger",
        "AWS_REGION": "us-west-2",
        "AWS_ENDPOINT_URL": f"http://{gateway}:{s3}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    alphabet = string.ascii_letters + string.digits
    for entry in container["Secrets"]:
        env[entry["Name"]] = "".join(secrets.choice(alphabet) for _ in range(42))
    env["DATABASE_PASSWORD"] = base64.b64decode(stores["database-password"]).decode()
    # The database here has no certificate.
    script, *arguments = (word.replace("sslmode=require", "sslmode=disable") for word in container["Command"])
    given = ["--network", release.network, "--user", container["User"], "--read-only", "--cap-drop=ALL", "--volume", "/data"]
    given += [part for name, value in env.items() for part in ("--env", f"{name}={value}")]
    entry, *options = container["EntryPoint"]
    task = release.engine.start(*given, "--entrypoint", entry, image=release.image, command=(*options, script, *arguments))

    def is_ready() -> bool:
        state = task.inspect()
        assert state["State"]["Running"], task.logs()
        address = state["NetworkSettings"]["Networks"][release.network]["IPAddress"]
        return get(f"http://{address}:9464/health/ready")[0] == 200

    eventually("the task is ready", is_ready, 90)
    address = task.inspect()["NetworkSettings"]["Networks"][release.network]["IPAddress"]
    token = f"rat_{env['TOKEN']}A"
    assert get(f"http://{address}:8000/v1/tokens", token)[0] == 200
    assert get(f"http://{address}:8000/v1/tokens")[0] == 401
    kept = task.exec("bash", "-c", "tr '\\0' '\\n' < /proc/1/environ").stdout
    assert "RLHF_AUDIT_OBJECTS" in kept and "KEY_LOG=" not in kept
    release.engine.ok("stop", "--time", str(container["StopTimeout"]), task.name)
    assert task.inspect()["State"]["ExitCode"] == 0, task.logs()
