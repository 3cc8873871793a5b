"""What the tests of the deployment share: the checkout, a container engine, and the images built once.

`make test-deploy` runs those that need no engine, `make test-containers` those that ask for the fixture `engine`. Where no
engine answers and none can be started they are skipped, saying so; with REQUIRE_ENGINE=1 they fail.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from apiserver import ApiServer

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "scripts/offline/engine.sh"
STAND_INS = ROOT / "scripts/offline/stand-ins.sh"
IMAGE = "rlhf-audit-trail:latest"
T = TypeVar("T")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "engine" in getattr(item, "fixturenames", ()):
            item.add_marker("containers")


def run(*command: str | Path, **options) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, and keeps what it says."""
    options.setdefault("timeout", 1200)
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)  # noqa: S603


def eventually(what: str, holds: Callable[[], T], seconds: float = 60) -> T:
    """Waits until something is so, and gives it."""
    deadline = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def get(url: str, token: str | None = None) -> tuple[int, str]:
    """The status and the body; 0 where nobody answers."""
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"} if token else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


@dataclass
class Engine:
    """A container engine and its client. What a test starts here, this ends."""

    client: str
    env: dict[str, str]
    started: list[str] = field(default_factory=list)

    def run(self, *arguments: str | Path, **options) -> subprocess.CompletedProcess[str]:
        return run(self.client, *arguments, env={**os.environ, **self.env}, **options)

    def ok(self, *arguments: str | Path, **options) -> str:
        """Runs the client, which has to succeed; its output without the last line's end."""
        done = self.run(*arguments, **options)
        assert done.returncode == 0, f"docker {' '.join(map(str, arguments))}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done.stdout.strip()

    def start(self, *arguments: str | Path, image: str = IMAGE, command: tuple[str, ...] = ()) -> Container:
        """`docker run --detach`; the container is removed at the test's end, with its volumes."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.started.append(name)
        self.ok("run", "--detach", "--name", name, *arguments, image, *command)
        return Container(self, name)

    def has(self, image: str) -> bool:
        return bool(self.ok("image", "ls", "-q", image))

    def clean(self) -> None:
        for name in self.started:
            self.run("rm", "--force", "--volumes", name)
        self.started.clear()


@dataclass
class Container:
    engine: Engine
    name: str

    def inspect(self) -> dict:
        return json.loads(self.engine.ok("inspect", self.name))[0]

    def logs(self) -> str:
        done = self.engine.run("logs", self.name)
        return done.stdout + done.stderr

    def exec(self, *command: str) -> subprocess.CompletedProcess[str]:
        return self.engine.run("exec", self.name, *command)

    def health(self) -> str:
        return self.inspect()["State"].get("Health", {}).get("Status", "none")

    def is_healthy(self) -> bool:
        state = self.inspect()["State"]
        assert state["Running"], f"it ended with {state['ExitCode']}: {self.logs()}"
        return self.health() == "healthy"

    def port(self, inside: int) -> int:
        return int(self.engine.ok("port", self.name, f"{inside}/tcp").splitlines()[0].rsplit(":", 1)[1])

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return int(self.engine.ok("wait", self.name, timeout=60))


def _answering(env: dict[str, str]) -> str | None:
    """The client with which an engine answers. Debian's own can build; a newer one may lack the plugin for that."""
    for client in filter(None, (os.environ.get("DOCKER"), "/usr/bin/docker", shutil.which("docker"))):
        if not Path(client).exists() and not shutil.which(client):
            continue
        if run(client, "version", "--format", "{{.Server.Version}}", env={**os.environ, **env}).returncode == 0:
            return client
    return None


def _own_engine() -> tuple[dict[str, str] | None, str]:
    """An engine started here, and what was said."""
    done = run(ENGINE, "start")
    if done.returncode != 0:
        return None, done.stderr.strip()
    home = Path(os.environ.get("ENGINE_DIR", ROOT / "target/engine"))
    return {"DOCKER_HOST": f"unix://{home}/docker.sock"}, ""


@pytest.fixture(scope="session")
def shared_engine() -> Iterator[Engine]:
    env, why, ours = {"DOCKER_BUILDKIT": "1"}, "", False
    client = _answering(env)
    if client is None:
        own, why = _own_engine()
        if own:
            env |= own
            ours = True
            client = _answering(env)
    if client is None:
        message = f"no container engine answers, and none can be started: {why or 'see scripts/offline/engine.sh'}"
        if os.environ.get("REQUIRE_ENGINE"):
            pytest.fail(message)
        pytest.skip(message)
    yield Engine(client, env)
    if ours:
        run(ENGINE, "stop")


@pytest.fixture
def engine(shared_engine: Engine) -> Iterator[Engine]:
    """The engine, for one test."""
    engine = Engine(shared_engine.client, shared_engine.env)
    yield engine
    engine.clean()


def need_images(engine: Engine, *images: str) -> None:
    """Has these images pulled, or made from packages where no registry can be reached."""
    for image in images:
        if engine.has(image):
            continue
        try:
            if engine.run("pull", "--quiet", image, timeout=90).returncode == 0:
                continue
        except subprocess.TimeoutExpired:
            pass
        done = run(STAND_INS, image, env={**os.environ, **engine.env, "DOCKER": engine.client})
        assert done.returncode == 0, f"{image} can neither be pulled nor made: {done.stderr}"


@pytest.fixture(scope="session")
def image(shared_engine: Engine) -> str:
    """The production image of this checkout, as `scripts/build.sh` builds it. RLHF_AUDIT_IMAGE names one that is there."""
    given = os.environ.get("RLHF_AUDIT_IMAGE")
    if given:
        assert shared_engine.has(given), f"RLHF_AUDIT_IMAGE names {given}, which is not there"
        if given != IMAGE:
            shared_engine.ok("tag", given, IMAGE)
        return IMAGE
    need_images(shared_engine, "debian:bookworm-slim", "rust:1.95-slim-bookworm")
    env = {**os.environ, **shared_engine.env, "DOCKER": shared_engine.client}
    for variable in ("REGISTRY", "VERSION", "PUSH_IMAGE", "SCAN_SECURITY"):
        env.pop(variable, None)
    done = run(ROOT / "scripts/build.sh", "--no-scan", env=env, timeout=3600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return IMAGE


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """A Kubernetes API in memory, which kubectl and helm find."""
    server = ApiServer()
    (tmp_path / "kubeconfig").write_text(server.kubeconfig())
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("HOME", str(tmp_path))
    yield server
    server.close()
