"""What else is recorded: updates, metrics, saved models, evaluations, data sets, decisions; and what is read back."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest

from rlhf_audit_trail import AuditableRLHF
from rlhf_audit_trail.errors import FileError, InputError, ModelError, NoActiveRunError, NotFoundError

from .support import Server, command, is_pseudonym, until, verify


def only(server: Server, run: Any, kind: str) -> dict[str, Any]:
    (record,) = server.records(run.id, kind)
    return record


def test_an_update_names_what_it_consumed(shared: Server, auditor: AuditableRLHF) -> None:
    with auditor.track_training("updates") as run:
        first = run.log_annotations(responses=["a", "b"], ratings=[1, 2])
        scores = run.log_rewards([0.5])
        batch = {"input": ["a", "b", "c"], "label": [1, 0, None], "raw": b"\0", "more": (1.5, {"x": True})}
        name = auditor.track_policy_update(
            batch=batch,
            consumed=[first, *scores.records],
            step=7,
            loss=0.25,
            learning_rate=1e-6,
            gradient_norm=1.5,
            kl=0.01,
            entropy=2,
            epoch=0.5,
            reward_mean=0.75,
            reward_std=0.1,
            metrics={"rewards/margins": 0.5},
        )
        after = auditor.track_policy_update(loss=0.125)
    record, next_record = shared.records(run.id, "policy.updated")
    assert (record["leaf_hash"], next_record["leaf_hash"]) == (name, after)
    assert record["v"] == 2
    assert record["body"] == {
        "batch": {"members": [*first.records, *scores.records], "records": 3},
        "entropy": 2,
        "epoch": 0.5,
        "gradient_norm": 1.5,
        "kl": 0.01,
        "learning_rate": 1e-06,
        "loss": 0.25,
        "metrics": {"rewards/margins": 0.5},
        "reward_mean": 0.75,
        "reward_std": 0.1,
        "step": 7,
    }
    assert set(record["sealed"]) == {"batch_sha256"}
    assert (next_record["v"], next_record["body"]) == (1, {"loss": 0.125, "step": 8})


def test_many_consumed_records_go_into_an_attachment(server: Server, auditor_at: Any) -> None:
    auditor = auditor_at(server)
    with auditor.track_training("updates") as run:
        consumed = run.log_rewards([0.5] * 300)
        run.track_policy_update(consumed=consumed)
    record = only(server, run, "policy.updated")
    assert record["body"]["batch"] == {"records": 300}
    attached = record["attachments"]["batch"]
    text = server.get(f"/v1/attachments/{attached['sha256']}").decode()
    assert text.split() == consumed.records


def test_the_digest_of_a_batch_depends_on_its_values_alone() -> None:
    from rlhf_audit_trail import _batch

    batch = {"b": [1, 2.0, None], "a": {"x": "é", "y": b"\0"}}
    assert _batch.digest(batch) == _batch.digest({"a": {"y": b"\0", "x": "é"}, "b": (1, 2.0, None)})
    others = [
        {"b": [1, 2.0], "a": {"x": "é", "y": b"\0"}},
        {"b": [1, 2.0, None], "a": {"x": "é", "y": "\0"}},
        {},
        [],
        [[]],
    ]
    assert len({_batch.digest(other) for other in [batch, *others]}) == 6
    # The encoding is written down; this is what it gives.
    assert _batch.digest(["ab"]) == hashlib.sha256(b"l\1" + b"\0" * 7 + b"s\2" + b"\0" * 7 + b"ab").hexdigest()
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(6, dtype=numpy.float32).reshape(2, 3)
    assert _batch.digest(array) == _batch.digest(array.copy(order="F"))
    assert _batch.digest(array) != _batch.digest(array.reshape(3, 2)) != _batch.digest(array.astype("float64"))
    assert (_batch.rows({"input": array}), _batch.rows([1, 2]), _batch.rows(3)) == (2, 2, None)


def test_numbers_that_are_none(shared: Server, auditor_at: Any) -> None:
    careful = auditor_at(shared)
    with (
        careful.track_training("metrics"),
        pytest.raises(InputError, match="loss: expected a finite number, found nan at"),
    ):
        careful.track_policy_update(loss=math.nan)
    auditor = auditor_at(shared, on_error="warn")
    left_out = "kl: expected a finite number, found inf at step 0; it is left out"
    with auditor.track_training("metrics") as run, pytest.warns(match=left_out):
        auditor.track_policy_update(loss=1.5, kl=math.inf)
    assert only(shared, run, "policy.updated")["body"] == {"loss": 1.5, "step": 0}
    assert only(shared, run, "incident.reported")["body"] == {"detail": "kl-not-finite", "incident": "not-recorded"}


def test_metrics(shared: Server, auditor: AuditableRLHF) -> None:
    with auditor.track_training("metrics") as run:
        auditor.log_metrics({"objective/kl": 0.5, "lr": 1}, step=3, epoch=0.5, phase="train")
        auditor.log_metrics({f"m{i}": i for i in range(300)})
        assert auditor.log_metrics({}) is None
    first, *others = shared.records(run.id, "metric.logged")
    assert first["body"] == {"epoch": 0.5, "metrics": {"lr": 1, "objective/kl": 0.5}, "phase": "train", "step": 3}
    assert sum(len(record["body"]["metrics"]) for record in others) == 300


def test_evaluations(shared: Server, auditor: AuditableRLHF) -> None:
    with auditor.track_training("evaluation") as run:
        auditor.log_evaluation("win rate", {"win": 0.5}, dataset="held-out", model="step-3", samples=10, step=3)
        with pytest.raises(InputError, match="win: expected a number, found str"):
            auditor.log_evaluation("win rate", {"win": "often"})
    record = only(shared, run, "evaluation.completed")
    assert record["body"] == {
        "dataset": "held-out",
        "metrics": {"win": 0.5},
        "model": "step-3",
        "name": "win rate",
        "samples": 10,
        "step": 3,
    }


def test_a_moment_without_files(shared: Server, auditor: AuditableRLHF) -> None:
    with auditor.track_training("checkpoints") as run:
        auditor.checkpoint(epoch=3, metrics={"loss": 0.5})
    assert only(shared, run, "model.checkpoint")["body"] == {
        "epoch": 3,
        "files": [],
        "metrics": {"loss": 0.5},
        "name": "epoch-3",
    }


def test_a_saved_model(server: Server, auditor_at: Any, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-10"
    folder.mkdir()
    header = {"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(range(16)))
    (folder / "trainer_state.json").write_text('{"global_step": 10}')
    auditor = auditor_at(server)
    with auditor.track_training("checkpoints") as run:
        auditor.checkpoint(folder, step=10, metrics={"loss": 0.5}, parent="base", model=4)
        with pytest.raises(FileError):
            auditor.checkpoint(tmp_path / "nowhere")
    record = only(server, run, "model.checkpoint")
    assert record["body"]["name"] == "checkpoint-10"
    assert (record["body"]["step"], record["body"]["parent"], record["body"]["parameters"]) == (10, "base", 4)
    named = {file["name"]: file for file in record["body"]["files"]}
    assert set(named) == {"model.safetensors", "trainer_state.json"}
    for name, file in named.items():
        content = (folder / name).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    manifest = server.get(f"/v1/attachments/{record['attachments']['manifest']['sha256']}")
    assert hashlib.sha256(bytes(range(16))).hexdigest() in json.dumps(manifest)


def test_a_file_is_registered_as_it_is(shared: Server, auditor: AuditableRLHF, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"a": 1}\n')
    with auditor.track_training("data") as run:
        auditor.register_dataset(file, name="pairs", license="MIT", source="https://example.org", splits={"train": 1})
        (tmp_path / "more").mkdir()
        (tmp_path / "more" / "b.csv").write_text("b\n")
        (tmp_path / "more" / "a.csv").write_text("a\n")
        auditor.register_dataset(tmp_path / "more")
        with pytest.raises(FileError, match="cannot read"):
            auditor.register_dataset(tmp_path / "nowhere.csv")
        with pytest.raises(InputError, match="dataset: expected a path, several paths"):
            auditor.register_dataset(3)
    first, second = shared.records(run.id, "dataset.registered")
    assert first["body"] == {
        "bytes": 9,
        "format": "jsonl",
        "license": "MIT",
        "name": "pairs",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "source": "https://example.org",
        "splits": {"train": 1},
    }
    a, b = (hashlib.sha256(text).hexdigest() for text in (b"a\n", b"b\n"))
    assert second["body"]["sha256"] == hashlib.sha256(f"{a}  a.csv\n{b}  b.csv\n".encode()).hexdigest()
    assert [file["name"] for file in second["body"]["files"]] == ["a.csv", "b.csv"]
    assert (second["body"]["name"], second["body"]["format"], second["body"]["bytes"]) == ("more", "csv", 4)


def test_rows_have_digests_that_nobody_can_guess(server: Server, auditor_at: Any, tmp_path: Path) -> None:
    rows = [{"prompt": "a", "label": 1}, {"prompt": "é", "label": 0}]
    auditor = auditor_at(server)
    with auditor.track_training("data") as run:
        auditor.register_dataset(rows, name="pairs")
    record = only(server, run, "dataset.registered")
    assert (record["v"], record["body"]["format"], record["body"]["rows"]) == (2, "rows", 2)
    attached = record["attachments"]["rows"]
    digests = server.get(f"/v1/attachments/{attached['sha256']}")
    assert (len(digests), record["body"]["sha256"]) == (64, attached["sha256"])
    for row in rows:
        assert hashlib.sha256(json.dumps(row).encode()).digest() not in digests
    # Whoever is given the key finds each row.
    bundle = auditor.export_bundle(tmp_path / "open.bundle", openings=True).read_bytes()
    key = bytes.fromhex(bundle.split(b'"row_key":{')[1].split(b'"value":"')[1][:64].decode())
    canonical = b'{"label":0,"prompt":"\xc3\xa9"}'
    assert hmac.digest(key, b"row\0" + canonical, "sha256") == digests[32:]


def test_a_dataset_brings_what_it_knows_of_itself(shared: Server, auditor: AuditableRLHF) -> None:
    datasets = pytest.importorskip("datasets")
    info = datasets.DatasetInfo(dataset_name="pairs", license="mit", homepage="https://example.org/pairs")
    train = datasets.Dataset.from_dict({"prompt": ["a", "b", "c"]}, info=info, split="train")
    test = datasets.Dataset.from_dict({"prompt": ["d"]}, info=info, split="test")
    with auditor.track_training("data") as run:
        auditor.register_dataset(train)
        auditor.register_dataset(datasets.DatasetDict({"train": train, "test": test}), name="both")
        with pytest.raises(InputError, match="name: expected a name"):
            auditor.register_dataset(datasets.Dataset.from_dict({"a": [1]}))
    first, second = shared.records(run.id, "dataset.registered")
    body = first["body"]
    assert body["fingerprint"] == train._fingerprint
    assert (body["name"], body["license"], body["source"]) == ("pairs", "mit", "https://example.org/pairs")
    assert (body["rows"], body["splits"], body["bytes"]) == (3, {"train": 3}, 96)
    assert second["body"]["splits"] == {"test": 1, "train": 3}


def test_tables_and_odd_values(shared: Server, auditor: AuditableRLHF) -> None:
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    table = {"when": [pandas.Timestamp("2026-01-01")], "raw": [b"\0"], "score": [math.nan]}
    with auditor.track_training("data") as run:
        auditor.register_dataset(pandas.DataFrame(table), name="frame")
        auditor.register_dataset(pyarrow.table({"a": [1, 2]}), name="arrow")
    first, second = shared.records(run.id, "dataset.registered")
    assert (first["body"]["rows"], second["body"]["rows"]) == (1, 2)


def test_people_decide(shared: Server, auditor: AuditableRLHF) -> None:
    with auditor.track_training("oversight") as run:
        name = auditor.checkpoint(step=1)
        auditor.approve("step-1", reviewer="head@example.org", reason="looks fine", record=name, step=1)
        auditor.reject("step-2", reviewer="head@example.org")
        auditor.stop("the run", reason="reward hacking")
    approved = only(shared, run, "oversight.approved")
    assert is_pseudonym(approved["body"].pop("reviewer"))
    assert approved["body"] == {"record": name, "step": 1, "subject": "step-1"}
    assert set(approved["sealed"]) == {"reason", "reviewer_id"}
    assert only(shared, run, "oversight.rejected")["body"]["subject"] == "step-2"
    assert set(only(shared, run, "oversight.stopped")["sealed"]) == {"reason"}
    # After the run is sealed, in the ledger's own scope.
    auditor.approve("release 1.0", reviewer="head@example.org")
    auditor.flush()
    late = [record for record in shared.records(None, "oversight.approved") if record["body"]["run"] == run.id]
    assert [record["body"]["subject"] for record in late] == ["release 1.0"]


def test_outside_of_a_run(shared: Server, auditor: AuditableRLHF) -> None:
    with pytest.raises(NoActiveRunError, match="no run is open"):
        auditor.log_metrics({"a": 1})
    with pytest.raises(NoActiveRunError, match="there has been no run yet"):
        auditor.generate_model_card()
    with auditor.track_training("closed") as run:
        pass
    with pytest.raises(NoActiveRunError, match="ended"):
        run.log_metrics({"a": 1})
    with pytest.raises(NotFoundError):
        auditor.generate_model_card(run="no such run")


def test_models_without_parameters(auditor: AuditableRLHF) -> None:
    class Bare:
        def named_parameters(self) -> list[Any]:
            return []

    with auditor.track_training("models"):
        with pytest.raises(ModelError, match="model: Bare has no parameters"):
            auditor.track_policy_update(model=Bare())
        with pytest.raises(ModelError, match="expected a torch module"):
            auditor.track_policy_update(model=3)


def test_the_card_and_the_bundle(server: Server, auditor_at: Any, tmp_path: Path) -> None:
    auditor = auditor_at(server)
    with auditor.track_training(
        "safety", name="safety v2", config={"beta": 0.1, "nested": {"x": [1]}, "none": None}
    ) as run:
        auditor.log_annotations(prompts=["p"], chosen=["a"], rejected=["b"], annotator_ids="somebody")
        # While it is open the bundle says that it is.
        assert auditor.verify_provenance().verdict == "incomplete"
    assert "safety v2" in auditor.generate_model_card()
    assert auditor.generate_model_card("eu_standard") == auditor.generate_model_card("markdown")
    assert "<html" in auditor.generate_model_card("html", path=tmp_path / "card.html")
    assert (tmp_path / "card.html").read_text().startswith("<!")
    card = json.loads(auditor.generate_model_card("json", run="safety v2"))
    assert card["kinds"]["annotation.preference"]["value"] == 1
    unknown: Any = "pdf"
    with pytest.raises(InputError, match="format: expected one of eu_standard"):
        auditor.generate_model_card(unknown)

    bundle = auditor.export_bundle(tmp_path / "run.bundle")
    found = auditor.verify_provenance(policy=server.data_dir / "policy", bundle=bundle)
    assert found, found.text
    assert (found.verdict, found.run, found.pinned, found.failures) == ("verified", run.id, True, [])
    assert not auditor.verify_provenance().pinned
    issued = auditor.generate_model_card(issue=True, path=tmp_path / "card.md")
    assert server.records(None, "document.issued")[0]["body"]["run"] == run.id
    config = server.records(run.id, "run.started")[0]["body"]["config"]
    assert config == {"beta": 0.1, "nested.x": "[1]"}

    damaged = bytearray(bundle.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.bundle").write_bytes(damaged)
    forged = auditor.verify_provenance(bundle=tmp_path / "damaged.bundle")
    assert not forged
    assert forged.failures
    server.stop()
    report = verify(bundle, "--policy", server.data_dir / "policy")
    assert (report["verdict"], report["counts"]["records"]) == ("verified", found.records)
    verify(server.data_dir, "--document", tmp_path / "card.md")
    assert issued.startswith("---")


def test_receipts(server: Server, auditor_at: Any, tmp_path: Path) -> None:
    auditor = auditor_at(server)
    with auditor.track_training("receipts") as run:
        auditor.log_metrics({"a": 1})
        auditor.flush()
        receipts = until(run.receipts, "a receipt")
        assert receipts[-1].record in {record["leaf_hash"] for record in server.records(run.id)}
        assert receipts[-1].proof_file.is_file()
        assert receipts[-1].record_file.is_file()


def test_threads(server: Server, auditor_at: Any) -> None:
    auditor = auditor_at(server)
    with auditor.track_training("threads") as run:

        def work(number: int) -> None:
            for step in range(50):
                auditor.log_annotations(responses=["a"], ratings=[step], annotator_ids=[number])
                auditor.log_metrics({f"thread{number}": step})

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert server.kinds(run.id) == {"run.started": 1, "annotation.rating": 400, "metric.logged": 400, "run.sealed": 1}
    assert server.verify()["verdict"] == "verified"


def test_the_command_verifies_what_was_recorded(server: Server, auditor_at: Any, tmp_path: Path) -> None:
    auditor = auditor_at(server)
    with auditor.track_training("counts") as run:
        for step in range(20):
            logged = auditor.log_annotations(
                prompts=["p"] * 25, chosen=["a"] * 25, rejected=["b"] * 25, annotator_ids=list(range(25))
            )
            auditor.track_policy_update(step=step, batch=["a"], consumed=logged, loss=0.5)
    bundle = auditor.export_bundle(tmp_path / "run.bundle")
    assert server.kinds(run.id)["annotation.preference"] == 500
    report = verify(bundle, "--policy", server.data_dir / "policy")
    assert report["verdict"] == "verified"
    records = len(server.records(run.id))
    server.stop()
    assert command("run", "show", str(run.id), "--data-dir", server.data_dir)
    assert report["counts"]["commitments"] == 20 + 500 * 4
    assert report["counts"]["records"] >= records
