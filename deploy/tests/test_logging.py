"""Collectors' configurations, as far as they can be tried without the collectors, which no package registry has: their
syntax, and that they look for the fields that a real server's log has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from observing import ROOT, SERVICES, binary, eventually, free_port, get, load, needed, run, running

HERE = ROOT / "deploy" / "logging"
FIELDS = {"timestamp", "level", "target", "message", "request_id", "trace_id"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What a real server logs."""
    folder = tmp_path_factory.mktemp("logged")
    port = free_port()
    args = [binary(), "serve", "--data-dir", folder / "data", "--port", port, "--log-level", "debug"]
    with running(args, folder / "log") as server:
        server.answers(f"http://127.0.0.1:{port}/health/live")
        get(f"http://127.0.0.1:{port}/health", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
        eventually("it is logged", lambda: TRACE in server.said())
        server.stop()
        yield server.said().splitlines()


def test_every_collector_of_the_guide_has_a_configuration() -> None:
    assert {path.name for path in HERE.iterdir() if path.is_dir()} == {
        *("loki", "elk", "fluentd", "fluent-bit", "cloudwatch", "stackdriver", "azure-monitor")
    }


def test_a_log_has_the_fields_that_collectors_look_for(lines: list[str]) -> None:
    seen: set[str] = set()
    for line in lines:
        entry = json.loads(line)
        assert FIELDS - {"request_id", "trace_id"} <= set(entry), line
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", entry["timestamp"]), line
        assert entry["level"] in {"ERROR", "WARN", "INFO", "DEBUG", "TRACE"}
        # What Filebeat's and Logstash's conditions ask for.
        assert line.startswith('{"timestamp":')
        seen |= set(entry)
    assert FIELDS <= seen


def walk(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)
    else:
        yield str(value)


def test_the_ingest_pipeline_moves_fields_that_there_are() -> None:
    pipeline = json.loads((HERE / "elk" / "ingest-pipeline.json").read_text())
    named = {field for word in walk(pipeline) for field in re.findall(r"rlhf_audit\.(\w+)", word)}
    assert named == FIELDS
    assert all(len(processor) == 1 for processor in pipeline["processors"])


def test_logstash_can_read_its_file() -> None:
    needed("pipelines")
    path = HERE / "elk" / "logstash.conf"
    parse = (
        "import sys; from logstash_pipeline_parser import Pipeline; print(Pipeline(open(sys.argv[1]).read()).parse())"
    )
    done = run(SERVICES / "pipelines" / "bin" / "python", "-c", parse, path)
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"\[rlhf_audit\]\[(\w+)\]", path.read_text())) == FIELDS


def test_filebeat_reads_what_docker_writes() -> None:
    config = load(HERE / "elk" / "filebeat.yml")
    assert config["output.elasticsearch"]["pipeline"] == "rlhf-audit"
    (source,) = config["filebeat.inputs"]
    assert source["paths"] == ["/var/lib/docker/containers/*/*.log"]
    assert source["parsers"][0]["container"]["format"] == "docker"


def test_fluent_bit_takes_both_envelopes_apart() -> None:
    config = load(HERE / "fluent-bit" / "fluent-bit.yaml")
    keys = {parser["name"]: parser["time_key"] for parser in config["parsers"]}
    assert keys == {"docker": "time", "rlhf-audit": "timestamp"}
    (tail,), (inner,) = config["pipeline"]["inputs"], config["pipeline"]["filters"]
    assert (tail["parser"], inner["parser"], inner["key_name"]) == ("docker", "rlhf-audit", "log")
    assert inner["match"] == tail["tag"] == config["pipeline"]["outputs"][0]["match"]


def test_fluentds_sections_close() -> None:
    open_sections: list[str] = []
    for line in (HERE / "fluentd" / "fluent.conf").read_text().splitlines():
        if found := re.match(r"\s*<(/?)(\w+)[^>]*>$", line):
            if found[1]:
                assert open_sections.pop() == found[2]
            else:
                open_sections.append(found[2])
    assert open_sections == []


def test_alloys_pipeline_is_connected() -> None:
    text = (HERE / "loki" / "config.alloy").read_text()
    assert text.count("{") == text.count("}") and text.count("[") == text.count("]")
    components = set(re.findall(r'^([a-z_.]+) "(\w+)" \{', text, re.MULTILINE))
    for reference in re.findall(r"\b((?:discovery|loki)\.[a-z_]+\.\w+)\.(?:receiver|targets|output)", text):
        kind, name = reference.rsplit(".", 1)
        assert (kind, name) in components, reference
    expressions = re.search(r"expressions = \{(.*?)\}", text)
    assert expressions and set(re.findall(r"(\w+) =", expressions[1])) == FIELDS - {"message"}


def test_cloud_watch_takes_our_lines_and_no_others(lines: list[str]) -> None:
    (entry,) = json.loads((HERE / "cloudwatch" / "amazon-cloudwatch-agent.json").read_text())["logs"]["logs_collected"][
        "files"
    ]["collect_list"]
    (kept,) = entry["filters"]
    for line in lines:
        assert re.search(kept["expression"], json.dumps({"log": line + "\n", "stream": "stderr"}))
    assert not re.search(
        kept["expression"], json.dumps({"log": "LOG:  database system is ready\n", "stream": "stderr"})
    )


def test_the_ops_agent_knows_every_level(lines: list[str]) -> None:
    logging = load(HERE / "stackdriver" / "ops-agent.yaml")["logging"]
    (pipeline,) = logging["service"]["pipelines"].values()
    assert set(pipeline["processors"]) == set(logging["processors"]) and set(pipeline["receivers"]) == set(
        logging["receivers"]
    )
    levels = logging["processors"]["rlhf_audit_names"]["fields"]["severity"]["map_values"]
    assert {json.loads(line)["level"] for line in lines} <= set(levels) == {"ERROR", "WARN", "INFO", "DEBUG", "TRACE"}


def test_azures_rule_writes_the_columns_that_its_table_has() -> None:
    template = json.loads((HERE / "azure-monitor" / "data-collection-rule.json").read_text())
    table, rule = template["resources"]
    (flow,) = rule["properties"]["dataFlows"]
    projected = set(re.findall(r"(\w+) = ", flow["transformKql"].split("project")[1]))
    assert projected == {column["name"] for column in table["properties"]["schema"]["columns"]}
    assert set(re.findall(r"Line\.(\w+)", flow["transformKql"])) == FIELDS
    assert flow["outputStream"] == "Custom-" + table["properties"]["schema"]["name"]
    assert flow["streams"] == rule["properties"]["dataSources"]["logFiles"][0]["streams"]
    assert Path(rule["properties"]["dataSources"]["logFiles"][0]["filePatterns"][0]).is_absolute()
