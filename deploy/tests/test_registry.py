"""scripts/build.sh with a real engine, and a registry on this machine: pushing, and a cache that another machine uses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request

import pytest
from conftest import ENGINE, Engine, eventually, free_port, get, need_images, run
from scratch import Checkout

DEBIAN = "debian:bookworm-slim"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture
def registry(engine, tmp_path):
    """The address of an empty registry. Loopback addresses are spoken to without TLS."""
    need_images(engine, "registry:2")
    container = engine.start("--publish", "127.0.0.1::5000", image="registry:2")
    address = f"127.0.0.1:{container.port(5000)}"
    eventually("the registry answers", lambda: get(f"http://{address}/v2/")[0] == 200)
    return address


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    return Checkout.make(tmp_path)


def build(checkout: Checkout, engine: Engine, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **engine.env, "DOCKER": engine.client, "BUILDKIT_PROGRESS": "plain"}
    return run(checkout.path / "scripts/build.sh", *arguments, env=env)


def manifest(registry: str, name: str, tag: str) -> dict:
    request = urllib.request.Request(f"http://{registry}/v2/{name}/manifests/{tag}", headers={"accept": MANIFEST})  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return json.load(answer)


def test_it_pushes_both_tags_and_what_is_pushed_can_be_pulled(engine, registry, checkout):
    need_images(engine, DEBIAN)
    team = f"{registry}/team"
    done = build(checkout, engine, "--no-scan", "-p", "-r", team, "-v", "1.2.3")
    assert done.returncode == 0, done.stderr
    try:
        name = "team/rlhf-audit-trail"
        assert manifest(registry, name, "1.2.3") == manifest(registry, name, "latest")
        engine.ok("rmi", "--force", f"{team}/rlhf-audit-trail:1.2.3", f"{team}/rlhf-audit-trail:latest")
        engine.ok("pull", "--quiet", f"{team}/rlhf-audit-trail:1.2.3")
        labels = json.loads(engine.ok("inspect", f"{team}/rlhf-audit-trail:1.2.3"))[0]["Config"]["Labels"]
        assert labels["org.opencontainers.image.version"] == "1.2.3"
        assert (checkout.path / "reports/sbom.json").exists()
    finally:
        engine.run("rmi", "--force", f"{team}/rlhf-audit-trail:1.2.3", f"{team}/rlhf-audit-trail:latest")


def test_a_registry_that_is_not_there_is_said(engine, checkout):
    need_images(engine, DEBIAN)
    nowhere = f"127.0.0.1:{free_port()}/team"
    done = build(checkout, engine, "--no-scan", "-p", "-r", nowhere)
    engine.run("rmi", "--force", f"{nowhere}/rlhf-audit-trail:0.1.0", f"{nowhere}/rlhf-audit-trail:latest")
    assert done.returncode == 1 and "was not pushed; log in first" in done.stderr, done.stderr


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("dockerd"), reason="a second engine takes root and a dockerd")
def test_another_machine_builds_from_the_cache(engine, registry, checkout, tmp_path):
    need_images(engine, DEBIAN)
    cache = f"{registry}/team/rlhf-audit-trail:cache"
    done = build(checkout, engine, "--no-scan", "-n", "test-cached", "--cache-to", cache)
    assert done.returncode == 0, done.stderr
    engine.run("rmi", "--force", cache, "test-cached:0.1.0", "test-cached:latest")
    built = "RUN sha256sum /dependencies"
    env = {**os.environ, "ENGINE_DIR": str(tmp_path / "e")}
    env.pop("DOCKER_HOST", None)
    started = run(ENGINE, "start", env=env)
    assert started.returncode == 0, started.stderr
    try:
        other = Engine(engine.client, {"DOCKER_HOST": f"unix://{tmp_path}/e/docker.sock", "DOCKER_BUILDKIT": "1"})
        # Its base image comes the way images travel without a registry.
        base = tmp_path / "base.tar"
        engine.ok("save", "--output", base, DEBIAN)
        other.ok("load", "--input", base)
        (checkout.path / "Dockerfile").write_text((checkout.path / "Dockerfile").read_text() + "RUN true\n")
        done = build(checkout, other, "--no-scan", "-n", "test-cached", "--cache-from", cache)
        assert done.returncode == 0, done.stderr
        said = done.stdout + done.stderr
        (step,) = {line.split()[0] for line in said.splitlines() if built in line and "/" in line.split("]")[0]}
        assert f"{step} CACHED" in said, said
    finally:
        stopped = run(ENGINE, "stop", env=env)
        run("umount", "--recursive", "--lazy", tmp_path / "e/exec")
        assert stopped.returncode == 0, stopped.stderr


def test_no_daemon_is_said(engine, checkout, tmp_path):
    nobody = Engine(engine.client, {"DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"})
    done = build(checkout, nobody)
    assert done.returncode == 3 and "start it (sudo systemctl start docker" in done.stderr, done.stderr
