"""What goes wrong, as docs/deployment/troubleshooting.md has it: done to a real server, which has to say what helps."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from observing import ROOT, binary, eventually, free_port, get, run, running
from scene import postgres

PAGE = (ROOT / "docs" / "deployment" / "troubleshooting.md").read_text()
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount, or become another user")


def said(*args: object, code: int, **more: object) -> str:
    """What a command says that ends with this code."""
    done = run(binary(), *args, **more)
    text = done.stdout + done.stderr
    assert done.returncode == code, text
    return text


def documented(*words: str) -> None:
    """The page has these words: what is asserted of the program is what people read."""
    for word in words:
        assert word in PAGE, f"troubleshooting.md lacks {word!r}"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    said("init", "--data-dir", tmp_path / "data", code=0)
    return tmp_path / "data"


def test_doctor_finds_a_good_ledger_well(ledger: Path) -> None:
    for part in ("versions", "configuration", "keys", "clock", "ledger", "database", "objects"):
        assert said("doctor", part, "--data-dir", ledger, code=0).startswith("ok "), part
    report = json.loads(said("doctor", "--json", "--data-dir", ledger, code=0))
    assert {finding["state"] for finding in report["findings"]} <= {"ok", "warning"}


def test_a_port_that_is_taken(ledger: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        text = said("serve", "--data-dir", ledger, "--port", taken.getsockname()[1], code=3)
    words = ("Address already in use", "stop what listens there, or choose another port with --port")
    assert all(word in text for word in words), text
    documented(*words)


def as_nobody() -> list[str]:
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Path]:
    """A directory and a binary that another user can reach."""
    with tempfile.TemporaryDirectory(prefix="rlhf-audit-public.") as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copy(binary(), folder / "rlhf-audit")
        yield folder


@root_only
@pytest.mark.parametrize("inside", ["volume", "volume/below"])
def test_a_directory_that_may_not_be_written(public: Path, inside: str) -> None:
    (public / "volume").mkdir(mode=0o755)
    done = run(*as_nobody(), public / "rlhf-audit", "serve", "--port", 0, "--data-dir", public / inside)
    assert done.returncode == 3, done.stderr
    assert "Permission denied" in done.stderr and "check its owner and mode" in done.stderr, done.stderr
    documented("check its owner and mode")


@root_only
def test_a_ledger_of_somebody_else(public: Path) -> None:
    said("init", "--data-dir", public / "data", code=0)
    done = run(*as_nobody(), public / "rlhf-audit", "serve", "--port", 0, "--data-dir", public / "data")
    assert done.returncode == 3 and "check its owner and mode" in done.stderr, done.stderr


def test_keys_that_others_may_read(ledger: Path) -> None:
    key = next(path for path in (ledger / "keys").iterdir() if path.is_file())
    key.chmod(0o644)
    text = said("doctor", "keys", "--data-dir", ledger, code=1)
    assert str(key.name) in text and "chmod" in text, text


def test_a_database_that_is_down(tmp_path: Path) -> None:
    url = f"postgresql://audit:pw-of-the-database@127.0.0.1:{free_port()}/audit"
    text = said("doctor", "database", "--data-dir", tmp_path / "data", "--database-url", url, code=3)
    words = ("Connection refused", "see that it runs, that this machine reaches it")
    assert all(word in text for word in words), text
    assert "pw-of-the-database" not in text
    documented(*words)


def test_a_password_that_is_wrong_and_one_that_is_right(tmp_path: Path) -> None:
    with postgres(password="right-one") as port:
        at = ["--data-dir", tmp_path / "data", "--database-url"]
        text = said("doctor", "database", *at, f"postgresql://postgres:wrong-one@127.0.0.1:{port}/postgres", code=3)
        words = ("password authentication failed", "user, password and name in the database URL")
        assert all(word in text for word in words), text
        assert "wrong-one" not in text
        documented(*words)
        said("init", *at, f"postgresql://postgres:right-one@127.0.0.1:{port}/postgres", code=0)
        text = said("doctor", "database", *at, f"postgresql://postgres:right-one@127.0.0.1:{port}/postgres", code=0)
        assert "holds a ledger" in text, text


def test_a_database_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    with postgres() as port, contextlib.ExitStack() as stack:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        listen = free_port()
        args = [binary(), "serve", "--data-dir", tmp_path / "data", "--database-url", url, "--port", listen]
        server = stack.enter_context(running(args, tmp_path / "log"))
        ready = f"http://127.0.0.1:{listen}/health/ready"
        server.answers(ready)
        # Nobody may connect, and who is connected is cut off: what a stopped database looks like from here.
        admin = ["psql", "-h", "127.0.0.1", "-p", port, "-U", "postgres", "-d", "template1", "-qAtc"]
        assert run(*admin, "ALTER DATABASE postgres ALLOW_CONNECTIONS false").returncode == 0
        run(*admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres'")
        eventually("it is not ready", lambda: get(ready)[0] == 503, 60)
        parts = json.loads(get(ready)[1])["parts"]
        assert any(part["status"] == "failed" for part in parts.values()), parts
        assert run(*admin, "ALTER DATABASE postgres ALLOW_CONNECTIONS true").returncode == 0
        eventually("it is ready again, by itself", lambda: get(ready)[0] == 200, 90)
    documented("goes on by itself")


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    place.mkdir()
    mounted = run("mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", place)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@root_only
def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small") as place:
        made = said("init", "--data-dir", place / "data", "--json", code=0)
        token = json.loads(made)["admin_token"]
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with running([binary(), "serve", "--data-dir", place / "data", "--port", port], tmp_path / "log") as server:
            server.answers(f"{url}/health/ready")
            fill(place / "ballast")

            status, answer = start(url, token)
            assert status == 503 and "No space left on device" in answer and "free some space" in answer, answer
            text = said("doctor", "disk", "--data-dir", place / "data", code=1)
            words = ("are free in", "make room, or move the ledger")
            assert all(word in text for word in words), text
            documented("No space left on device", "free some space", *words)
            (place / "ballast").unlink()
            eventually("it goes on by itself", lambda: start(url, token)[0] == 201)
            assert server.child.poll() is None


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass


def start(url: str, token: str) -> tuple[int, str]:
    """Asks for a run to be started."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{url}/v1/runs", json.dumps({"name": "x"}).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_schema_of_a_newer_version(ledger: Path) -> None:
    with contextlib.closing(sqlite3.connect(ledger / "ledger.sqlite")) as database:
        database.execute("PRAGMA user_version = 99")
    text = said("serve", "--data-dir", ledger, "--port", 0, code=3)
    assert "schema 99" in text and "newer" in text, text
    documented("schema 99", "newer")


def test_a_configuration_with_a_slip(tmp_path: Path) -> None:
    path = tmp_path / "rlhf-audit.toml"
    path.write_text('data-dri = "x"\n')
    text = said("--config", path, "config", "check", code=2)
    assert "data-dri" in text and "data-dir" in text, text


def test_two_servers_on_one_directory(ledger: Path, tmp_path: Path) -> None:
    port = free_port()
    with running([binary(), "serve", "--data-dir", ledger, "--port", port], tmp_path / "log") as first:
        first.answers(f"http://127.0.0.1:{port}/health/live")
        text = said("serve", "--data-dir", ledger, "--port", 0, code=3)
    assert "another process" in text, text
    documented("another process")


def test_scripts_can_be_executed() -> None:
    scripts = sorted((ROOT / "scripts").glob("*.sh"))
    assert scripts
    for script in scripts:
        assert os.access(script, os.X_OK), f"chmod +x scripts/{script.name}"


def test_commands_of_docker_are_named_as_docker_has_them() -> None:
    docker = os.environ.get("DOCKER") or shutil.which("docker")
    if not docker:
        pytest.skip("there is no docker client")
    for command, option in (
        (("system", "prune"), "--all"),
        (("system", "df"), "--verbose"),
        (("system", "events"), "--since"),
        (("stats",), "--no-stream"),
        (("ps",), "--filter"),
    ):
        done = run(docker, *command, "--help")
        assert done.returncode == 0 and option in done.stdout, command


def test_docker_build_has_no_option_cpus() -> None:
    """What the client says before it asks any daemon."""
    docker = os.environ.get("DOCKER") or shutil.which("docker")
    if not docker:
        pytest.skip("there is no docker client")
    nowhere = {**os.environ, "DOCKER_HOST": "tcp://127.0.0.1:1", "DOCKER_BUILDKIT": "0"}
    refused = run(docker, "build", "--memory=4g", "--cpus=2", ".", env=nowhere, cwd=ROOT / "docs" / "images")
    assert refused.returncode != 0 and "unknown flag: --cpus" in refused.stderr, refused.stderr
    taken = run(docker, "build", "--memory=4g", "--cpuset-cpus=0-1", ".", env=nowhere, cwd=ROOT / "docs" / "images")
    assert "unknown" not in taken.stderr, taken.stderr


def test_every_section_has_a_remedy() -> None:
    sections = re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
    assert len(sections) >= 10
    for section in sections:
        assert "Do:" in section or "```bash" in section or "\n    " in section, section.splitlines()[0]
