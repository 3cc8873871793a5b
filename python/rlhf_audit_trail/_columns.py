"""Which sort of annotation some columns are, and tables as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import InputError

#: What says of which sort an annotation is, by the column that no other sort has.
_TELLING = {
    "chosen": "preference",
    "responses_a": "preference",
    "ratings": "rating",
    "rewards": "rating",
    "ranks": "ranking",
    "corrections": "correction",
    "critiques": "critique",
    "demonstrations": "demonstration",
}
#: What the columns of tables are called elsewhere.
_ALIASES = {
    "prompt": "prompts",
    "response": "responses",
    "completion": "responses",
    "reward": "rewards",
    "rating": "ratings",
    "response_a": "responses_a",
    "response_b": "responses_b",
    "choice": "choices",
    "annotator": "annotator_ids",
    "annotator_id": "annotator_ids",
    "annotator_type": "annotator_types",
    "correction": "corrections",
    "critique": "critiques",
    "category": "categories",
    "demonstration": "demonstrations",
    "rationale": "rationales",
    "item": "items",
}


def sort(columns: dict[str, Any]) -> str:
    """The sort of annotation; the columns are brought into the form that the native half knows."""
    told = [name for name in _TELLING if columns[name] is not None]
    if len(told) != 1:
        raise InputError(
            f"expected one of {', '.join(_TELLING)}, which says what sort of annotation it is, found "
            f"{' and '.join(told) or 'none'}"
        )
    if told[0] == "chosen":
        columns["responses_a"], columns["responses_b"] = columns["chosen"], columns["rejected"]
        columns["choices"] = "a"
    elif told[0] == "rewards":
        columns["ratings"] = columns["rewards"]
    elif told[0] == "demonstrations":
        columns["responses"] = columns["demonstrations"]
    return _TELLING[told[0]]


def add_table(columns: dict[str, Any], table: Any) -> None:
    """Takes the columns of a table, which must all be known."""
    found = _table(table)
    named = {name: _ALIASES.get(str(name), str(name)) for name in found}
    unknown = [str(name) for name, meaning in named.items() if meaning not in columns]
    if unknown:
        raise InputError(
            f"data: expected columns that annotations have, found {', '.join(sorted(unknown))} too; "
            "leave them out of the table, or rename them"
        )
    for name, meaning in named.items():
        if columns[meaning] is not None:
            raise InputError(f"{meaning}: given twice, as a column of the table and as an argument")
        columns[meaning] = found[name]


def _table(table: Any) -> Mapping[Any, Any]:
    if isinstance(table, Mapping):
        return table
    names = getattr(table, "column_names", None)
    if names is None and hasattr(table, "to_dict"):
        names = list(table.columns)
    if names is not None:
        return {name: table[name] for name in names}
    if isinstance(table, Sequence) and not isinstance(table, (str, bytes)):
        rows = list(table)
        if all(isinstance(row, Mapping) for row in rows):
            names = dict.fromkeys(name for row in rows for name in row)
            return {name: [row.get(name) for row in rows] for name in names}
    raise InputError(
        "data: expected a table (pandas, Arrow, a datasets.Dataset, a dictionary of lists, or a list of "
        f"dictionaries), found {type(table).__name__}"
    )
