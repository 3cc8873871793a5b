"""deploy/compose/wait.sh, with a program in the place of rlhf-audit that says what a database would."""

import json
import os
import signal
import subprocess
import time

import pytest
from stack import ROOT, until

WAIT = ROOT / "deploy/compose/wait.sh"


@pytest.fixture
def start(tmp_path):
    """Starts wait.sh. `answer` is a script: what `rlhf-audit doctor database` does."""
    tools = tmp_path / "bin"
    tools.mkdir()
    running = []

    def run(needed, *command, answer, **environment):
        program = tools / "rlhf-audit"
        program.write_text(f'#!/bin/bash\n[ "$*" = "doctor database" ] || exit 99\n{answer}\n')
        program.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RLHF_AUDIT_")}
        environment = kept | environment | {"PATH": f"{tools}:{os.environ['PATH']}"}
        one = subprocess.Popen(
            ["bash", WAIT, needed, *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        running.append(one)
        return one

    yield run
    for one in running:
        one.kill()
        one.wait()


READY = 'echo "ok  database  answers in 0.4 ms and holds a ledger"'


def test_it_becomes_the_command_once_all_is_there(start):
    one = start("ledger", "bash", "-c", "echo $$ ran; exit 7", answer=READY)
    said, _ = one.communicate(timeout=10)
    assert said == f"{one.pid} ran\n"
    assert one.returncode == 7


def test_it_waits_for_a_file_that_a_variable_names(start, tmp_path):
    secret = tmp_path / "database-url"
    one = start("database", "echo", "ran", answer=READY, RLHF_AUDIT_DATABASE_URL_FILE=str(secret))
    line = json.loads(one.stderr.readline())
    assert str(secret) in line["message"] and line["level"] == "INFO"
    assert one.poll() is None
    secret.write_text("postgres://…")
    assert one.communicate(timeout=10)[0] == "ran\n"


def test_a_worker_waits_for_the_ledger_and_a_server_does_not(start):
    empty = 'echo "ok  database  answers in 0.4 ms and holds no ledger yet"'
    assert start("database", "echo", "ran", answer=empty).communicate(timeout=10)[0] == "ran\n"
    one = start("ledger", "echo", "ran", answer=empty)
    assert "holds no ledger yet" in json.loads(one.stderr.readline())["message"]
    time.sleep(1.5)
    assert one.poll() is None


def test_it_passes_on_what_is_wrong_with_the_advice(start):
    wrong = r"""printf 'unavailable  database  it does not answer: password for "audit" is\\wrong\n   do: see that the password is right\n'; exit 3"""
    one = start("database", "echo", "ran", answer=wrong)
    message = json.loads(one.stderr.readline())["message"]
    assert 'password for "audit" is\\wrong' in message
    assert "do: see that the password is right" in message


def test_it_goes_on_once_the_database_is_back(start, tmp_path):
    there = tmp_path / "there"
    one = start("database", "echo", "ran", answer=f"[ -e {there} ] || exit 3\n{READY}")
    one.stderr.readline()
    there.touch()
    assert one.communicate(timeout=10)[0] == "ran\n"


def test_it_stops_when_it_is_told_to(start):
    one = start("database", "echo", "ran", answer="exit 3")
    one.stderr.readline()
    one.send_signal(signal.SIGTERM)
    until("it has ended", 5, lambda: one.poll() is not None, every=0.05)
    assert one.returncode == 0 and one.stdout.read() == ""


def test_what_it_does_not_know_is_refused(start):
    one = start("weather", "echo", "ran", answer=READY)
    assert one.wait(timeout=10) == 2
    assert "expected database or ledger" in one.stderr.read()
