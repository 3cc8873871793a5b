"""How runs begin and end: `with`, failure, interruption, tasks, notebooks, resuming, ranks."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from rlhf_audit_trail import AuditableRLHF, AuditWarning
from rlhf_audit_trail.errors import AuthenticationError, ClosedError, InputError, NoActiveRunError, RefusedError

from .support import ADMIN, DEADLINE, Server, environment, script


def status(server: Server, run: Any) -> str:
    return str(server.run(run.id)["status"])


def test_a_run_is_sealed_when_it_is_left(shared: Server, auditor: AuditableRLHF) -> None:
    with auditor.track_training("exp", name="first", description="why it is done") as run:
        assert auditor.run is run
        auditor.flush()
        assert status(shared, run) == "open"
    assert auditor.run is None
    assert status(shared, run) == "completed"
    (started,) = shared.records(run.id, "run.started")
    assert (started["body"]["name"], started["body"]["experiment"]) == ("first", "exp")
    assert started["body"]["model"] == "tiny-gpt"
    assert set(started["sealed"]) == {"description"}
    (opened,) = shared.records(run.id, "stream.opened")
    assert opened["stream"] == "rank0"
    assert opened["body"]["producer"] == "rlhf-audit-trail"
    assert opened["body"]["software"].startswith("rlhf-audit-trail 0.")


def test_a_failure_is_sealed_with_its_reason(server: Server, auditor_at: Any, tmp_path: Path) -> None:
    auditor = auditor_at(server)
    with pytest.raises(ZeroDivisionError), auditor.track_training("exp") as run:
        _ = 1 // 0
    assert status(server, run) == "failed"
    (incident,) = server.records(run.id, "incident.reported")
    assert incident["body"] == {"incident": "run-failed"}
    bundle = auditor.export_bundle(tmp_path / "open.bundle", openings=True)
    assert b"ZeroDivisionError: integer division or modulo by zero" in bundle.read_bytes()


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (KeyboardInterrupt(), "aborted"),
        (SystemExit(0), "completed"),
        (SystemExit(3), "failed"),
        (asyncio.CancelledError(), "aborted"),
    ],
)
def test_other_endings(shared: Server, auditor: AuditableRLHF, ending: BaseException, expected: str) -> None:
    with pytest.raises(type(ending)), auditor.track_training("exp") as run:
        raise ending
    assert status(shared, run) == expected


def test_tasks_have_runs_of_their_own(shared: Server, auditor: AuditableRLHF) -> None:
    async def train(name: str, go: asyncio.Event, ready: asyncio.Event) -> Any:
        async with auditor.track_training("exp", name=name) as run:
            ready.set()
            await go.wait()
            auditor.log_metrics({name: 1})
        return run

    async def both() -> list[Any]:
        events = [asyncio.Event() for _ in range(4)]
        first = asyncio.create_task(train("one", events[0], events[1]))
        second = asyncio.create_task(train("two", events[2], events[3]))
        await events[1].wait()
        await events[3].wait()
        events[0].set()
        events[2].set()
        return [await first, await second]

    for run, name in zip(asyncio.run(both()), ("one", "two"), strict=True):
        (record,) = shared.records(run.id, "metric.logged")
        assert record["body"]["metrics"] == {name: 1}
        assert status(shared, run) == "completed"


def test_a_task_that_fails(shared: Server, auditor: AuditableRLHF) -> None:
    async def train() -> None:
        async with auditor.track_training("exp", name="failing task"):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        asyncio.run(train())
    assert shared.run("failing%20task")["status"] == "failed"


def test_without_with(shared: Server, auditor: AuditableRLHF) -> None:
    run = auditor.track_training("notebook").start()
    with pytest.raises(ClosedError, match="was started before"):
        run.start()
    auditor.log_metrics({"a": 1})
    run.finish("aborted")
    run.finish()
    assert status(shared, run) == "aborted"


def test_a_cell_that_is_run_again(tmp_path: Path) -> None:
    def cell() -> tuple[AuditableRLHF, Any]:
        auditor = AuditableRLHF("m", data_dir=tmp_path / "audit-data", on_error="raise")
        run = auditor.track_training("notebook").start()
        auditor.log_metrics({"a": 1})
        return auditor, run

    auditor, first = cell()
    auditor, second = cell()
    assert first.id != second.id
    second.finish()
    assert auditor.verify_provenance(run=second.id)
    # The first is open still; both auditors can be closed.
    first.finish()
    first._auditor.close()
    auditor.close()


def test_arguments_that_do_not_go_together(auditor: AuditableRLHF) -> None:
    with pytest.raises(InputError, match="experiment_name"):
        auditor.track_training("")
    with pytest.raises(InputError, match="expected name= too"):
        auditor.track_training("a", resume=True)
    with pytest.raises(InputError, match="join and resume"):
        auditor.track_training("a", resume="x", join="y")
    with pytest.raises(InputError, match="expected a run's id"), auditor.track_training("a", join="y"):
        pass
    with pytest.raises(InputError, match=r"run: body\.experiment: expected a text"), auditor.track_training("a\nb"):
        pass


def test_resuming_with_other_ranks(server: Server, auditor_at: Any) -> None:
    """A run of two ranks is preempted, and taken up by three."""
    first = [auditor_at(server, rank=rank) for rank in (0, 1)]
    run = first[0].track_training("exp", name="long").start()
    other = first[1].track_training("exp", name="long", join=run.id).start()
    run.log_metrics({"a": 1})
    other.log_metrics({"a": 1})
    # Preempted: nobody seals.
    for auditor in first:
        auditor.close()
    assert server.run(run.id)["status"] == "open"

    second = [auditor_at(server, rank=rank) for rank in (0, 1, 2)]
    runs = [second[0].track_training("exp", name="long", resume=True).start()]
    runs += [auditor.track_training("exp", name="long", resume=runs[0].id).start() for auditor in second[1:]]
    assert {resumed.id for resumed in runs} == {run.id}
    for number, resumed in enumerate(runs):
        resumed.log_metrics({"b": number})
    for resumed in reversed(runs):
        resumed.finish()
    assert server.run(run.id)["status"] == "completed"
    assert server.kinds(run.id) == {"run.started": 1, "metric.logged": 5, "run.sealed": 1}
    assert {record["stream"] for record in server.records(run.id)} >= {"rank0", "rank1", "rank2"}
    # Sealed, it is no longer found: the next of that name is another.
    with second[0].track_training("exp", name="long", resume=True) as again:
        pass
    assert again.id != run.id
    assert server.verify()["verdict"] == "verified"


def test_resuming_by_name_and_what_is_sealed(server: Server, auditor_at: Any) -> None:
    auditor = auditor_at(server)
    run = auditor.track_training("exp", name="by name").start()
    run.log_metrics({"a": 1})
    auditor.close()
    auditor = auditor_at(server)
    with auditor.track_training("exp", resume="by name") as again:
        again.log_metrics({"a": 2})
    assert again.id == run.id
    # Sealed is sealed.
    with pytest.raises((ClosedError, RefusedError)), auditor.track_training("exp", resume=run.id) as late:
        late.log_metrics({"a": 3})
        auditor.flush()


def test_a_forked_process_has_a_stream_of_its_own(server: Server, auditor_at: Any) -> None:
    auditor = auditor_at(server)
    with auditor.track_training("fork") as run:
        run.log_metrics({"parent": 1})
        child = os.fork()
        if child == 0:
            # Whatever happens, the tests go on in the parent alone.
            try:
                run.log_metrics({"child": 1})
                run.log_annotations(responses=["a"], ratings=[1])
                auditor.flush(30)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        run.log_metrics({"parent": 2})
    assert server.kinds(run.id) == {
        "run.started": 1,
        "metric.logged": 3,
        "annotation.rating": 1,
        "run.sealed": 1,
    }
    assert len({record["stream"] for record in server.records(run.id)}) == 2
    assert server.verify()["verdict"] == "verified"


WORKERS = """
    import multiprocessing, sys
    from rlhf_audit_trail import AuditableRLHF

    auditor = AuditableRLHF("m", on_error="raise")

    def work(number):
        auditor.log_metrics({"worker": number})

    with auditor.track_training("workers") as run:
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=work, args=(number,)) for number in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        auditor.log_metrics({"parent": 1})
    print(run.id)
"""


def test_workers_of_multiprocessing(server: Server, tmp_path: Path) -> None:
    done = script(
        WORKERS, RLHF_AUDIT_SERVER=server.url, RLHF_AUDIT_TOKEN=ADMIN, RLHF_AUDIT_SPOOL_DIR=str(tmp_path / "spool")
    )
    assert server.kinds(done.stdout.strip())["metric.logged"] == 5
    assert server.verify()["verdict"] == "verified"


def test_a_forked_process_that_leaves_the_block_does_not_seal(server: Server, tmp_path: Path) -> None:
    code = """
        import os, sys
        from rlhf_audit_trail import AuditableRLHF

        auditor = AuditableRLHF("m", on_error="raise")
        with auditor.track_training("fork") as run:
            child = os.fork()
            if child == 0:
                auditor.log_metrics({"child": 1})
                sys.exit(3)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
            auditor.log_metrics({"parent": 1})
        print(run.id)
    """
    done = script(
        code, RLHF_AUDIT_SERVER=server.url, RLHF_AUDIT_TOKEN=ADMIN, RLHF_AUDIT_SPOOL_DIR=str(tmp_path / "spool")
    )
    run = done.stdout.split()[-1]
    assert server.run(run)["status"] == "completed"
    assert server.kinds(run)["metric.logged"] == 2


def test_the_end_of_the_interpreter_sends_what_is_left(server: Server, tmp_path: Path) -> None:
    code = """
        from rlhf_audit_trail import AuditableRLHF

        run = AuditableRLHF("m").track_training("exp").start()
        run.log_metrics({"a": 1})
        print(run.id)
    """
    spool = str(tmp_path / "spool")
    done = script(code, RLHF_AUDIT_SERVER=server.url, RLHF_AUDIT_TOKEN=ADMIN, RLHF_AUDIT_SPOOL_DIR=spool)
    run = done.stdout.strip()
    assert server.kinds(run) == {"run.started": 1, "metric.logged": 1}
    # Nobody ended it, so it can be resumed.
    assert server.run(run)["status"] == "open"


def test_settings_of_the_environment(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLHF_AUDIT_SERVER", server.url)
    (tmp_path / "token").write_text(f"{ADMIN}\n")
    monkeypatch.setenv("RLHF_AUDIT_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("RANK", "5")
    auditor = AuditableRLHF("m", on_error="raise")
    with auditor.track_training("exp") as run:
        pass
    auditor.flush()
    auditor.close()
    assert {record["stream"] for record in server.records(run.id)} == {"rank5"}
    (spool,) = (tmp_path / "state" / "rlhf-audit" / "spool").iterdir()
    assert spool.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"server": "http://a", "data_dir": "b"}, "server and data_dir are both given"),
        ({"data_dir": "b", "token": "t"}, "token is given and no server"),
        ({"server": "localhost:8000"}, "is not the address of a ledger"),
        ({"server": "http://a", "durability": "none"}, 'durability: expected "process" or "fsync", found "none"'),
        ({"server": "http://a", "on_full": "drop"}, 'on_full: expected "block" or "fail", found "drop"'),
        ({"server": "http://a", "on_error": "ignore"}, 'on_error: expected "warn" or "raise"'),
        ({"server": "http://a", "full_timeout": -1.0}, "full_timeout: expected seconds"),
        ({"server": "http://a", "producer": "a b"}, "producer: expected"),
    ],
)
def test_bad_settings(tmp_path: Path, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as raised:
        AuditableRLHF("m", spool_dir=tmp_path / "spool", **arguments)
    assert words in str(raised.value)


def test_a_readers_token_reads_and_a_producers_does_not(server: Server, auditor_at: Any) -> None:
    token, _ = server.token("producer")
    auditor = auditor_at(server, token=token)
    with auditor.track_training("exp") as run:
        auditor.log_metrics({"a": 1})
    assert server.run(run.id)["status"] == "completed"
    with pytest.raises(AuthenticationError) as raised:
        auditor.generate_model_card()
    assert (raised.value.status, raised.value.code) == (403, "forbidden")
    assert "it takes reader, auditor or admin" in str(raised.value)


def test_what_cannot_begin_does_not_stop_training(server: Server, auditor_at: Any) -> None:
    auditor = auditor_at(server, on_error="warn")
    with pytest.warns(AuditWarning, match="track_training"):
        run = auditor.track_training("a\nb").start()
    assert run.id is None
    # Said once: the rest is silence.
    assert len(auditor.log_annotations(responses=["a"], ratings=[1])) == 0
    assert auditor.track_policy_update(loss=1) is None
    run.finish()


def test_warned_of_once_and_counted(server: Server, auditor_at: Any, tmp_path: Path) -> None:
    auditor = auditor_at(server, on_error="warn")
    with auditor.track_training("exp") as run:
        with pytest.warns(AuditWarning) as warned:
            for _ in range(5):
                assert len(auditor.log_annotations(responses=["a"], ratings=[float("nan")])) == 0
        (warning,) = warned
        assert "log_annotations: ratings[0]: expected a finite number, found NaN" in str(warning.message)
        # It points at the line that called.
        assert warning.filename == __file__
    incidents = server.records(run.id, "incident.reported")
    assert [record["body"]["detail"] for record in incidents] == ["log-annotations"] * 2
    bundle = auditor.export_bundle(tmp_path / "open.bundle", openings=True).read_bytes()
    assert b"log_annotations: 5 calls in all" in bundle


def test_importing_is_quick_and_brings_no_big_library() -> None:
    code = """
        import sys, time
        began = time.perf_counter()
        import rlhf_audit_trail
        took = time.perf_counter() - began
        big = {"torch", "numpy", "pandas", "pyarrow", "datasets", "multiprocessing"} & set(sys.modules)
        assert not big, big
        print(took)
    """
    # Not a measurement: that is `benchmarks/bench_sdk.py`. But tenfold would be a mistake.
    assert float(script(code).stdout) < 3.0


def test_no_current_run_is_no_state_of_others(shared: Server, auditor: AuditableRLHF) -> None:
    with auditor.track_training("outer") as outer:
        with auditor.track_training("inner"):
            auditor.log_metrics({"inner": 1})
        auditor.log_metrics({"outer": 1})
    (record,) = shared.records(outer.id, "metric.logged")
    assert record["body"]["metrics"] == {"outer": 1}
    with pytest.raises(NoActiveRunError):
        auditor.log_metrics({"a": 1})


RANK = """
    import os, sys
    import torch.distributed as distributed
    from rlhf_audit_trail import AuditableRLHF

    distributed.init_process_group("gloo")
    auditor = AuditableRLHF("m", on_error="raise")
    with auditor.track_training("ranks", distributed=True) as run:
        for step in range(20):
            auditor.log_metrics({"rank": auditor.rank}, step=step)
    print(run.id, flush=True)
    distributed.destroy_process_group()
"""


def test_ranks_of_torch(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed: ranks are tested where it is")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    ranks = []
    for rank in range(3):
        env = environment(
            RLHF_AUDIT_SERVER=server.url,
            RLHF_AUDIT_TOKEN=ADMIN,
            RLHF_AUDIT_SPOOL_DIR=str(tmp_path / f"spool{rank % 2}"),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
            WORLD_SIZE="3",
            RANK=str(rank),
        )
        code = textwrap.dedent(RANK)
        ranks.append(subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True))
    runs = {rank.communicate(timeout=DEADLINE)[0].strip() for rank in ranks}
    assert [rank.returncode for rank in ranks] == [0, 0, 0]
    (run,) = runs
    assert server.run(run)["status"] == "completed"
    assert server.kinds(run) == {"run.started": 1, "metric.logged": 60, "run.sealed": 1}
    assert {record["stream"] for record in server.records(run)} == {"rank0", "rank1", "rank2"}
    assert server.verify()["verdict"] == "verified"


def test_interrupting_what_waits(server: Server, tmp_path: Path) -> None:
    code = """
        import signal, sys, time
        from rlhf_audit_trail import AuditableRLHF

        auditor = AuditableRLHF("m", on_error="raise", server="http://127.0.0.1:9", token="t")
        auditor.track_training("exp").start()
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.alarm(1)
        began = time.monotonic()
        try:
            auditor.flush(timeout=600)
        except KeyboardInterrupt:
            print(time.monotonic() - began)
        import rlhf_audit_trail._place as place
        place.EXIT_TIMEOUT = 0.1
    """
    assert float(script(code, RLHF_AUDIT_SPOOL_DIR=str(tmp_path / "spool")).stdout) < 30
