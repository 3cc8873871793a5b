"""What the tests of monitoring share: where the tools are, and servers that end with the test."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "target" / "services"
RUNBOOK = ROOT / "docs" / "deployment" / "runbook.md"


def needed(*tools: str) -> None:
    """Has `scripts/needs.sh` install what is not there."""
    done = run(ROOT / "scripts" / "needs.sh", *tools, timeout=1800, cwd=ROOT)
    if done.returncode != 0:
        raise FileNotFoundError(done.stderr or done.stdout)


def tool(package: str, name: str) -> Path:
    """A program of a package of Debian's, unpacked under target/services, or from the path."""
    unpacked = SERVICES / package / "usr" / "bin" / name
    if not unpacked.is_file():
        on_path = shutil.which(name)
        if on_path:
            return Path(on_path)
        needed(package)
    return unpacked


def alertmanager(*args: object) -> list[object]:
    """A command that may run Alertmanager. Debian's looks for its template under /usr/share: where it is unpacked,
    it sees the unpacked one there, in a view of the file system of its own. Where there can be none, as in most
    containers, root puts it there, as the package would."""
    shared = SERVICES / "prometheus-alertmanager" / "usr" / "share"
    if not shared.is_dir():
        return list(args)
    apart = ["unshare", "-m", *([] if os.geteuid() == 0 else ["-r"])]
    template = Path("prometheus", "alertmanager")
    if os.geteuid() == 0 and subprocess.run([*apart, "true"], capture_output=True).returncode != 0:
        if not Path("/usr/share", template).exists():
            shutil.copytree(shared / template, Path("/usr/share", template))
        return list(args)
    return [*apart, "sh", "-c", 'mount --bind "$0" /usr/share && exec "$@"', shared, *args]


@functools.cache
def binary() -> Path:
    """The `rlhf-audit` under test: RLHF_AUDIT_BINARY, or what cargo builds of this checkout."""
    given = os.environ.get("RLHF_AUDIT_BINARY")
    if given:
        return Path(given)
    build = ["cargo", "build", "--quiet", "--locked", "--workspace", "--bin", "rlhf-audit"]
    subprocess.run(build, cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "rlhf-audit"


def run(*args: object, timeout: float = 300, **more: object) -> subprocess.CompletedProcess[str]:
    """A command that ends; what it says is in the answer, whatever its exit code."""
    words = [str(arg) for arg in args]
    return subprocess.run(words, capture_output=True, text=True, timeout=timeout, **more)  # type: ignore[call-overload]


def load(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url: str, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def eventually(what: str, ready: Callable[[], bool], seconds: float = 60) -> None:
    """Waits until `ready` says so; a refused connection is a no."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            if ready():
                return
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.1)


class Process:
    """A server of this test's own, stopped by its own process id."""

    def __init__(self, args: list[object], log: Path, **more: object) -> None:
        self.log = log
        with log.open("wb") as out:
            self.child = subprocess.Popen(
                [str(arg) for arg in args],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                **more,  # type: ignore[call-overload]
            )

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def answers(self, url: str, seconds: float = 60) -> None:
        def ready() -> bool:
            if self.child.poll() is not None:
                raise AssertionError(f"{self.child.args} ended with {self.child.returncode}:\n{self.said()}")
            return get(url)[0] == 200

        eventually(f"{url} answers", ready, seconds)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.child.poll() is None:
            self.child.send_signal(how)
            try:
                self.child.wait(30)
            except subprocess.TimeoutExpired:
                self.child.kill()
        return self.child.wait()


@contextlib.contextmanager
def running(args: list[object], log: Path, **more: object) -> Iterator[Process]:
    process = Process(args, log, **more)
    try:
        yield process
    finally:
        process.stop()


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def parsed(text: str) -> dict:
    return json.loads(text)
