"""Prometheus: its configuration, and the alerts: each fires on its fault, is silent otherwise, and says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from observing import ROOT, RUNBOOK, anchors, load, run, tool

HERE = ROOT / "deploy" / "prometheus"
RULES = sorted((HERE / "rules").glob("*.yml"))
TESTS = sorted((HERE / "tests").glob("*.yml"))
ALERTS = {rule["alert"]: (path, rule) for path in RULES for group in load(path)["groups"] for rule in group["rules"]}


def promtool(*args: object) -> str:
    done = run(tool("prometheus", "promtool"), *args)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_configuration_and_the_rules_are_right() -> None:
    assert len(ALERTS) > 20
    promtool("check", "config", HERE / "prometheus.yml")


def test_the_unit_tests_pass() -> None:
    promtool("test", "rules", *TESTS)


def scraped(job: str) -> str:
    (config,) = (it for it in load(HERE / "prometheus.yml")["scrape_configs"] if it["job_name"] == job)
    if "dns_sd_configs" in config:
        (found,) = config["dns_sd_configs"]
        (name,) = found["names"]
        return f"{name}:{found['port']}"
    return config["static_configs"][0]["targets"][0]


def test_what_is_scraped() -> None:
    assert scraped("rlhf-audit") == "app:8000"
    assert scraped("postgres") == "postgres-exporter:9187"
    assert scraped("redis") == "redis-exporter:9121"
    assert scraped("prometheus") == "localhost:9090"
    assert scraped("alertmanager") == "alertmanager:9093"
    assert scraped("rlhf-audit-worker").startswith("worker:")
    assert scraped("rlhf-audit-scheduler").startswith("scheduler:")


def test_workers_answer_where_they_are_scraped() -> None:
    compose = ROOT / "docker-compose.yml"
    if not compose.exists():
        pytest.skip("there is no docker-compose.yml")
    services = load(compose)["services"]
    for service in ("worker", "scheduler"):
        listen = services[service]["environment"]["RLHF_AUDIT_METRICS_LISTEN"]
        assert listen.rsplit(":", 1)[1] == scraped(f"rlhf-audit-{service}").rsplit(":", 1)[1], service


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_it_means_and_what_to_do(alert: str) -> None:
    _, rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    notes = rule["annotations"]
    assert notes["summary"] and notes["description"]
    url, anchor = notes["runbook_url"].split("#")
    assert url.endswith("/" + str(RUNBOOK.relative_to(ROOT))), url
    assert anchor in anchors(RUNBOOK), f"docs/deployment/runbook.md has no section for {alert}"


def test_the_runbook_has_no_alert_too_many() -> None:
    sections = set(re.findall(r"^### (.+)$", RUNBOOK.read_text(), re.MULTILINE))
    assert sections == set(ALERTS)


def metrics_of(text: str) -> set[str]:
    return set(re.findall(r"\b([a-z][a-z_]+)(?=[{\[]|$|\s|\))", text)) & set(
        re.findall(r"\b(?:rlhf_audit|pg|redis|alertmanager|prometheus)_[a-z_]+|\bup\b", text)
    )


def cases(alert: str) -> list[dict]:
    """The unit tests that expect an alert."""
    return [
        test
        for path in TESTS
        for test in load(path)["tests"]
        if any(f'alertname="{alert}"' in str(check["exp_samples"]) for check in test["promql_expr_test"])
    ]


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_unit_test_for_its_fault_and_one_for_peace(alert: str) -> None:
    found = cases(alert)
    assert found, f"no test in deploy/prometheus/tests expects {alert}"
    for case in found:
        assert any(not check["exp_samples"] for check in case["promql_expr_test"]), "it is never said to be silent"
    healthy = {
        series["series"].split("{")[0] for series in load(HERE / "tests" / "healthy.yml")["tests"][0]["input_series"]
    }
    assert metrics_of(ALERTS[alert][1]["expr"]) <= healthy, "healthy.yml lacks what the rule looks at"


def said_of(expression: str, tests: list[Path], folder: Path) -> str:
    """What the unit tests say where every alert has this expression; they have to fail."""
    for part in ("rules", "tests"):
        (folder / part).mkdir()
    for path in RULES:
        rules = load(path)
        for group in rules["groups"]:
            for rule in group["rules"]:
                rule.update(expr=expression)
                rule.pop("for", None)
        (folder / "rules" / path.name).write_text(yaml.safe_dump(rules))
    for path in tests:
        (folder / "tests" / path.name).write_text(path.read_text())
    done = run(tool("prometheus", "promtool"), "test", "rules", *sorted((folder / "tests").glob("*.yml")))
    assert done.returncode != 0
    return done.stdout + done.stderr


def test_the_unit_tests_notice_each_alert_that_never_fires(tmp_path: Path) -> None:
    said = said_of("vector(1) > 2", [path for path in TESTS if path.stem != "healthy"], tmp_path)
    expected = set(re.findall(r'exp:.*?alertname="(\w+)"', said, re.DOTALL))
    assert expected == set(ALERTS)


def test_the_unit_tests_notice_each_alert_that_always_fires(tmp_path: Path) -> None:
    said = said_of("vector(1)", [HERE / "tests" / "healthy.yml"], tmp_path)
    assert set(re.findall(r'alertname="(\w+)", alertstate="firing"', said)) == set(ALERTS)
