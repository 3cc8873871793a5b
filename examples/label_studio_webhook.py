"""Sends a ledger what Label Studio sends when somebody annotates: created, changed, deleted.

    rlhf-audit init
    rlhf-audit hook add studio --platform label-studio --experiment feedback    # prints the secret, once
    rlhf-audit serve                                                            # from here on in another terminal
    export HOOK_URL=http://localhost:8000/v1/hooks/studio HOOK_SECRET=...
    python examples/label_studio_webhook.py

For a Label Studio of your own see docs/integrations/label-studio.md. The second delivery of the same annotation shows
that one which comes twice is recorded once.
"""

import json
import os
import urllib.request

CONFIG = """<View>
  <Text name="prompt" value="$prompt"/> <Text name="a" value="$a"/> <Text name="b" value="$b"/>
  <Pairwise name="better" toName="a,b"/>
  <Rating name="quality" toName="prompt" maxRating="5"/>
</View>"""
PROJECT = {"id": 2, "title": "Answers", "label_config": CONFIG}
TASK = {"id": 19, "project": 2, "data": {"prompt": "How high is Mont Blanc?", "a": "4,806 metres.", "b": "Very high."}}


def annotation(side: str, stars: int, updated_at: str) -> dict[str, object]:
    pairwise = {"type": "pairwise", "from_name": "better", "to_name": "better", "value": {"selected": side}}
    rating = {"type": "rating", "from_name": "quality", "to_name": "prompt", "value": {"rating": stars}}
    return {
        "id": 17, "task": 19, "project": 2, "result": [pairwise, rating], "completed_by": 4711, "was_cancelled": False,
        "created_at": "2026-11-20T09:00:00.000000Z", "updated_at": updated_at, "lead_time": 12.5,
    }  # fmt: skip


def deliver(event: dict[str, object]) -> None:
    request = urllib.request.Request(os.environ["HOOK_URL"], json.dumps(event).encode())
    request.add_header("Content-Type", "application/json")
    # In Label Studio: a header of the webhook.
    request.add_header("Authorization", f"Bearer {os.environ['HOOK_SECRET']}")
    with urllib.request.urlopen(request) as answer:
        print(event["action"], json.load(answer))


first = annotation("left", 4, "2026-11-20T09:00:00.000000Z")
created = {"action": "ANNOTATION_CREATED", "project": PROJECT, "task": TASK, "annotation": first}
deliver(created)
deliver(created)
changed = annotation("left", 5, "2026-11-20T09:05:00.000000Z")
deliver({"action": "ANNOTATION_UPDATED", "project": PROJECT, "task": TASK, "annotation": changed})
deliver({"action": "ANNOTATIONS_DELETED", "project": PROJECT, "annotations": [{"id": 17}]})
