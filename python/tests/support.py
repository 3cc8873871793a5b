"""A ledger's server as a user runs it, and what it holds."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ADMIN = "rat_" + "a" * 43
REPOSITORY = Path(__file__).resolve().parents[2]
#: Whatever takes longer than this is broken.
DEADLINE = 60.0


def binary() -> Path:
    """The command, as cargo has built it."""
    if named := os.environ.get("RLHF_AUDIT_BINARY"):
        return Path(named)
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    found = [path for profile in ("debug", "release") if (path := target / profile / "rlhf-audit").is_file()]
    assert found, f"there is no rlhf-audit in {target}: build it with `cargo build -p rlhf-audit`"
    return max(found, key=lambda path: path.stat().st_mtime)


def environment(**more: str) -> dict[str, str]:
    """The environment without settings of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RLHF_AUDIT_") and name != "PORT"}
    return kept | more


def until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Waits until something holds, and gives it."""
    end = time.monotonic() + deadline
    while True:
        if found := condition():
            return found
        assert time.monotonic() < end, f"waited {deadline} s for {what}"
        time.sleep(0.02)


class Server:
    """`rlhf-audit serve`, on a port that it keeps when it is started again."""

    def __init__(self, directory: Path, name: str = "audit-data") -> None:
        self.directory = directory
        self.data_dir = directory / name
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        log = (self.directory / f"{self.data_dir.name}.log").open("ab")
        self.process = subprocess.Popen(
            [binary(), "serve", "--data-dir", self.data_dir, "--port", str(self.port)],
            env=environment(RLHF_AUDIT_ADMIN_TOKEN=ADMIN),
            stderr=log,
            stdout=log,
        )
        log.close()
        until(self._answers, "the server to answer")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended: {self.log()}"
        try:
            self.get("/health", token=None)
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(DEADLINE)
            self.process = None

    def log(self) -> str:
        return (self.directory / f"{self.data_dir.name}.log").read_text()

    def get(self, path: str, token: str | None = ADMIN) -> Any:
        return self._call("GET", path, token)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._call("POST", path, ADMIN, body)

    def delete(self, path: str) -> None:
        self._call("DELETE", path, ADMIN)

    def _call(self, method: str, path: str, token: str | None, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(self.url + path, method=method)
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, data, timeout=DEADLINE) as response:
            found = response.read()
        return json.loads(found) if found[:1] in (b"{", b"[") else found

    def token(self, role: str = "producer") -> tuple[str, str]:
        """A new token, and the id by which it can be revoked."""
        made = self.post("/v1/tokens", {"name": f"a {role}", "role": role})
        return made["token"], made["id"]

    def records(self, run: str | None = None, kind: str | None = None) -> list[dict[str, Any]]:
        """The log's records as they stand, once all of them are published."""
        until(self._published, "everything to be published")
        found: list[dict[str, Any]] = []
        after: int | None = None
        while True:
            query = f"/v1/records?limit=1000&run={run or 'ledger'}"
            query += f"&kind={kind}" if kind else ""
            query += "" if after is None else f"&after={after}"
            page = self.get(query)
            found.extend({**entry["record"], "leaf_hash": entry["leaf_hash"]} for entry in page["records"])
            after = page["next"]
            if after is None:
                return found

    def _published(self) -> bool:
        health = self.get("/health")
        return bool(health["published_size"] >= health["log_size"])

    def kinds(self, run: str | None = None) -> Counter[str]:
        """How many records of each kind a run has, those that writers write by themselves left out."""
        own = {"stream.opened", "stream.signed"}
        return Counter(record["kind"] for record in self.records(run) if record["kind"] not in own)

    def runs(self) -> list[dict[str, Any]]:
        return list(self.get("/v1/runs?limit=100")["runs"])

    def run(self, run: str | None) -> dict[str, Any]:
        return dict(self.get(f"/v1/runs/{run}"))

    def verify(self) -> dict[str, Any]:
        """Stops, and verifies all that the ledger holds, sealed values too."""
        self.stop()
        return verify(self.data_dir, "--policy", self.data_dir / "policy", "--openings")


def command(*args: str | Path, code: int = 0) -> str:
    """Runs the command, which has to end so; gives what it printed."""
    done = subprocess.run([binary(), *args], env=environment(), capture_output=True, timeout=DEADLINE)
    assert done.returncode == code, (args, done.stdout.decode(), done.stderr.decode())
    return done.stdout.decode()


def verify(target: Path, *args: str | Path, code: int = 0) -> dict[str, Any]:
    """What `rlhf-audit verify` says."""
    return dict(json.loads(command("verify", target, *args, "--json", code=code)))


def script(code: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs Python code in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *args],
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def leaks(directory: Path, text: str) -> list[Path]:
    """The files under a directory that have a text in the clear."""
    wanted = text.encode()
    return [path for path in directory.rglob("*") if path.is_file() and wanted in path.read_bytes()]


def is_pseudonym(text: str) -> bool:
    return re.fullmatch(r"p-[0-7][0-9a-hjkmnp-tv-z]{25}", text) is not None


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
