"""`log_annotations` and `log_rewards`: every sort, every form that columns have, and what is refused."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

import pytest

from rlhf_audit_trail import AuditableRLHF, Logged
from rlhf_audit_trail.errors import InputError

from .support import Server, is_pseudonym, leaks

PROMPTS = ["What is bread?", "And cake?"]
GOOD = ["Flour, water, salt, time.", "Eggs and sugar too."]
BAD = ["No.", "Ask a baker."]
PEOPLE = ["worker-17@example.org", "worker-18@example.org"]


def logged(server: Server, auditor: AuditableRLHF, **columns: Any) -> list[dict[str, Any]]:
    """Records annotations in a run of their own; gives the records as the log has them, in order."""
    with auditor.track_training("annotations") as run:
        found = auditor.log_annotations(**columns)
    by_name = {record["leaf_hash"]: record for record in server.records(run.id)}
    assert len(set(found.records)) == len(found.records)
    return [by_name[name] for name in found.records]


@pytest.mark.parametrize(
    ("columns", "kind", "body", "sealed"),
    [
        (
            {"chosen": GOOD, "rejected": BAD, "strengths": [0.5, 1]},
            "annotation.preference",
            {"choice": "a", "strength": 0.5},
            {"prompt", "response_a", "response_b"},
        ),
        (
            {"responses_a": GOOD, "responses_b": BAD, "choices": ["no_preference", "b"]},
            "annotation.preference",
            {"choice": "no_preference"},
            {"prompt", "response_a", "response_b"},
        ),
        (
            {"responses": GOOD, "ratings": [4, 2], "scale": (1, 5)},
            "annotation.rating",
            {"value": 4, "scale": {"min": 1, "max": 5}},
            {"prompt", "response"},
        ),
        ({"responses": GOOD, "rewards": [-7.25, 3]}, "annotation.rating", {"value": -7.25}, {"prompt", "response"}),
        (
            {"responses": [[*GOOD, "Hm."], BAD], "ranks": [[1, 2, 2], [2, 1]]},
            "annotation.ranking",
            {"ranks": [1, 2, 2]},
            {"prompt", "responses"},
        ),
        (
            {"corrections": GOOD, "responses": BAD},
            "annotation.correction",
            {},
            {"corrected", "original", "prompt"},
        ),
        (
            {"critiques": ["Too short.", "Rude."], "responses": BAD, "categories": "style", "targets": ["a", None]},
            "annotation.critique",
            {"category": "style", "target": "a"},
            {"critique", "prompt", "response"},
        ),
        ({"demonstrations": GOOD}, "annotation.demonstration", {}, {"prompt", "response"}),
    ],
)
def test_every_sort(
    shared: Server,
    auditor: AuditableRLHF,
    columns: dict[str, Any],
    kind: str,
    body: dict[str, Any],
    sealed: set[str],
) -> None:
    first, second = logged(shared, auditor, prompts=PROMPTS, **columns)
    assert (first["kind"], second["kind"]) == (kind, kind)
    assert set(first["sealed"]) == sealed
    item = first["body"].pop("item")
    assert first["body"] == body
    assert len(item) == 32
    assert item != second["body"]["item"]


def test_what_all_sorts_share(shared: Server, auditor: AuditableRLHF) -> None:
    when = datetime.datetime(2026, 11, 23, 8, tzinfo=datetime.timezone.utc)
    first, second = logged(
        shared,
        auditor,
        prompts=PROMPTS,
        chosen=GOOD,
        rejected=BAD,
        annotator_ids=PEOPLE,
        annotator_types=["expert", "model"],
        criterion="helpfulness",
        rationales=["It says how.", None],
        items=["item-1", "item-2"],
        at=[when, when.timestamp()],
        durations_ms=[1500, 20],
        dataset="pairs",
        rows=[7, 8],
    )
    pseudonym = first["body"].pop("annotator")
    assert is_pseudonym(pseudonym)
    assert pseudonym != second["body"]["annotator"]
    assert first["body"] == {
        "annotator_type": "expert",
        "at": "2026-11-23T08:00:00.000000Z",
        "choice": "a",
        "criterion": "helpfulness",
        "duration_ms": 1500,
        "item": "item-1",
        "source": {"dataset": "pairs", "row": 7},
    }
    assert second["body"]["at"] == first["body"]["at"]
    assert "rationale" in first["sealed"]
    assert "rationale" not in second["sealed"]
    assert {"annotator_id"} <= set(first["sealed"])


def test_a_person_has_one_name_in_a_run_and_another_in_the_next(shared: Server, auditor: AuditableRLHF) -> None:
    columns = {"responses": GOOD, "ratings": [1, 2], "annotator_ids": [17, 17]}
    first, second = logged(shared, auditor, **columns)
    third, _ = logged(shared, auditor, **columns)
    assert first["body"]["annotator"] == second["body"]["annotator"] != third["body"]["annotator"]


def test_nothing_personal_is_in_the_clear(server: Server, auditor_at: Any, tmp_path: Path) -> None:
    auditor = auditor_at(server)
    with auditor.track_training("private", description="the description"):
        auditor.log_annotations(
            prompts=PROMPTS, chosen=GOOD, rejected=BAD, annotator_ids=PEOPLE, rationales=["because", "of this"]
        )
        auditor.approve("release", reviewer="head@example.org", reason="looks fine")
    for text in (
        PROMPTS[0],
        GOOD[1],
        BAD[0],
        PEOPLE[0],
        "because",
        "looks fine",
        "head@example.org",
        "the description",
    ):
        assert leaks(server.data_dir, text) == []
    # Whoever may see them does.
    bundle = auditor.export_bundle(tmp_path / "open.bundle", openings=True).read_bytes()
    for text in (PROMPTS[0], GOOD[1], PEOPLE[0], "looks fine", "the description"):
        assert text.encode() in bundle
    assert PROMPTS[0].encode() not in auditor.export_bundle(tmp_path / "shut.bundle").read_bytes()
    report = server.verify()
    assert report["verdict"] == "verified"
    assert report["counts"]["opened"] == report["counts"]["commitments"] > 0


def _numpy() -> dict[str, Any]:
    numpy = pytest.importorskip("numpy")
    return {
        "prompts": numpy.array(PROMPTS),
        "responses": numpy.array(GOOD, dtype=object),
        "ratings": numpy.array([0.25, 0.5], dtype=numpy.float32),
        "annotator_ids": numpy.array([17, 18]),
    }


def _pandas() -> dict[str, Any]:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"prompt": PROMPTS, "response": GOOD, "rating": [0.25, 0.5], "annotator_id": [17, 18]})
    return {"data": table}


def _series() -> dict[str, Any]:
    pandas = pytest.importorskip("pandas")
    return {
        "prompts": pandas.Series(PROMPTS),
        "responses": pandas.Series(GOOD),
        "ratings": pandas.Series([0.25, 0.5]),
        "annotator_ids": pandas.Series([17, 18]),
    }


def _arrow() -> dict[str, Any]:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"prompts": PROMPTS, "responses": GOOD, "ratings": [0.25, 0.5], "annotator_ids": [17, 18]})
    return {"data": table}


def _torch() -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    return {
        "prompts": PROMPTS,
        "responses": GOOD,
        "ratings": torch.tensor([0.25, 0.5], dtype=torch.bfloat16),
        "annotator_ids": torch.tensor([17, 18]),
    }


def _datasets() -> dict[str, Any]:
    datasets = pytest.importorskip("datasets")
    rows = {"prompt": PROMPTS, "response": GOOD, "rating": [0.25, 0.5], "annotator_id": [17, 18]}
    return {"data": datasets.Dataset.from_dict(rows)}


def _rows() -> dict[str, Any]:
    columns = zip(PROMPTS, GOOD, [0.25, 0.5], [17, 18], strict=True)
    return {"data": [dict(zip(("prompt", "response", "rating", "annotator_id"), row, strict=True)) for row in columns]}


def _tuples() -> dict[str, Any]:
    return {
        "prompts": tuple(PROMPTS),
        "responses": iter(GOOD),
        "ratings": (0.25, 0.5),
        "annotator_ids": (str(number) for number in (17, 18)),
    }


@pytest.mark.parametrize("columns", [_numpy, _pandas, _series, _arrow, _torch, _datasets, _rows, _tuples])
def test_every_form_of_column(shared: Server, auditor: AuditableRLHF, columns: Any) -> None:
    first, second = logged(shared, auditor, **columns())
    assert (first["body"]["value"], second["body"]["value"]) == (0.25, 0.5)
    assert set(first["sealed"]) == {"annotator_id", "prompt", "response"}


def test_missing_values_are_those_of_pandas_and_arrow(shared: Server, auditor: AuditableRLHF) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        {"response": GOOD, "rating": [1.0, 2.0], "annotator_id": ["a", None], "durations_ms": [5, float("nan")]}
    )
    first, second = logged(shared, auditor, data=table)
    assert "annotator" in first["body"]
    assert "annotator" not in second["body"]
    assert first["body"]["duration_ms"] == 5
    assert "duration_ms" not in second["body"]


def test_conversations(shared: Server, auditor: AuditableRLHF) -> None:
    messages = [{"role": "user", "content": PROMPTS[0]}, {"role": "assistant", "content": "Ask."}]
    (first,) = logged(shared, auditor, prompts=[messages], chosen=[messages[1:]], rejected=["No."])
    assert set(first["sealed"]) == {"prompt", "response_a", "response_b"}


def test_rewards(shared: Server, auditor: AuditableRLHF) -> None:
    with auditor.track_training("rewards") as run:
        annotated = auditor.log_annotations(responses=GOOD, ratings=[1, 2])
        found = auditor.log_rewards(
            [0.5, -1.5],
            prompts=PROMPTS,
            responses=GOOD,
            items=annotated.items,
            components={"length": [1, 2], "style": (0.25, 0.75)},
            reward_model="rm-1",
            step=3,
        )
    assert found.items == annotated.items
    first, second = shared.records(run.id, "reward.scored")
    assert [first["leaf_hash"], second["leaf_hash"]] == found.records
    assert first["body"] == {
        "components": {"length": 1, "style": 0.25},
        "item": annotated.items[0],
        "reward": 0.5,
        "reward_model": "rm-1",
        "step": 3,
    }
    assert set(first["sealed"]) == {"prompt", "response"}


TWO = {"prompts": PROMPTS, "responses": GOOD}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"prompts": PROMPTS, "responses": GOOD[:1], "ratings": [1]},
            "lengths differ: responses has 1, prompts has 2",
        ),
        ({**TWO, "ratings": [1, 2, 3]}, "the lengths differ: responses has 2, ratings has 3"),
        ({**TWO, "ratings": [1, math.nan]}, "ratings[1]: expected a finite number, found NaN"),
        ({**TWO, "rewards": [math.inf, 1]}, "ratings[0]: expected a finite number, found infinity"),
        ({**TWO, "ratings": [1, "two"]}, "ratings[1]: expected a number, found str"),
        ({**TWO, "ratings": [1, 9], "scale": (1, 5)}, "ratings[1]: expected 1 to 5, the ends of the scale, found 9"),
        ({**TWO, "ratings": [1, 2], "scale": (5, 1)}, "scale: expected (lowest, highest)"),
        (
            {**TWO, "ratings": [1, 2], "annotator_types": ["human", "alien"]},
            '[1]: unknown annotator type "alien"; expected one of human, expert, crowd, user, model, rule',
        ),
        ({**TWO, "ratings": [1, 2], "annotator_ids": ["a", {}]}, "annotator_ids[1]: expected an annotator's id"),
        ({**TWO, "ratings": [1, 2], "annotator_ids": [True, 1]}, "annotator_ids[0]: expected an annotator's id"),
        ({**TWO, "ratings": [1, 2], "criterion": "a\nb"}, "annotations[0]: body.criterion: expected a text"),
        ({**TWO, "ratings": [1, 2], "durations_ms": [-1, 2]}, "durations_ms[0]: expected 0 or more, found -1"),
        ({**TWO, "ratings": [1, 2], "at": ["yesterday", 0]}, "at[0]: expected a time"),
        ({**TWO, "ratings": [1, 2], "rows": [1, 2]}, "rows: expected the name of the data set too"),
        ({"prompts": PROMPTS, "responses": [1, 2], "ratings": [1, 2]}, "responses[0]: expected a text or a list of"),
        ({"prompts": "one text", "responses": GOOD, "ratings": [1, 2]}, ""),
        (
            {"responses": "ab", "ratings": [1, 2]},
            "responses: expected a column: a list, an array or a series, found str",
        ),
        ({"responses": ["\ud800", "b"], "ratings": [1, 2]}, "responses[0]: expected a text, found half a surrogate"),
        ({"responses_a": GOOD, "responses_b": BAD}, "choices[0]: expected"),
        ({"responses_a": GOOD, "responses_b": BAD, "choices": ["a", "c"]}, 'choices[1]: expected "a", "b" or'),
        ({"responses": [GOOD, BAD], "ranks": [[1, 2], [1]]}, "the lengths differ: responses[1] has 2, ranks[1] has 1"),
        ({"responses": [["a"] * 257], "ranks": [[1] * 257]}, "annotations[0]: body.ranks: expected 2 to 256"),
        (TWO, "expected one of chosen, responses_a, ratings, rewards"),
        ({**TWO, "ratings": [1, 2], "ranks": [1, 2]}, "found ratings and ranks"),
        ({"data": {"response": GOOD, "rating": [1, 2], "colour": BAD}}, "found colour too"),
        ({"data": 3}, "data: expected a table"),
        (
            {"responses": ["x" * (1 << 20)], "ratings": [1]},
            "[0]: sealed.response: the value has 1048578 bytes",
        ),
    ],
)
def test_bad_input_says_what_and_where(auditor: AuditableRLHF, columns: dict[str, Any], words: str) -> None:
    with auditor.track_training("bad input") as run:
        if not words:
            # One prompt for all rows.
            assert len(auditor.log_annotations(**columns)) == 2
            return
        with pytest.raises(InputError) as raised:
            auditor.log_annotations(**columns)
        assert words in str(raised.value)
        # Nothing of it was taken, and the next is.
        assert len(run.log_annotations(responses=GOOD, ratings=[1, 2])) == 2
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rewards": [1, math.inf]}, "rewards[1]: expected a finite number, found infinity"),
        ({"rewards": [1, -math.inf]}, "rewards[1]: expected a finite number, found -infinity"),
        ({"rewards": [1, 2], "responses": ["a"]}, "the lengths differ: rewards has 2, responses has 1"),
        ({"rewards": [1, 2], "components": {"x": [1]}}, 'the lengths differ: rewards has 2, components["x"] has 1'),
        ({"rewards": 1.5}, "rewards: expected a column"),
        ({"rewards": [1], "step": -1}, "step: expected an integer, 0 or more"),
    ],
)
def test_bad_rewards(auditor: AuditableRLHF, arguments: dict[str, Any], words: str) -> None:
    with auditor.track_training("bad input"), pytest.raises(InputError) as raised:
        auditor.log_rewards(**arguments)
    assert words in str(raised.value)


def test_nothing_is_nothing(auditor: AuditableRLHF) -> None:
    with auditor.track_training("empty"):
        found = auditor.log_annotations(responses=[], ratings=[])
    assert isinstance(found, Logged)
    assert (len(found), found.records, found.items) == (0, [], [])
