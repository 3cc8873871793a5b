"""`helm install rlhf-audit-trail ./charts/rlhf-audit-trail`: rendered under many values, checked, installed into an API in memory,
upgraded, uninstalled."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from apiserver import ApiServer, immutable_fields
from kube import CHART, ROOT, VERSIONS, by_name, containers, dangling, helm, loose, pods, schema_errors, template, unrestricted

GOLDEN = Path(__file__).parent / "golden/immutable-fields.json"
RULES = ROOT / "deploy/prometheus/rules/application.yml"

EMBEDDED: dict = {}
SHARED = {"mode": "shared"}
OBJECTS = {"mode": "shared", "objects": {"url": "s3://audit/ledger", "env": {"AWS_REGION": "eu-central-1"}}}
EXTERNAL = {
    "mode": "shared",
    "objects": {"url": "s3://audit/ledger", "existingSecret": "aws"},
    "postgresql": {"bundled": False},
    "redis": {"bundled": False},
    "backup": {"to": "s3://elsewhere/backup"},
    "secrets": {"existingSecret": "mine"},
    "keys": {"existingSecret": "my-keys"},
}
EVERYTHING = {
    "mode": "shared",
    "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": ["registry"], "pullPolicy": "Always"},
    "settings": {"log-level": "debug", "rate-limit": "50:200", "require-approval": True, "otel-exporter-otlp-endpoint": "http://otel:4318"},
    "extraEnv": [{"name": "RLHF_AUDIT_KEY_PASSPHRASE", "valueFrom": {"secretKeyRef": {"name": "pass", "key": "phrase"}}}],
    "persistence": {"accessMode": "ReadWriteMany", "storageClass": "nfs"},
    "app": {
        "autoscaling": {"enabled": True},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "podAnnotations": {"a": "b"},
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]
                }
            }
        },
    },
    "worker": {
        "autoscaling": {"enabled": True},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"a": "b"}}}
        ],
    },
    "config": '[[schedule]]\nname = "cards"\nkind = "model-cards"\nevery = "1h"\n',
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/a"}},
    "service": {"type": "LoadBalancer", "port": 443},
    "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls", "annotations": {"a": "b"}},
    "networkPolicy": {"extraEgress": [{"ports": [{"port": 5432}]}]},
    "backup": {"schedule": "0 1 * * *", "existingClaim": "backups", "existingSecret": "mine"},
    "metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}, "prometheusRule": {"enabled": True}},
}
BARE = {
    "serviceAccount": {"create": False},
    "networkPolicy": {"enabled": False},
    "backup": {"enabled": False},
    "keys": {"existingSecret": "my-keys"},
    "secrets": {"existingSecret": "mine"},
    "fullnameOverride": "ledger",
}
NO_REDIS = {"mode": "shared", "redis": {"enabled": False}, "postgresql": {"storageClass": "fast"}}
SETS = {
    "embedded": EMBEDDED,
    "shared": SHARED,
    "objects": OBJECTS,
    "external": EXTERNAL,
    "everything": EVERYTHING,
    "bare": BARE,
    "no-redis": NO_REDIS,
}
# Made by whoever names them in the values.
GIVEN = {("Secret", name) for name in ("mine", "my-keys", "aws", "pass", "registry")}
GIVEN |= {("PersistentVolumeClaim", "backups"), ("ServiceAccount", "default")}


@pytest.fixture(params=SETS)
def rendered(request: pytest.FixtureRequest) -> tuple[str, list[dict]]:
    return request.param, template(SETS[request.param])


def test_lint_finds_nothing() -> None:
    for values in SETS.values():
        done = helm("lint", "--strict", CHART, values=values)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "[WARNING]" not in done.stdout and "[ERROR]" not in done.stdout, done.stdout


def test_kubernetes_knows_every_field(rendered: tuple[str, list[dict]]) -> None:
    name, documents = rendered
    assert schema_errors(documents, VERSIONS if name in ("embedded", "everything") else [VERSIONS[0], VERSIONS[-1]]) == ""


def test_pods_pass_the_restricted_standard_and_are_confined(rendered: tuple[str, list[dict]]) -> None:
    found = {name: unrestricted(pod) + loose(pod) for name, pod in pods(rendered[1])}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    assert all(pod["spec"].get("automountServiceAccountToken") is False for _, pod in pods(rendered[1]))
    assert not [document for document in rendered[1] if document["kind"] in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")]


def test_what_is_referred_to_is_there(rendered: tuple[str, list[dict]]) -> None:
    assert dangling(rendered[1], GIVEN) == []


def test_variables_are_set_once_and_are_options(rendered: tuple[str, list[dict]]) -> None:
    known = json.loads((ROOT / "docs/spec/configuration.schema.json").read_text())["properties"].keys()
    configuration = {document["metadata"]["name"]: document["data"] for document in rendered[1] if document["kind"] == "ConfigMap"}
    for name, pod in pods(rendered[1]):
        for container in containers(pod):
            own = [entry["name"] for entry in container.get("env", [])]
            for source in container.get("envFrom", []):
                own += list(configuration.get(source.get("configMapRef", {}).get("name"), {}))
            assert len(own) == len(set(own)), f"{name}: {own}"
            for variable in own:
                if variable.startswith("RLHF_AUDIT_") and variable not in (
                    "RLHF_AUDIT_EPHEMERAL",
                    "RLHF_AUDIT_KEY_PASSPHRASE",
                    "RLHF_AUDIT_BACKUP_TO",
                ):
                    assert variable.removeprefix("RLHF_AUDIT_").lower().replace("_", "-") in known, f"{name}: {variable}"


def test_one_server_is_the_whole_ledger_by_default() -> None:
    documents = template()
    kinds = [document["kind"] for document in documents]
    assert kinds.count("StatefulSet") == 1 and "Deployment" not in kinds
    server = by_name(documents, "StatefulSet", "audit-rlhf-audit-trail")["spec"]
    assert server["replicas"] == 1
    assert [claim["metadata"]["name"] for claim in server["volumeClaimTemplates"]] == ["data"]


def test_servers_that_share_one_volume_stay_on_its_node() -> None:
    def shares_node(values: dict) -> set[bool]:
        named = [(name, pod["spec"]) for name, pod in pods(template(values)) if re.match(r"Deployment|CronJob", name)]
        return {"podAffinity" in (spec.get("affinity") or {}) for _, spec in named}

    assert shares_node(SHARED) == {True}
    assert shares_node(SHARED | {"persistence": {"accessMode": "ReadWriteMany"}}) == {False}
    assert shares_node(OBJECTS) == {False}


def test_an_affinity_of_ones_own_is_kept_beside_it() -> None:
    values = SHARED | {"app": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "mine"}]}}}}
    spec = by_name(template(values), "Deployment", "audit-rlhf-audit-trail")["spec"]["template"]["spec"]
    keys = [term["topologyKey"] for term in spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]]
    assert keys == ["mine", "kubernetes.io/hostname"]


def test_generated_keys_are_what_init_would_have_made() -> None:
    keys = by_name(template(OBJECTS), "Secret", "audit-rlhf-audit-trail-keys")["data"]
    assert keys.keys() == {"log.ed25519", "log.ml-dsa-44", "operator.ed25519", "deployment", "producer.ed25519"}
    texts = [base64.b64decode(value).decode() for value in keys.values()]
    assert len(set(texts)) == 5
    assert all(len(base64.b64decode(text.removesuffix("\n"), validate=True)) == 32 and text.endswith("\n") for text in texts)


def test_a_generated_token_is_one() -> None:
    for _ in range(8):
        secret = by_name(template(), "Secret", "audit-rlhf-audit-trail-secrets")["data"]
        assert re.fullmatch(r"rat_[A-Za-z0-9_-]{43}", base64.b64decode(secret["admin-token"]).decode())


def test_settings_keep_their_numbers() -> None:
    data = by_name(template({"settings": {"witness-interval": 0.5, "rate-limit": 1048576}}), "ConfigMap", "audit-rlhf-audit-trail")["data"]
    assert (data["RLHF_AUDIT_WITNESS_INTERVAL"], data["RLHF_AUDIT_RATE_LIMIT"]) == ("0.5", "1048576")


def test_another_configuration_makes_new_pods() -> None:
    def checksum(values: dict) -> str:
        return next(pods(template(values)))[1]["metadata"]["annotations"]["checksum/config"]

    assert checksum({}) == checksum({}) != checksum({"settings": {"log-level": "debug"}})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mode": "both"}, "/mode"),
        ({"replicas": 3}, "replicas"),
        ({"app": {"replica": 3}}, "replica"),
        ({"persistence": {"size": "lots"}}, "/persistence/size"),
        ({"objects": {"url": "/data"}}, "/objects/url"),
        ({"settings": {"port": 80}}, "settings.port is set by the chart itself"),
        ({"mode": "shared", "postgresql": {"bundled": False}}, "secrets.existingSecret"),
        ({"mode": "shared", "redis": {"bundled": False}}, "secrets.existingSecret"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict, said: str) -> None:
    done = helm("template", "audit", CHART, values=values)
    assert done.returncode != 0 and said in done.stderr, done.stderr


def test_every_value_is_explained_and_in_the_schema() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    def walk(value: dict, node: dict, path: str) -> None:
        if "$ref" in node:
            return
        assert node.get("additionalProperties") is not True, path
        if "properties" not in node:
            return
        assert value.keys() == node["properties"].keys() - {"global"}, path
        for key, inner in value.items():
            if isinstance(inner, dict):
                walk(inner, node["properties"][key], f"{path}.{key}")

    walk(values, schema, "values")


def test_install_upgrade_and_uninstall_keep_what_was_made(api: ApiServer) -> None:
    installed = helm("install", "rlhf-audit-trail", "./charts/rlhf-audit-trail", env=os.environ)
    assert installed.returncode == 0, installed.stderr
    token = api.get("Secret", "rlhf-audit-trail-secrets")["data"]
    assert "rlhf-audit-trail-secrets" in installed.stdout and "data-rlhf-audit-trail-0" in installed.stdout
    upgraded = helm("upgrade", "rlhf-audit-trail", "./charts/rlhf-audit-trail", values={"settings": {"log-level": "debug"}}, env=os.environ)
    assert upgraded.returncode == 0, upgraded.stderr
    assert api.get("Secret", "rlhf-audit-trail-secrets")["data"] == token
    assert api.get("ConfigMap", "rlhf-audit-trail")["data"]["RLHF_AUDIT_LOG_LEVEL"] == "debug"
    gone = helm("uninstall", "rlhf-audit-trail", env=os.environ)
    assert gone.returncode == 0, gone.stderr
    left = {(kind, name) for kind, _, name in api.objects}
    secrets = {("Secret", "rlhf-audit-trail-secrets"), ("Secret", "rlhf-audit-trail-backup")}
    assert left == secrets | {("PersistentVolumeClaim", "rlhf-audit-trail-backups")}
    again = helm("install", "rlhf-audit-trail", "./charts/rlhf-audit-trail", env=os.environ)
    assert again.returncode == 0, again.stderr
    assert api.get("Secret", "rlhf-audit-trail-secrets")["data"] == token


def test_shared_stores_keep_their_passwords_and_keys(api: ApiServer) -> None:
    names = [f"rlhf-audit-trail-{name}" for name in ("secrets", "stores", "keys", "backup")]
    # The hook of the migration would wait for a pod that nobody runs here.
    installed = helm("install", "rlhf-audit-trail", CHART, "--no-hooks", values=OBJECTS, env=os.environ)
    assert installed.returncode == 0, installed.stderr
    before = {name: api.get("Secret", name)["data"] for name in names}
    for values in (OBJECTS | {"app": {"replicas": 3}}, OBJECTS):
        done = helm("upgrade", "rlhf-audit-trail", CHART, "--no-hooks", values=values, env=os.environ)
        assert done.returncode == 0, done.stderr
    assert {name: api.get("Secret", name)["data"] for name in names} == before
    stores = {key: base64.b64decode(value).decode() for key, value in before["rlhf-audit-trail-stores"].items()}
    assert f":{stores['database-password']}@rlhf-audit-trail-postgres:5432/" in stores["database-url"]
    assert f":{stores['redis-password']}@" in stores["redis-url"] and stores["redis-password"] in stores["redis.conf"]


def test_what_cannot_change_is_as_it_was_in_every_version() -> None:
    """An upgrade that changes one of these is refused by Kubernetes. Where a new object comes, add it: UPDATE=1."""
    now = {
        name: {
            f"{document['kind']}/{document['metadata']['name']}": fields
            for document in template(SETS[name], "rlhf-audit-trail")
            if (fields := immutable_fields(document)) or document["kind"] == "Service"
        }
        for name in ("embedded", "shared", "objects")
    }
    if os.environ.get("UPDATE"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
    known = json.loads(GOLDEN.read_text())
    # The migration's Job is a hook that is made anew each time.
    for set_of_values in (known, now):
        for objects in set_of_values.values():
            objects.pop("Job/rlhf-audit-trail-migrate", None)
    assert now == known


def test_the_api_would_refuse_such_a_change(api: ApiServer, tmp_path: Path) -> None:
    assert helm("install", "rlhf-audit-trail", CHART, env=os.environ).returncode == 0
    changed = tmp_path / "rlhf-audit-trail"
    shutil.copytree(CHART, changed)
    app = changed / "templates/app.yaml"
    app.write_text(app.read_text().replace("serviceName: {{ $name }}-nodes", "serviceName: {{ $name }}"))
    done = helm("upgrade", "rlhf-audit-trail", changed, env=os.environ)
    assert done.returncode != 0 and "spec.serviceName: field is immutable" in done.stderr


def test_versions_agree() -> None:
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)


def test_the_rules_are_those_of_prometheus() -> None:
    copy = CHART / "files/rules/application.yml"
    assert copy.read_text() == RULES.read_text(), "cp deploy/prometheus/rules/application.yml charts/rlhf-audit-trail/files/rules/"
    rules = yaml.safe_load(RULES.read_text())["groups"]
    rendered = by_name(template(EVERYTHING), "PrometheusRule", "audit-rlhf-audit-trail")["spec"]["groups"]
    assert rendered == rules
    alone = {"metrics": {"prometheusRule": {"enabled": True}}}
    alerts = {rule["alert"] for group in rules for rule in group["rules"]}
    embedded = by_name(template(alone), "PrometheusRule", "audit-rlhf-audit-trail")["spec"]["groups"]
    assert alerts - {rule["alert"] for group in embedded for rule in group["rules"]} == {
        "RlhfAuditWorkersAbsent",
        "RlhfAuditSchedulerAbsent",
    }


def test_monitors_give_the_names_that_rules_know() -> None:
    documents = template(EVERYTHING)
    jobs = {
        relabeling["replacement"]
        for document in documents
        if document["kind"] in ("ServiceMonitor", "PodMonitor")
        for endpoint in document["spec"].get("endpoints", []) + document["spec"].get("podMetricsEndpoints", [])
        for relabeling in endpoint["relabelings"]
    }
    assert jobs == {"rlhf-audit", "rlhf-audit-worker", "rlhf-audit-scheduler"}
    labels = by_name(documents, "ServiceMonitor", "audit-rlhf-audit-trail")["spec"]["selector"]["matchLabels"]
    matching = [
        document for document in documents if document["kind"] == "Service" and labels.items() <= document["metadata"]["labels"].items()
    ]
    assert [service["spec"]["ports"][0]["name"] for service in matching] == ["metrics"]


def test_stores_are_reached_by_our_own_pods_alone_and_ask_nobody() -> None:
    policies = {document["metadata"]["name"]: document["spec"] for document in template(SHARED) if document["kind"] == "NetworkPolicy"}
    for store in ("postgres", "redis"):
        policy = policies[f"audit-rlhf-audit-trail-{store}"]
        assert policy["policyTypes"] == ["Ingress", "Egress"] and "egress" not in policy
        (rule,) = policy["ingress"]
        assert rule["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "audit"
    (asking,) = policies["audit-rlhf-audit-trail-egress"]["podSelector"]["matchExpressions"]
    assert asking["operator"] == "NotIn" and asking["values"] == ["postgres", "redis"]
    assert {port["port"] for rule in policies["audit-rlhf-audit-trail-app"]["ingress"] for port in rule["ports"]} == {"http"}


def test_keys_on_a_volume_are_never_replaced_by_a_secrets(tmp_path: Path) -> None:
    """The init container, run as it is but for its paths."""
    spec = by_name(template({"keys": {"existingSecret": "mine"}}), "StatefulSet", "audit-rlhf-audit-trail")["spec"]["template"]["spec"]
    (keys,) = spec["initContainers"]
    mounted, data = tmp_path / "mounted", tmp_path / "data"
    mounted.mkdir()
    data.mkdir()
    for name in ("log.ed25519", "deployment"):
        (mounted / name).write_text(f"{name}\n")
    script = keys["args"][0].replace("/run/secrets/keys", str(mounted)).replace("/data/keys", str(data / "keys"))

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run([*keys["command"], script], capture_output=True, text=True)

    def made() -> dict[str, str]:
        return {path.name: path.read_text() for path in (data / "keys").iterdir()}

    assert run().returncode == run().returncode == 0
    assert made() == {name: f"{name}\n" for name in ("log.ed25519", "deployment")}
    assert {path.stat().st_mode & 0o777 for path in (data / "keys").iterdir()} == {0o600}
    (mounted / "deployment").write_text("another\n")
    refused = run()
    assert refused.returncode == 1 and "deployment is another key than the Secret's" in refused.stderr
    assert made()["deployment"] == "deployment\n"
