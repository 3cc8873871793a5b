"""Sends a ledger what an Argilla server sends when somebody responds: created, changed, deleted; signed as it signs.

    rlhf-audit init
    export HOOK_SECRET=$(openssl rand -base64 32)             # Argilla shows its own when a webhook is made
    echo $HOOK_SECRET | rlhf-audit hook add argilla --platform argilla --experiment feedback --secret-file -
    rlhf-audit serve                                          # from here on in another terminal
    pip install standardwebhooks                              # with which Argilla's server signs
    export HOOK_URL=http://localhost:8000/v1/hooks/argilla
    python examples/argilla_webhook.py

For an Argilla of your own see docs/integrations/argilla.md.
"""

import datetime
import json
import os
import urllib.request
import uuid

from standardwebhooks.webhooks import Webhook

QUESTIONS = [
    {
        "name": "better",
        "settings": {"type": "label_selection", "options": [{"value": "response-1"}, {"value": "response-2"}]},
    },
    {"name": "quality", "settings": {"type": "rating", "options": [{"value": value} for value in range(1, 6)]}},
]  # fmt: skip
RECORD = {
    "id": "5c1f4a5e-9d6b-4e0c-9f43-0a2b3c4d5e6f",
    "status": "pending",
    "fields": {"prompt": "How high is Mont Blanc?", "response-1": "4,806 metres.", "response-2": "Very high."},
    "dataset": {"id": "1f0e1c1e-0000-4000-8000-000000000000", "name": "answers", "questions": QUESTIONS},
}


def response(stars: int, updated_at: str) -> dict[str, object]:
    return {
        "id": "aa1f4a5e-9d6b-4e0c-9f43-0a2b3c4d5e17", "status": "submitted",
        "values": {"better": {"value": "response-1"}, "quality": {"value": stars}},
        "record": RECORD,
        "user": {"id": "9b0b3b4e-6a51-4c83-9a10-4a7f2f9c1d11", "username": "ann", "role": "annotator"},
        "inserted_at": "2026-11-20T09:00:00.000000", "updated_at": updated_at,
    }  # fmt: skip


def deliver(event: str, data: dict[str, object]) -> None:
    now = datetime.datetime.now(tz=datetime.timezone.utc)
    body = json.dumps({"type": event, "version": 1, "timestamp": now.isoformat(), "data": data})
    message = str(uuid.uuid4())
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(os.environ["HOOK_SECRET"]).sign(message, now, body),
    }
    request = urllib.request.Request(os.environ["HOOK_URL"], body.encode(), headers)
    with urllib.request.urlopen(request) as answer:
        print(event, json.load(answer))


deliver("response.created", response(4, "2026-11-20T09:00:00.000000"))
deliver("response.created", response(4, "2026-11-20T09:00:00.000000"))
deliver("response.updated", response(5, "2026-11-20T09:05:00.000000"))
deliver("response.deleted", response(5, "2026-11-20T09:05:00.000000"))
