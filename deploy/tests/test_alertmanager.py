"""Alertmanager: who is told of which alert, and that a configuration with receivers is made from the environment."""

from __future__ import annotations

import http.server
import json
import os
import threading
import urllib.request
from pathlib import Path

import pytest
import yaml

from observing import ROOT, alertmanager, eventually, free_port, load, run, running, tool

HERE = ROOT / "deploy" / "alertmanager"
CONFIG = HERE / "alertmanager.yml"
RECEIVER = {"critical": "oncall", "warning": "team", "info": "digest"}
SEVERITY = {
    rule["alert"]: rule["labels"]["severity"]
    for path in (ROOT / "deploy" / "prometheus" / "rules").glob("*.yml")
    for group in load(path)["groups"]
    for rule in group["rules"]
}
WEBHOOK = {
    "ALERT_WEBHOOK_URL": "https://hooks.example.org/alerts?a=1&b=2",
    "ALERT_WEBHOOK_TOKEN_FILE": "/run/secrets/webhook",
}
MAIL = {
    "ALERT_MAIL_TO": "oncall@example.org",
    "ALERT_MAIL_FROM": "audit@example.org",
    "ALERT_SMTP_HOST": "smtp.example.org:587",
    "ALERT_SMTP_USER": "audit",
    "ALERT_SMTP_PASSWORD_FILE": "/run/secrets/smtp",
}


def amtool(*args: object) -> str:
    done = run(tool("prometheus-alertmanager", "amtool"), *args)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def start(*args: object, **environment: str):  # noqa: ANN201
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ALERT")}
    variables = {**inherited, "ALERT_TEMPLATE": str(CONFIG), **environment}
    return run("sh", HERE / "start.sh", *args, env=variables)


def rendered(folder: Path, **environment: str) -> Path:
    done = start("--print", **environment)
    assert done.returncode == 0, done.stderr
    path = folder / "alertmanager.yml"
    path.write_text(done.stdout)
    return path


@pytest.mark.parametrize(
    "environment", [{}, WEBHOOK, MAIL, {**WEBHOOK, **MAIL}], ids=["nobody", "webhook", "mail", "both"]
)
def test_every_alert_goes_where_its_severity_says(environment: dict[str, str], tmp_path: Path) -> None:
    path = rendered(tmp_path, **environment)
    amtool("check-config", path)
    for alert, severity in SEVERITY.items():
        labels = [f"alertname={alert}", f"severity={severity}", "job=rlhf-audit"]
        told = amtool("config", "routes", "test", f"--config.file={path}", *labels).strip()
        assert told == RECEIVER[severity], alert
    assert amtool("config", "routes", "test", f"--config.file={path}", "alertname=Unknown").strip() == "team"


def test_the_file_is_right_as_it_is() -> None:
    amtool("check-config", CONFIG)
    assert all(list(receiver) == ["name"] for receiver in load(CONFIG)["receivers"]), (
        "somebody would be told by default"
    )


def test_what_is_set_is_put_in(tmp_path: Path) -> None:
    config = yaml.safe_load(rendered(tmp_path, **WEBHOOK, **MAIL).read_text())
    assert config["global"]["smtp_smarthost"] == MAIL["ALERT_SMTP_HOST"]
    assert config["global"]["smtp_auth_password_file"] == "/run/secrets/smtp"
    oncall = config["receivers"][0]
    assert oncall["webhook_configs"][0]["url"] == WEBHOOK["ALERT_WEBHOOK_URL"]
    assert oncall["email_configs"][0]["to"] == MAIL["ALERT_MAIL_TO"]
    assert "webhook_configs" not in config["receivers"][2], "the digest goes by mail alone"


def test_what_is_left_out_leaves_nothing_behind(tmp_path: Path) -> None:
    text = rendered(tmp_path, ALERT_WEBHOOK_URL="http://hooks.example.org").read_text()
    assert "@" not in text and "#mail" not in text and "credentials_file" not in text


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"ALERT_WEBHOOK_URL": 'http://a" b'}, "ALERT_WEBHOOK_URL"),
        ({"ALERT_WEBHOOK_URL": "http://a\nroute: {}"}, "ALERT_WEBHOOK_URL"),
        ({"ALERT_WEBHOOK_URL": "http://a|b"}, "ALERT_WEBHOOK_URL"),
        ({"ALERT_MAIL_TO": "a@example.org"}, "ALERT_SMTP_HOST"),
        ({"ALERT_MAIL_TO": "a@example.org", "ALERT_SMTP_HOST": "smtp:25"}, "ALERT_MAIL_FROM"),
    ],
)
def test_what_cannot_be_is_refused(environment: dict[str, str], word: str) -> None:
    done = start("--print", **environment)
    assert done.returncode == 2 and word in done.stderr, done.stdout + done.stderr


def test_a_secret_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    done = start(ALERT_WEBHOOK_URL="http://a", ALERT_WEBHOOK_TOKEN_FILE=missing)
    assert done.returncode == 2 and missing in done.stderr


def test_a_real_alertmanager_tells_the_webhook(tmp_path: Path) -> None:
    heard: list[tuple[str | None, dict]] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.append((self.headers["authorization"], json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    token = tmp_path / "token"
    token.write_text("secret-of-the-hook")
    port = free_port()
    template = tmp_path / "template.yml"
    template.write_text(CONFIG.read_text().replace("group_wait: 10s", "group_wait: 0s"))
    environment = {
        **os.environ,
        "ALERTMANAGER": str(tool("prometheus-alertmanager", "prometheus-alertmanager")),
        "ALERT_TEMPLATE": str(template),
        "ALERT_CONFIG": str(tmp_path / "made.yml"),
        "ALERT_STORAGE": str(tmp_path / "storage"),
        "ALERT_WEBHOOK_URL": f"http://127.0.0.1:{server.server_port}/alerts",
        "ALERT_WEBHOOK_TOKEN_FILE": str(token),
    }
    args = alertmanager("sh", HERE / "start.sh", f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=")
    with running(args, tmp_path / "log", env=environment) as process:
        process.answers(f"http://127.0.0.1:{port}/-/ready")
        alert = [{"labels": {"alertname": "RlhfAuditDown", "severity": "critical", "job": "rlhf-audit"}}]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/v2/alerts",
            data=json.dumps(alert).encode(),
            headers={"content-type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=10).close()
        eventually("the webhook is called", lambda: bool(heard), 30)
    server.shutdown()
    authorization, body = heard[0]
    assert authorization == "Bearer secret-of-the-hook"
    assert body["receiver"] == "oncall" and body["alerts"][0]["labels"]["alertname"] == "RlhfAuditDown"
    assert "secret-of-the-hook" not in (tmp_path / "made.yml").read_text()
