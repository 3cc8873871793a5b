"""`docker stack deploy -c docker-compose.yml rlhf-stack`, on a swarm of one.

Where the kernel has no IP_VS, deploy/swarm/host-ports.yml is deployed besides, as docs/deployment/swarm.md has it.
"""

import json
import os
import secrets
import subprocess
import time

import pytest
from conftest import need_images
from load import Load
from stack import SERVICES, Registry, adopt, docker, free_port, fresh_clone, get, third_party_images, until

pytestmark = pytest.mark.containers


def run(*arguments, check=True, **options):
    done = subprocess.run([docker(), *arguments], capture_output=True, text=True, timeout=180, **options)
    assert not check or done.returncode == 0, f"docker {arguments}:\n{done.stdout}\n{done.stderr}"
    return done


def has_ip_vs():
    return os.path.exists("/proc/net/ip_vs")


class Stack:
    def __init__(self, directory, image):
        self.directory = fresh_clone(directory)
        self.image = image
        self.name = f"rlhf{secrets.token_hex(4)}"
        self.ports = {name: free_port() for name in ("APP", "PROMETHEUS", "ALERTMANAGER", "GRAFANA")}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RLHF_AUDIT_", "COMPOSE"))}
        self.environment = (
            kept | {"RLHF_AUDIT_IMAGE": image} | {f"{name}_PORT": str(port) for name, port in self.ports.items()}
        )
        self.files = ["docker-compose.yml"] + ([] if has_ip_vs() else ["deploy/swarm/host-ports.yml"])

    def deploy(self, **environment):
        files = sum((["-c", file] for file in self.files), [])
        return run(
            *("stack", "deploy", "--resolve-image", "never", *files, self.name),
            cwd=self.directory,
            env=self.environment | environment,
        )

    def containers(self, service):
        label = f"label=com.docker.swarm.service.name={self.name}_{service}"
        ids = run("ps", "-q", "--filter", label).stdout.split()
        return json.loads(run("inspect", *ids).stdout) if ids else []

    def health(self):
        states = {}
        for service in SERVICES:
            found = [one["State"].get("Health", {}).get("Status", "none") for one in self.containers(service)]
            states[service] = found
        return states

    def wait_healthy(self, seconds=240):
        def well():
            return all(states == ["healthy"] for states in self.health().values())

        try:
            until("all services are healthy", seconds, well, every=1)
        except AssertionError as error:
            tasks = run("stack", "ps", "--no-trunc", self.name, check=False).stdout
            raise AssertionError(f"{self.health()}\n{tasks}") from error

    def url(self, path=""):
        return f"http://127.0.0.1:{self.ports['APP']}{path}"

    def remove(self):
        run("stack", "rm", self.name, check=False)
        label = f"label=com.docker.stack.namespace={self.name}"
        until("its containers are gone", 90, lambda: not run("ps", "-aq", "--filter", label).stdout.strip())
        volumes = run("volume", "ls", "-q", "--filter", label).stdout.split()
        if volumes:
            run("volume", "rm", "-f", *volumes, check=False)


@pytest.fixture(scope="module")
def swarm(shared_engine, image):
    adopt(shared_engine)
    need_images(shared_engine, Registry.IMAGE, *third_party_images())
    state = run("info", "--format", "{{.Swarm.LocalNodeState}}").stdout.strip()
    if state != "active":
        run("swarm", "init", "--advertise-addr", "127.0.0.1")
    yield
    if state != "active":
        run("swarm", "leave", "--force")


@pytest.fixture(scope="module")
def stack(swarm, image, tmp_path_factory):
    one = Stack(tmp_path_factory.mktemp("clone"), image)
    try:
        one.deploy()
        one.wait_healthy()
        yield one
    finally:
        one.remove()


def test_the_same_file_is_a_stack(stack):
    assert get(stack.url("/health/ready"))[0] == 200
    (app,) = stack.containers("app")
    said = run("exec", app["Id"], "rlhf-audit", "doctor", "database").stdout
    assert "holds a ledger" in said
    assert app["HostConfig"]["ReadonlyRootfs"] and app["HostConfig"]["Memory"] == 1 << 30
    # What is neither in a stack's file nor in Swarm's services.
    assert not app["HostConfig"]["SecurityOpt"]


def test_an_update_loses_nothing(stack, tmp_path):
    (app,) = stack.containers("app")
    token = run("exec", app["Id"], "cat", "/run/secrets/admin-token").stdout.strip()
    policy = tmp_path / "policy"
    policy.write_text(run("exec", app["Id"], "cat", "/data/policy").stdout)
    registry = Registry()
    running = None
    try:
        new = registry.push_changed(stack.image, "rlhf-audit-trail")
        run("pull", "-q", new)
        running = Load(stack.url(), token, policy, 30)
        time.sleep(3)
        stack.deploy(RLHF_AUDIT_IMAGE=new)

        def is_new():
            images = [one["Config"]["Image"] for one in stack.containers("app") + stack.containers("worker")]
            return len(images) == 2 and set(images) == {new}

        until("application and worker are the new image", 120, is_new, every=1)
        running.account()
        stack.wait_healthy()
    finally:
        if running:
            running.stop()
        registry.stop()
