"""What DuckDB makes of an export: `read_export.py DIRECTORY FORMAT` prints it as JSON."""

import json
import sys

import duckdb

directory, form = sys.argv[1:]
READERS = {
    "parquet": "read_parquet('{}', hive_partitioning = true, union_by_name = true)",
    "csv": """read_csv('{}', hive_partitioning = true, union_by_name = true, header = true, all_varchar = true,
        delim = ',', quote = '"', escape = '"')""",
    "jsonl": "read_json('{}', hive_partitioning = true, union_by_name = true, format = 'newline_delimited')",
}
db = duckdb.connect()


def table(run: str, kind: str) -> str:
    """The records of a run and kind; `*` for all."""
    return READERS[form].format(f"{directory}/run={run}/kind={kind}/part-*.{form}")


def rows(query: str) -> list:
    """What a query comes to."""
    return db.execute(query).fetchall()


everything, updates = table("*", "*"), table("*", "policy.updated")
# A leaf hash is the SHA-256 of a zero byte and the record (RFC 6962).
leaf = r"to_base64(unhex(sha256('\x00'::BLOB || encode(record::VARCHAR))))"
counts = rows(f"SELECT run, kind, count(*) FROM {everything} GROUP BY ALL")
hashes = rows(f'SELECT leaf_hash FROM {everything} ORDER BY "index"::BIGINT')
metric = """any_value((metrics::JSON ->> '$."a, \\"b\\""')::DOUBLE)"""
print(
    json.dumps(
        {
            "counts": {f"{run} {kind}": count for run, kind, count in counts},
            "leaf_hashes": [name for (name,) in hashes],
            "recomputed": rows(f"SELECT count(*) FROM {everything} WHERE leaf_hash = {leaf}")[0][0],
            "kl_sum": rows(f"SELECT sum(kl::DOUBLE) FROM {updates}")[0][0],
            "metric": rows(f"SELECT {metric} FROM {updates}")[0][0],
            "types": list(rows(f"SELECT typeof(step), typeof(kl), typeof(time) FROM {updates} LIMIT 1")[0]),
        }
    )
)
