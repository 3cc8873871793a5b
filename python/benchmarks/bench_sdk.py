"""What the SDK costs, beside a plain loop of `json.dumps` and `write`.

    python python/benchmarks/bench_sdk.py [--calls 2000] [--server URL]

Prints, for calls of 1 and of 100 annotations, the microseconds an annotation takes until the call returns (that is,
until the system has it), once with a ledger that takes what is recorded meanwhile and once without, and the same for
a file to which the annotations are written as JSON, which keeps nothing secret, checks nothing and proves nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlhf_audit_trail import AuditableRLHF, AuditError, __version__

PROMPT = "Explain in three sentences why bread rises, and what goes wrong when it does not. " * 2
CHOSEN = "Yeast eats the sugar in the flour and gives off carbon dioxide, which the gluten holds. " * 4
REJECTED = "It is the oven. " * 16


def columns(rows: int) -> dict[str, Any]:
    """A call's columns: some 650 bytes of text a row, as in published feedback."""
    return {
        "prompts": [PROMPT] * rows,
        "chosen": [CHOSEN] * rows,
        "rejected": [REJECTED] * rows,
        "annotator_ids": [f"worker-{row % 40}" for row in range(rows)],
    }


def measure(call: Callable[[], object], calls: int, rows: int) -> tuple[float, float]:
    """Microseconds an annotation: the median, and the 99th percentile of calls."""
    for _ in range(max(1, calls // 20)):
        call()
    took = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        took.append((time.perf_counter() - began) * 1e6 / rows)
    took.sort()
    return statistics.median(took), took[int(len(took) * 0.99)]


def plain(directory: Path, rows: int, calls: int) -> tuple[float, float]:
    """The loop that one would write without us."""
    given = columns(rows)
    with (directory / "plain.jsonl").open("w") as file:

        def call() -> None:
            for at in range(rows):
                row = {name: values[at] for name, values in given.items()}
                file.write(json.dumps(row) + "\n")
            file.flush()

        return measure(call, calls, rows)


def audited(auditor: AuditableRLHF, rows: int, calls: int) -> tuple[float, float]:
    """The same through the SDK."""
    given = columns(rows)
    run = auditor.track_training("benchmark").start()
    measured = measure(lambda: run.log_annotations(**given), calls, rows)
    with contextlib.suppress(AuditError):
        run.finish(timeout=0.1)
    return measured


def import_seconds() -> float:
    """How long `import rlhf_audit_trail` takes in a new interpreter: the median of nine."""
    code = "import time; b = time.perf_counter(); import rlhf_audit_trail; print(time.perf_counter() - b)"
    took = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(9)]
    return statistics.median(took)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2_000, help="calls a row of the table [default: 2000]")
    parser.add_argument("--server", help="a ledger's address (RLHF_AUDIT_TOKEN lets one in) [default: one in process]")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        where: dict[str, Any] = {"server": args.server} if args.server else {"data_dir": directory / "audit-data"}
        reached = AuditableRLHF("bench", **where, spool_dir=directory / "spool", on_error="raise")
        # Nobody listens there: what is measured is the call alone.
        nobody = "http://127.0.0.1:9"
        alone = AuditableRLHF("bench", server=nobody, token="x", spool_dir=directory / "alone", on_error="raise")
        print(
            f"rlhf-audit-trail {__version__}, Python {sys.version.split()[0]}; µs an annotation, median (99 % of calls)"
        )
        print(f"{'':34} {'calls of 1':>20} {'calls of 100':>20}")
        table: dict[str, Callable[[int, int], tuple[float, float]]] = {
            "json.dumps and write": lambda rows, calls: plain(directory, rows, calls),
            "log_annotations, ledger taking them": lambda rows, calls: audited(reached, rows, calls),
            "log_annotations, no ledger there": lambda rows, calls: audited(alone, rows, calls),
        }
        for label, run in table.items():
            one, many = run(1, args.calls), run(100, max(1, args.calls // 10))
            print(f"{label:34} {one[0]:11.1f} ({one[1]:6.1f}) {many[0]:11.1f} ({many[1]:6.1f})")
        print(f"{'wanted':34} {'50':>11} {'10':>20}")
        for auditor in (alone, reached):
            with contextlib.suppress(AuditError):
                auditor.close(timeout=60 if auditor is reached else 0.1)
    print(f"import rlhf_audit_trail: {import_seconds() * 1e3:.0f} ms (wanted: 300)")


if __name__ == "__main__":
    main()
