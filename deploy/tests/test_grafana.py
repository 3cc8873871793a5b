"""Grafana: the dashboards hold together, and every query of every panel returns data from a system that runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from observing import ROOT, eventually, load
from scene import Scene, whole

HERE = ROOT / "deploy" / "grafana"
PATHS = sorted((HERE / "dashboards").glob("*.json"))
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in PATHS}
RULES = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
# What an alert looks for and a system that is well does not have: a series of its own appears with the fault.
ONLY_WITH_THE_FAULT = 'status="50'


def queries() -> list[tuple[str, str, str]]:
    return [
        (name, panel["title"], target["expr"])
        for name, board in DASHBOARDS.items()
        for panel in board["panels"]
        for target in panel.get("targets", [])
    ]


def selectors() -> list[str]:
    """What the alert rules look at."""
    found: set[str] = set()
    for path in RULES:
        for group in load(path)["groups"]:
            for rule in group["rules"]:
                found |= set(
                    re.findall(r"\b(?:rlhf_audit|pg|redis|alertmanager|prometheus)_\w+(?:{[^}]*})?", rule["expr"])
                )
    return sorted(selector for selector in found if ONLY_WITH_THE_FAULT not in selector)


def test_the_four_dashboards_are_there() -> None:
    assert set(DASHBOARDS) == {"overview", "training", "ledger", "operations"}
    uids = [board["uid"] for board in DASHBOARDS.values()]
    assert len(set(uids)) == len(uids)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_holds_together(name: str) -> None:
    board = DASHBOARDS[name]
    assert board["schemaVersion"] >= 39 and board["title"] and board["uid"] == f"rlhf-audit-{name}"
    assert "id" not in board, "a provisioned dashboard has no number of its own"
    (variable,) = board["templating"]["list"]
    assert (variable["type"], variable["query"], variable["name"]) == ("datasource", "prometheus", "datasource")
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in board["panels"]]
    assert len(set(titles)) == len(titles)
    for panel in board["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["description"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        refs = [target["refId"] for target in panel["targets"]]
        assert refs and len(set(refs)) == len(refs)
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


@pytest.mark.parametrize("name", DASHBOARDS)
def test_no_panel_lies_on_another(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARDS[name]["panels"]:
        at = panel["gridPos"]
        assert at["x"] >= 0 and at["x"] + at["w"] <= 24, panel["title"]
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            assert cell not in taken, f"{panel['title']} lies on {taken[cell]}"
            taken[cell] = panel["title"]


def test_rates_follow_the_scrape_interval() -> None:
    for name, panel, query in queries():
        assert not re.search(r"\[\d+s\]", query), f"{name}, {panel}: use $__rate_interval"
    source = load(HERE / "provisioning" / "datasources" / "prometheus.yml")["datasources"][0]
    scraped = load(ROOT / "deploy" / "prometheus" / "prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped


def test_what_is_provisioned_fits_together() -> None:
    sources = load(HERE / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    assert {source["type"]: source["url"] for source in sources} == {
        "prometheus": "http://prometheus:9090",
        "alertmanager": "http://alertmanager:9093",
    }
    (provider,) = load(HERE / "provisioning" / "dashboards" / "rlhf-audit.yml")["providers"]
    folder = provider["options"]["path"]
    compose = ROOT / "docker-compose.yml"
    if compose.exists():
        mounts = [str(volume) for volume in load(compose)["services"]["grafana"]["volumes"]]
        assert f"./deploy/grafana/dashboards:{folder}:ro" in mounts


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with whole() as it:
        yield it


def runnable(query: str) -> str:
    """As Grafana would send it."""
    sent = query.replace("$__rate_interval", "15s")
    assert "$" not in sent, query
    return sent


def test_everything_that_is_scraped_answers(scene: Scene) -> None:
    def answer() -> bool:
        return {row["metric"]["job"] for row in scene.query("up == 1")} == set(scene.targets)

    eventually("all targets are up", answer)


@pytest.mark.parametrize(("board", "panel", "query"), queries(), ids=lambda it: str(it)[:40])
def test_a_query_returns_data(scene: Scene, board: str, panel: str, query: str) -> None:
    eventually(f"{board}, {panel}: {query}", lambda: bool(scene.query(runnable(query))), 45)


@pytest.mark.parametrize("selector", selectors())
def test_what_a_rule_looks_at_is_there(scene: Scene, selector: str) -> None:
    eventually(selector, lambda: bool(scene.query(selector)), 45)


def test_a_query_for_what_is_not_there_returns_nothing(scene: Scene) -> None:
    assert scene.query("rlhf_audit_no_such_metric") == []


def test_nothing_fires_while_all_is_well(scene: Scene) -> None:
    rows = scene.query('ALERTS{alertstate="firing",severity!="info"}')
    assert [row["metric"]["alertname"] for row in rows] == []
