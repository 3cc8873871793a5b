"""What auditing costs a DPO run of TRL: time a step, and peak memory.

    python python/benchmarks/bench_trl.py [--rounds 6] [--steps 8] [--threads 2] [--server URL --token TOKEN]

Trains the same tiny model on the same pairs, audited and not, in turns (audited first in every other pair), and prints
the median step of each, the median of the pairs' ratios, and the peak memory of processes that do one or the other.
Wanted: at most 1 % more of either. Without a server the ledger is in the trainer's own process, which is the dearer
way. Metrics are logged at every step, and every update is recorded, with its batch and, now and then, module norms.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
#: Pairs a step, of so many words each.
PAIRS, WORDS = 8, 40
#: The first steps of a training are those of warming up.
WARM = 2
#: What sees the trainer's methods.
HOOKS = ("_on_training_step", "_on_compute_loss", "_on_grad_norm")


class Bench:
    """Trainings of one process."""

    def __init__(self, directory: Path, args: argparse.Namespace) -> None:
        import torch
        from datasets import Dataset

        torch.set_num_threads(args.threads)
        self.directory = directory
        self.args = args
        #: Of the training's thread, in seconds.
        self.spent = 0.0
        rows = [
            {
                "prompt": f"Question {n}?",
                "chosen": " yes and more" * (WORDS // 3),
                "rejected": f" no {n}" * (WORDS // 2),
            }
            for n in range(PAIRS * args.steps)
        ]
        self.rows = Dataset.from_list(rows)
        tiny_model = runpy.run_path(str(REPOSITORY / "examples" / "tiny_model.py"))["tiny_model"]
        self.model = tiny_model(directory / "model", [text for row in rows for text in row.values()], width=args.width)

    def _meter(self, callback: Any) -> None:
        """Adds up the processor time of what is called at each step."""

        def metered(method: Any) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                began = time.thread_time()
                try:
                    return method(*args, **kwargs)
                finally:
                    self.spent += time.thread_time() - began

            return call

        for name in ("on_optimizer_step", "on_step_end", "on_log", *HOOKS):
            setattr(callback, name, metered(getattr(callback, name)))

    def train(self, audited: bool, number: int) -> list[float]:
        """How long each step took, in seconds, with all that comes with it."""
        from transformers import TrainerCallback
        from trl import DPOConfig, DPOTrainer

        from rlhf_audit_trail import AuditableRLHF
        from rlhf_audit_trail.trl import AuditCallback

        ends: list[float] = []

        class Clock(TrainerCallback):  # type: ignore[misc]
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                ends.append(time.perf_counter())

        callbacks: list[Any] = [Clock()]
        auditor: AuditableRLHF | None = None
        if audited:
            where: dict[str, Any] = {"data_dir": self.directory / "audit-data"}
            if self.args.server:
                where = {"server": self.args.server, "token": self.args.token}
            auditor = AuditableRLHF("tiny-gpt2", spool_dir=self.directory / "spool", **where)
            callback = AuditCallback(auditor, seal="train")
            self._meter(callback)
            callbacks.append(callback)
        trainer = DPOTrainer(
            self.model,
            args=DPOConfig(
                output_dir=str(self.directory / f"out-{number}"),
                report_to="none",
                max_steps=self.args.steps,
                per_device_train_batch_size=PAIRS,
                logging_steps=1,
                save_strategy="no",
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                disable_tqdm=True,
                model_init_kwargs={"dtype": "float32"},
            ),
            train_dataset=self.rows,
            callbacks=callbacks,
        )
        trainer.train()
        if auditor is not None:
            auditor.close()
        return [after - before for before, after in itertools.pairwise(ends)][WARM:]


def peak(args: argparse.Namespace, audited: bool) -> float:
    """The peak memory, in MiB, of a process that trains once."""
    command = [sys.executable, __file__, "--alone", "audited" if audited else "plain"]
    for name in ("steps", "threads", "width", "server", "token"):
        if (value := getattr(args, name)) is not None:
            command += [f"--{name}", str(value)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["peak_mib"])


def alone(args: argparse.Namespace) -> None:
    """Trains once, and says how much memory that took."""
    with tempfile.TemporaryDirectory(prefix="rlhf-audit-bench-") as directory:
        # Both have everything imported.
        Bench(Path(directory), args).train(args.alone == "audited", 0)
    print(json.dumps({"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6, help="pairs of trainings")
    parser.add_argument("--steps", type=int, default=8, help="steps of each training")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads of torch")
    parser.add_argument("--width", type=int, default=256, help="of the model")
    parser.add_argument("--peaks", type=int, default=3, help="pairs of processes whose memory is compared")
    parser.add_argument("--server", help="record there, instead of in the trainer's process")
    parser.add_argument("--token")
    parser.add_argument("--alone", choices=["audited", "plain"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        alone(args)
        return
    steps: dict[bool, list[float]] = {True: [], False: []}
    ratios = []
    with tempfile.TemporaryDirectory(prefix="rlhf-audit-bench-") as directory:
        bench = Bench(Path(directory), args)
        bench.train(True, 0)
        for number in range(args.rounds):
            medians = {}
            for audited in (number % 2 == 0, number % 2 == 1):
                took = bench.train(audited, number)
                steps[audited] += took
                medians[audited] = statistics.median(took)
            ratios.append(medians[True] / medians[False])
    audited_ms, plain_ms = (statistics.median(steps[audited]) * 1e3 for audited in (True, False))
    print(f"a step, audited      {audited_ms:9.2f} ms   median of {len(steps[True])}")
    print(f"a step, unaudited    {plain_ms:9.2f} ms   median of {len(steps[False])}")
    print(f"ratio                {audited_ms / plain_ms:9.4f}      wanted at most 1.01")
    pairs = ", ".join(f"{ratio:.4f}" for ratio in sorted(ratios))
    own = bench.spent / (args.steps * (args.rounds + 1)) * 1e3
    print(f"of that, in our calls {own:8.2f} ms   processor time of the training's thread, mean")
    print(f"ratio, by pairs      {statistics.median(ratios):9.4f}      median of {pairs}")
    memory = [(peak(args, True), peak(args, False)) for _ in range(args.peaks)]
    audited_mib, plain_mib = (statistics.median(found) for found in zip(*memory, strict=True))
    print(f"peak memory, audited {audited_mib:9.1f} MiB  median of {args.peaks}")
    print(f"peak, unaudited      {plain_mib:9.1f} MiB")
    print(f"ratio                {audited_mib / plain_mib:9.4f}      wanted at most 1.01")


if __name__ == "__main__":
    main()
