"""Scripts as people have them, each in a process of its own: unchanged, killed and resumed, on several ranks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support import ADMIN, REPOSITORY, Server, command, environment

from .support import Bundle, bundle_of

#: A script without a word of ours, but for the import and the name it reports to.
SCRIPT = """
    import os, signal, sys
    import rlhf_audit_trail.trl
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer

    model, output = sys.argv[1:3]
    rows = [{"prompt": f"Question {n}?", "chosen": f" good {n}", "rejected": f" bad {n}"} for n in range(16)]

    def trainer(**more):
        args = DPOConfig(
            output_dir=output, report_to="rlhf_audit", use_cpu=True, bf16=False, gradient_checkpointing=False,
            disable_tqdm=True, per_device_train_batch_size=4, max_length=32, logging_steps=1, num_train_epochs=1,
            save_steps=2, model_init_kwargs={"dtype": "float32"},
        )
        return DPOTrainer(model, args=args, train_dataset=Dataset.from_list(rows), **more)

    class At(TrainerCallback):
        def __init__(self, step, what):
            self.step, self.what = step, what

        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == self.step:
                self.what()
"""


def run(directory: Path, model: Path, ending: str, *args: str, code: int = 0, **env: str) -> str:
    """Runs the script with an ending of its own; gives what it wrote to its standard error."""
    file = directory / "train.py"
    file.write_text(textwrap.dedent(SCRIPT) + textwrap.dedent(ending))
    given = {"RLHF_AUDIT_DATA_DIR": str(directory / "audit-data")} | env
    done = subprocess.run(
        [sys.executable, *args, file, model, directory / "out"],
        env=environment(**given, PYTHONPATH=str(REPOSITORY / "python")),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr


def found(directory: Path, name: str = "out") -> Bundle:
    return bundle_of(directory / "audit-data", name, directory / "run.rlhf-bundle")


def test_an_unchanged_script(tmp_path: Path, model: Path) -> None:
    run(tmp_path, model, "it = trainer(); it.train(); it.save_model(); it.evaluate(it.train_dataset)")
    bundle = found(tmp_path)
    assert bundle.status == "completed"
    assert [body["step"] for body in bundle.bodies("policy.updated")] == [1, 2, 3, 4]
    assert [body["name"] for body in bundle.bodies("model.checkpoint")] == ["checkpoint-2", "checkpoint-4", "out"]
    # After the training, and of this run all the same.
    (evaluation,) = bundle.bodies("evaluation.completed")
    assert (evaluation["step"], evaluation["samples"], evaluation["model"]) == (4, 16, "out")
    assert "dataset" not in evaluation  # not the one it was registered for
    assert bundle.bodies("run.started")[0]["experiment"] == "DPOTrainer"


def test_a_killed_training_is_resumed_in_the_same_run(tmp_path: Path, model: Path) -> None:
    ending = "trainer(callbacks=[At(3, lambda: os.kill(os.getpid(), signal.SIGKILL))]).train()"
    run(tmp_path, model, ending, code=-signal.SIGKILL)
    run(tmp_path, model, "trainer().train(resume_from_checkpoint=True)")
    bundle = found(tmp_path)
    assert bundle.status == "completed"
    # The third was made twice: once before the kill, and again from the checkpoint.
    assert [body["step"] for body in bundle.bodies("policy.updated")] == [1, 2, 3, 3, 4]
    assert [body["name"] for body in bundle.bodies("model.checkpoint")] == ["checkpoint-2", "checkpoint-4"]
    incidents = [(body["incident"], body.get("detail")) for body in bundle.bodies("incident.reported")]
    assert ("training-resumed", "from-step-2") in incidents


def test_what_fails_after_the_training_fails_the_run(tmp_path: Path, model: Path) -> None:
    run(tmp_path, model, "trainer().train(); raise SystemError('no room to publish')", code=1)
    bundle = found(tmp_path)
    assert bundle.status == "failed"
    assert len(bundle.of("policy.updated")) == 4


def test_nothing_of_ours_stops_the_training(tmp_path: Path, model: Path) -> None:
    """A data directory that cannot be one: one warning, and the training goes on."""
    (tmp_path / "file").write_text("not a directory")
    said = run(tmp_path, model, "trainer().train(); print('trained')", RLHF_AUDIT_DATA_DIR=str(tmp_path / "file"))
    assert said.count("nothing of this training is recorded, and it goes on") == 1
    assert (tmp_path / "out" / "checkpoint-4").is_dir()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two ranks want two cores")
def test_each_rank_writes_a_stream(tmp_path: Path, model: Path) -> None:
    server = Server(tmp_path)
    ending = """
        from trl import GRPOConfig, GRPOTrainer
        from rlhf_audit_trail.trl import audited

        @audited
        def brevity(completions, **kwargs):
            return [-float(len(text)) for text in completions]

        args = GRPOConfig(
            output_dir=output, report_to="rlhf_audit", use_cpu=True, bf16=False, gradient_checkpointing=False,
            disable_tqdm=True, per_device_train_batch_size=4, num_generations=4, max_completion_length=8, max_steps=2,
            logging_steps=1, save_steps=2, model_init_kwargs={"dtype": "float32"},
        )
        data = Dataset.from_list([{"prompt": row["prompt"]} for row in rows])
        GRPOTrainer(model, args=args, train_dataset=data, reward_funcs=brevity).train()
    """
    environ = {
        "RLHF_AUDIT_SERVER": server.url,
        "RLHF_AUDIT_TOKEN": ADMIN,
        "RLHF_AUDIT_DATA_DIR": "",
        "RLHF_AUDIT_SPOOL_DIR": str(tmp_path / "spool"),
    }
    ranks = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    try:
        run(tmp_path, model, ending, *ranks, code=0, **environ)
        policy = tmp_path / "policy"
        policy.write_bytes((server.data_dir / "policy").read_bytes())
        output = tmp_path / "run.rlhf-bundle"
        reach: list[str | Path] = [
            "--server",
            server.url,
            "--token",
            ADMIN,
            "--policy",
            policy,
            "--state-dir",
            tmp_path / "state",
        ]
        command("bundle", "out", *reach, "--output", output, "--openings")
    finally:
        server.stop()
    bundle = Bundle(output, policy)
    assert bundle.status == "completed"
    assert {record["stream"] for record in bundle.records if record["run"] != "ledger"} == {"rank0", "rank1"}
    # Rank 0 says what is common to all; each says what its completions were given.
    for kind in ("policy.updated", "metric.logged", "model.checkpoint", "dataset.registered"):
        assert bundle.of(kind)
        assert not bundle.of(kind, "rank1")
    assert [body["step"] for body in bundle.bodies("policy.updated")] == [1, 2]
    assert len(bundle.of("reward.scored", "rank0")) == len(bundle.of("reward.scored", "rank1")) == 8
    files = {file["name"] for file in bundle.bodies("model.checkpoint")[0]["files"]}
    assert files == {path.name for path in (tmp_path / "out" / "checkpoint-2").iterdir()}
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= files
