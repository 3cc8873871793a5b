#!/bin/sh
# Puts the proxy before a made-up reward model, asks as OpenRLHF does, and verifies what was recorded.
# Needs rlhf-audit and python3: RLHF_AUDIT=path/to/rlhf-audit examples/openrlhf_reward_proxy.sh
set -eu
audit=$(command -v "${RLHF_AUDIT:-rlhf-audit}") || { echo "set RLHF_AUDIT to the rlhf-audit command" >&2; exit 2; }
desk=$(mktemp -d)
model="" proxy=""
trap 'kill $model $proxy 2>/dev/null || true; rm -rf "$desk"' EXIT
cd "$desk"
export RLHF_AUDIT_STATE_DIR="$desk/state"
"$audit" init >/dev/null

# Gives each query its length as a reward, in the form of openrlhf.cli.serve_rm. Says its port.
cat >reward_model.py <<'PYTHON'
import json, os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class RewardModel(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        rewards = [float(len(query)) for query in asked["query"]]
        answer = json.dumps({"rewards": rewards, "scores": rewards, "extra_logs": {"dummy_scores": rewards}}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), RewardModel)
with open("port.tmp", "w") as file:
    file.write(str(server.server_port))
os.rename("port.tmp", "port")
server.serve_forever()
PYTHON
python3 reward_model.py &
model=$!
until [ -s port ]; do sleep 0.1; done

"$audit" proxy reward --upstream "http://127.0.0.1:$(cat port)" --listen 127.0.0.1:0 --name example \
    --reward-model length --seal 2>messages &
proxy=$!
until grep -q 'on http://' messages; do kill -0 "$proxy"; sleep 0.1; done
cat messages

# What OpenRLHF's workers send.
cat >worker.py <<'PYTHON'
import json, sys, urllib.request
for batch in range(5):
    prompts = [f"What is {batch} + {i}? " for i in range(3)]
    asked = {"query": [prompt + "Three." for prompt in prompts], "prompts": prompts, "labels": ["3"] * 3}
    request = urllib.request.Request(sys.argv[1], json.dumps(asked).encode(), {"content-type": "application/json"})
    print(json.load(urllib.request.urlopen(request))["rewards"])
PYTHON
python3 worker.py "$(sed -n 's/.*on \(http:[^ ]*\) before.*/\1/p' messages)/get_reward"

kill -TERM "$proxy"
wait "$proxy"
proxy=
"$audit" bundle example -o example.bundle --openings >/dev/null
"$audit" verify example.bundle --policy audit-data/policy
