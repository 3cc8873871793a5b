"""The chart's pods, as rendered, run by a container engine: they start, become ready, and pass what `helm test` asks."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Engine, need_images
from kube import by_name, pods, template
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
