"""What must not be lost, doubled or in the way: dead trainers, dead servers, full disks, bad tokens, other logs."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlhf_audit_trail import AuditableRLHF, AuditWarning
from rlhf_audit_trail.errors import (
    AuditError,
    ClosedError,
    FlushTimeoutError,
    LockedError,
    NoActiveRunError,
    SpoolError,
    SpoolFullError,
    UnavailableError,
)

from .support import ADMIN, Server, environment, script, until, verify

TRAINER = """
    import sys
    from rlhf_audit_trail import AuditableRLHF

    auditor = AuditableRLHF("m", on_error="raise")
    run = auditor.track_training("exp", name="killed", resume=True).start()
    print(run.id, flush=True)
    for step in range(10**9):
        logged = auditor.log_annotations(prompts=["p"] * 10, responses=["r"] * 10, ratings=[step] * 10)
        auditor.track_policy_update(step=step, consumed=logged)
        print(step, flush=True)
"""


def settings(server: Server, tmp_path: Path) -> dict[str, str]:
    return {
        "RLHF_AUDIT_SERVER": server.url,
        "RLHF_AUDIT_TOKEN": ADMIN,
        "RLHF_AUDIT_SPOOL_DIR": str(tmp_path / "spool"),
    }


def killed_trainer(env: dict[str, str], steps: int) -> tuple[str, int]:
    """Kills a trainer in its work; gives the run and the last step that it was told was taken."""
    trainer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(TRAINER)], env=environment(**env), stdout=subprocess.PIPE, text=True
    )
    assert trainer.stdout is not None
    run = trainer.stdout.readline().strip()
    for line in trainer.stdout:
        if int(line) >= steps:
            break
    trainer.kill()
    rest = trainer.stdout.read().split()
    trainer.wait()
    return run, int(rest[-1]) if rest else int(line)


def test_a_killed_trainer_loses_nothing(server: Server, tmp_path: Path) -> None:
    env = settings(server, tmp_path)
    run, first = killed_trainer(env, 30)
    # Twice, and the second time without a server.
    server.stop(signal.SIGKILL)
    again, second = killed_trainer(env, 20)
    assert again == run
    server.start()
    done = script(
        """
        from rlhf_audit_trail import AuditableRLHF
        auditor = AuditableRLHF("m", on_error="raise")
        with auditor.track_training("exp", name="killed", resume=True) as run:
            pass
        print(run.id)
        """,
        **env,
    )
    assert done.stdout.strip() == run
    assert server.run(run)["status"] == "completed"
    updates = server.records(run, "policy.updated")
    steps = [record["body"]["step"] for record in updates]
    # What was said to be taken is there, once; what was on its way may be.
    assert steps[: first + 1] == list(range(first + 1))
    rest = steps[first + 1 :]
    if rest and rest[0] != 0:
        rest = rest[1:]
    assert rest[: second + 1] == list(range(second + 1))
    assert len(rest) <= second + 2
    annotations = {record["leaf_hash"] for record in server.records(run, "annotation.rating")}
    assert len(annotations) in range(10 * len(updates), 10 * len(updates) + 21)
    for record in updates:
        assert set(record["body"]["batch"]["members"]) <= annotations
    assert server.verify()["verdict"] == "verified"


def test_a_server_that_is_down_is_waited_for(server: Server, auditor_at: Any) -> None:
    server.stop(signal.SIGKILL)
    auditor = auditor_at(server)
    run = auditor.track_training("exp").start()
    for step in range(100):
        auditor.log_metrics({"a": step})
    with pytest.raises(FlushTimeoutError, match="records still wait in the spool after"):
        auditor.flush(timeout=0.2)
    status = auditor.status()
    assert status.waiting_records >= 101
    assert status.last_error is not None
    with pytest.raises(UnavailableError, match="did not answer"):
        auditor.place.reads.run(str(run.id))
    server.start()
    auditor.flush(timeout=60)
    server.stop(signal.SIGKILL)
    for step in range(100):
        auditor.log_metrics({"b": step})
    server.start()
    run.finish(timeout=60)
    assert server.kinds(run.id) == {"run.started": 1, "metric.logged": 200, "run.sealed": 1}
    assert auditor.status().waiting_records == 0
    assert server.verify()["verdict"] == "verified"


def test_a_run_that_ends_without_a_server_is_sealed_later(server: Server, auditor_at: Any, tmp_path: Path) -> None:
    server.stop()
    auditor = auditor_at(server, on_error="warn", flush_timeout=0.2)
    later = "the run is sealed once the ledger takes them"
    with pytest.warns(AuditWarning, match=later), auditor.track_training("exp") as run:
        auditor.log_metrics({"a": 1})
    with contextlib.suppress(AuditError):
        auditor.close(timeout=0.1)
    server.start()
    again = auditor_at(server)
    again.flush(timeout=60)
    until(lambda: server.run(run.id)["status"] == "completed", "the seal")
    assert server.kinds(run.id) == {"run.started": 1, "metric.logged": 1, "run.sealed": 1}


def test_a_full_spool_fails_loudly(server: Server, auditor_at: Any) -> None:
    server.stop()
    auditor = auditor_at(server, on_full="fail", spool_limit_bytes=1 << 20)
    run = auditor.track_training("exp").start()
    taken = 0
    with pytest.raises(SpoolFullError, match="is full") as raised:
        while True:
            run.log_annotations(responses=["x" * 10_000] * 10, ratings=[1] * 10)
            taken += 10
    assert isinstance(raised.value, OSError)
    assert taken > 50
    server.start()
    auditor.flush(timeout=60)
    # There is room again, and nothing of what was refused was taken.
    run.log_metrics({"a": 1})
    run.finish()
    assert server.kinds(run.id)["annotation.rating"] == taken


def test_a_full_spool_that_blocks_goes_on(server: Server, auditor_at: Any) -> None:
    auditor = auditor_at(server, on_full="block", full_timeout=60, spool_limit_bytes=1 << 20)
    with auditor.track_training("exp") as run:
        for _ in range(30):
            run.log_annotations(responses=["x" * 10_000] * 10, ratings=[1] * 10)
    assert server.kinds(run.id)["annotation.rating"] == 300


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk(server: Server, auditor_at: Any, small_disk: Path) -> None:
    server.stop()
    auditor = auditor_at(server, spool_dir=small_disk / "spool", on_error="warn")
    careful = auditor_at(server, spool_dir=small_disk / "spool", on_error="raise", producer="careful")
    run = auditor.track_training("exp").start()
    other = careful.track_training("other").start()
    taken = 0
    with pytest.raises(SpoolError, match=r"cannot .*spool.*No space left on device.*make room and try again"):
        while True:
            other.log_annotations(responses=["x" * 10_000] * 10, ratings=[1] * 10)
            taken += 10
    # By default training goes on.
    with pytest.warns(AuditWarning, match="No space left"):
        for _ in range(20):
            run.log_annotations(responses=["x" * 10_000] * 10, ratings=[1] * 10)
    server.start()
    careful.flush(timeout=60)
    other.log_metrics({"after": 1})
    other.finish()
    assert server.kinds(other.id)["annotation.rating"] == taken
    run.finish()


def test_a_token_that_expires(server: Server, auditor_at: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token, name = server.token()
    file = tmp_path / "token"
    file.write_text(token)
    monkeypatch.setenv("RLHF_AUDIT_SERVER", server.url)
    monkeypatch.setenv("RLHF_AUDIT_TOKEN_FILE", str(file))
    auditor = AuditableRLHF("m", spool_dir=tmp_path / "spool", on_error="raise")
    run = auditor.track_training("exp").start()
    run.log_metrics({"a": 1})
    auditor.flush()
    server.delete(f"/v1/tokens/{name}")
    run.log_metrics({"a": 2})
    with pytest.raises(FlushTimeoutError, match="this token is unknown, has expired or was revoked"):
        auditor.flush(timeout=2)
    # Whoever renews tokens writes the file; nothing else has to happen.
    file.write_text(ADMIN)
    run.finish(timeout=60)
    auditor.close()
    assert server.kinds(run.id) == {"run.started": 1, "metric.logged": 2, "run.sealed": 1}


def test_another_token_by_hand(server: Server, auditor_at: Any) -> None:
    token, name = server.token()
    auditor = auditor_at(server, token=token)
    run = auditor.track_training("exp").start()
    auditor.flush()
    server.delete(f"/v1/tokens/{name}")
    run.log_metrics({"a": 1})
    auditor.set_token(ADMIN)
    run.finish(timeout=60)
    assert server.kinds(run.id)["metric.logged"] == 1


def test_another_log_behind_the_address(server: Server, auditor_at: Any, tmp_path: Path) -> None:
    auditor = auditor_at(server, on_error="warn", flush_timeout=5)
    with pytest.warns(AuditWarning) as warned, auditor.track_training("exp") as run:
        auditor.log_metrics({"a": 1})
        auditor.flush()
        until(lambda: server.get("/health")["published_size"] > 0, "a checkpoint")
        server.stop()
        shutil.move(server.data_dir, tmp_path / "the-first")
        server.start()
        for step in range(10):
            auditor.log_metrics({"b": step})
    assert any("finish" in str(warning.message) for warning in warned)
    status = auditor.status()
    assert status.contradiction or status.incidents or status.last_error
    # The first log is as it was, and the second was given nothing of that run's middle.
    assert verify(tmp_path / "the-first", "--policy", tmp_path / "the-first" / "policy")["verdict"] == "verified"
    assert all(found["run"] != run.id or found["status"] != "completed" for found in server.runs())


def test_a_closed_auditor(server: Server, auditor_at: Any) -> None:
    auditor = auditor_at(server)
    run = auditor.track_training("exp").start()
    auditor.close()
    auditor.close()
    with pytest.raises(NoActiveRunError, match="is ended"):
        run.log_metrics({"a": 1})
    with pytest.raises(ClosedError, match="the auditor is closed: make another"):
        auditor.track_training("exp").start()


def test_a_ledger_in_this_process(tmp_path: Path) -> None:
    data_dir = tmp_path / "audit-data"
    auditor = AuditableRLHF("m", data_dir=data_dir, on_error="raise")
    with auditor.track_training("exp", name="local") as run:
        logged = auditor.log_annotations(prompts=["p"], chosen=["a"], rejected=["b"], annotator_ids=["x"])
        auditor.track_policy_update(batch=["p"], consumed=logged, loss=1)
        # No other process gets in, and it is told what to do.
        done = script(
            """
            import sys
            from rlhf_audit_trail import AuditableRLHF, errors
            try:
                AuditableRLHF("m", data_dir=sys.argv[1])
            except errors.LockedError as error:
                print(error)
            """,
            str(data_dir),
        )
        assert "rlhf-audit serve --data-dir" in done.stdout
        assert f"(pid {os.getpid()})" in done.stdout
    assert auditor.verify_provenance(policy=data_dir / "policy")
    assert "local" in auditor.generate_model_card()
    auditor.close()
    report = verify(data_dir, "--policy", data_dir / "policy", "--openings")
    assert (report["verdict"], report["counts"]["sealed_runs"]) == ("verified", 1)
    # And again.
    with AuditableRLHF("m", data_dir=data_dir, on_error="raise") as again:
        with again.track_training("exp", name="local"):
            pass
        assert again.verify_provenance(run=run.id)
    assert verify(data_dir, "--policy", data_dir / "policy")["counts"]["sealed_runs"] == 2


def test_a_killed_trainer_with_a_ledger_of_its_own(tmp_path: Path) -> None:
    env = {"RLHF_AUDIT_DATA_DIR": str(tmp_path / "audit-data")}
    run, last = killed_trainer(env, 20)
    auditor = AuditableRLHF("m", data_dir=tmp_path / "audit-data", on_error="raise")
    with auditor.track_training("exp", name="killed", resume=True) as again:
        pass
    assert again.id == run
    assert auditor.verify_provenance()
    auditor.close()
    server = Server(tmp_path)
    assert server.kinds(run)["policy.updated"] in (last + 1, last + 2)
    server.stop()


def test_a_fork_with_a_ledger_in_the_process(tmp_path: Path) -> None:
    code = """
        import os, sys
        from rlhf_audit_trail import AuditableRLHF

        auditor = AuditableRLHF("m", data_dir=sys.argv[1], on_error="raise")
        with auditor.track_training("fork") as run:
            child = os.fork()
            if child == 0:
                auditor.log_metrics({"child": 1})
                auditor.flush(30)
                sys.exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            auditor.log_metrics({"parent": 1})
        assert auditor.verify_provenance()
        print(run.id)
    """
    done = script(code, str(tmp_path / "audit-data"))
    server = Server(tmp_path)
    assert server.kinds(done.stdout.split()[-1])["metric.logged"] == 2
    assert server.verify()["verdict"] == "verified"


def test_a_locked_directory_is_an_exception_of_its_own(tmp_path: Path) -> None:
    server = Server(tmp_path)
    with pytest.raises(LockedError, match="rlhf-audit serve"):
        AuditableRLHF("m", data_dir=server.data_dir)
    server.stop()
    AuditableRLHF("m", data_dir=server.data_dir).close()
