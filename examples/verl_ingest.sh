#!/bin/sh
# Follows the files of a made-up verl run while they are written, is killed meanwhile, and verifies what was recorded.
# Needs rlhf-audit and python3: RLHF_AUDIT=path/to/rlhf-audit examples/verl_ingest.sh
set -eu
audit=$(command -v "${RLHF_AUDIT:-rlhf-audit}") || { echo "set RLHF_AUDIT to the rlhf-audit command" >&2; exit 2; }
desk=$(mktemp -d)
trap 'rm -rf "$desk"' EXIT
cd "$desk"
export RLHF_AUDIT_STATE_DIR="$desk/state"
"$audit" init >/dev/null

# What verl writes with trainer.logger=[file], trainer.rollout_data_dir=rollouts, one step every 0.2 s.
cat >trainer.py <<'PYTHON'
import json, os, time
os.makedirs("rollouts", exist_ok=True)
with open("metrics.jsonl", "w", buffering=1) as log:
    log.write(json.dumps({"step": 0, "data": {"val-core/arithmetic/reward/mean@1": 0.25}}) + "\n")
    for step in range(1, 21):
        rows = [{"input": f"{step} + {i} = ", "output": str(step + i), "gts": str(step + i), "score": 1.0, "step": step}
                for i in range(4)]
        with open(f"rollouts/{step}.jsonl", "w") as file:
            file.write("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n")
        log.write(json.dumps({"step": step, "data": {
            "actor/pg_loss": 1 / step, "actor/lr": 1e-6, "actor/grad_norm": 0.5, "actor/kl_loss": 0.001 * step,
            "critic/rewards/mean": 1.0, "training/global_step": step, "training/epoch": 0}}) + "\n")
        time.sleep(0.2)
PYTHON
python3 trainer.py &
trainer=$!

"$audit" ingest verl metrics.jsonl --rollouts rollouts --follow --name example --experiment verl &
first=$!
sleep 1.5
kill -9 "$first"
wait "$first" 2>/dev/null || true
echo "Killed; the same command goes on:"
"$audit" ingest verl metrics.jsonl --rollouts rollouts --follow --name example --experiment verl --idle 2s --seal
wait "$trainer"

"$audit" bundle example -o example.bundle --openings >/dev/null
"$audit" verify example.bundle --policy audit-data/policy
