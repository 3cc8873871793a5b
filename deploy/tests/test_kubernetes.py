"""`kubectl apply -f deploy/kubernetes/` and the overlays: against Kubernetes' schemas, and against an API in memory."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from apiserver import ApiServer
from kube import ROOT, VERSIONS, by_name, containers, dangling, kustomize, loose, manifests, need, pods, schema_errors, tool, unrestricted

PLAIN = ROOT / "deploy/kubernetes"
FORMS = ["base", "overlays/staging", "overlays/production"]
# Made by the Job setup, or before anything is applied.
GIVEN = {("Secret", "rlhf-audit-trail-secrets"), ("Secret", "rlhf-audit-trail-keys")}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> tuple[str, list[dict]]:
    return request.param, kustomize(request.param)


def kubectl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool("kubectl"), *map(str, arguments)], capture_output=True, text=True, timeout=120, cwd=ROOT)


def test_kubernetes_knows_every_field(form: tuple[str, list[dict]]) -> None:
    assert schema_errors(form[1], VERSIONS if form[0] == "base" else [VERSIONS[0], VERSIONS[-1]]) == ""


def test_the_schemas_refuse_what_is_wrong() -> None:
    documents = kustomize("base")
    by_name(documents, "Deployment", "rlhf-audit-trail")["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    assert "imagee" in schema_errors(documents, ["1.37"])


def test_pods_pass_the_restricted_standard_and_are_confined(form: tuple[str, list[dict]]) -> None:
    found = {name: unrestricted(pod) + loose(pod) for name, pod in pods(form[1])}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    namespace = next(document for document in form[1] if document["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_no_pod_but_the_setup_has_a_token_of_kubernetes(form: tuple[str, list[dict]]) -> None:
    for name, pod in pods(form[1]):
        has_token = pod["spec"].get("automountServiceAccountToken") is not False
        assert has_token == (name == "Job/rlhf-audit-trail-setup"), name
    bound = [subject["name"] for document in form[1] if document["kind"] == "RoleBinding" for subject in document["subjects"]]
    assert set(bound) <= {"rlhf-audit-trail-setup"}
    rules = [rule for document in form[1] if document["kind"] == "Role" for rule in document["rules"]]
    assert all(rule == {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]} for rule in rules)


def test_what_is_referred_to_is_there(form: tuple[str, list[dict]]) -> None:
    assert dangling(form[1], GIVEN) == []


def test_everything_is_in_one_namespace(form: tuple[str, list[dict]]) -> None:
    name = next(document["metadata"]["name"] for document in form[1] if document["kind"] == "Namespace")
    others = {document["metadata"].get("namespace") for document in form[1] if document["kind"] != "Namespace"}
    assert others == {name}


def test_servers_can_be_probed_replaced_and_scaled(form: tuple[str, list[dict]]) -> None:
    app = by_name(form[1], "Deployment", "rlhf-audit-trail")["spec"]
    container = app["template"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    listens = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert ports == {"http": int(listens["PORT"]), "metrics": int(listens["RLHF_AUDIT_METRICS_LISTEN"].split(":")[1])}
    assert container["livenessProbe"]["httpGet"] == {"path": "/health/live", "port": "metrics"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/health/ready", "port": "metrics"}
    assert "startupProbe" in container
    assert app["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    # docs/operations/configuration.md: the grace of requests (10 s), 15 s, and 5 more; and the pause before.
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert app["template"]["spec"]["terminationGracePeriodSeconds"] >= 30 + pause
    # A number here would be set anew by each apply, against the autoscaler.
    assert "replicas" not in app
    kinds = {(document["kind"], document["metadata"]["name"]) for document in form[1]}
    assert {("HorizontalPodAutoscaler", "rlhf-audit-trail"), ("PodDisruptionBudget", "rlhf-audit-trail")} <= kinds


def test_stores_are_reached_by_our_own_pods_alone() -> None:
    policies = {document["metadata"]["name"]: document["spec"] for document in kustomize("base") if document["kind"] == "NetworkPolicy"}
    assert policies["rlhf-audit-trail-default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for store in ("postgres", "redis"):
        (rule,) = policies[f"rlhf-audit-trail-{store}"]["ingress"]
        (peer,) = rule["from"]
        assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "rlhf-audit-trail"}
        assert rule["ports"] == [{"port": store}]
    reached = {port["port"] for rule in policies["rlhf-audit-trail-app"]["ingress"] for port in rule["ports"]}
    assert reached == {"http"}, "metrics are for Prometheus alone"


def test_production_keeps_nothing_in_the_cluster_but_backups() -> None:
    documents = kustomize("overlays/production")
    assert not [document for document in documents if document["kind"] == "StatefulSet"]
    claims = [document["metadata"]["name"] for document in documents if document["kind"] == "PersistentVolumeClaim"]
    assert claims == ["rlhf-audit-trail-backups"]
    for name, pod in pods(documents):
        if name == "Job/rlhf-audit-trail-migrate":
            continue
        data = next(volume for volume in pod["spec"]["volumes"] if volume["name"] == "data")
        assert data.keys() == {"name", "emptyDir"}, name
        assert pod["spec"]["initContainers"][0]["name"] == "keys" or "keys" in [c["name"] for c in pod["spec"]["initContainers"]], name
        assert "affinity" not in pod["spec"] or name.startswith("CronJob"), name


def test_all_images_of_ours_are_of_this_version() -> None:
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    for where in FORMS:
        images = {c["image"] for _, pod in pods(kustomize(where)) for c in containers(pod) if "rlhf-audit" in c["image"]}
        assert images == {f"ghcr.io/terragonlabs/rlhf-audit-trail:{version}"}, where


def test_the_plain_manifests_are_current() -> None:
    done = subprocess.run([sys.executable, ROOT / "deploy/kustomize/render.py", tool("kubectl"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_apply_works_as_the_guide_has_it_and_again(api: ApiServer) -> None:
    first = kubectl("apply", "-f", "deploy/kubernetes/")
    assert first.returncode == 0, first.stderr
    made = {(document["kind"], document["metadata"]["name"]) for path in PLAIN.glob("*.yaml") for document in manifests(path.read_text())}
    kept = {(kind, name) for kind, _, name in api.objects}
    assert kept == made
    again = kubectl("apply", "-f", "deploy/kubernetes/")
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("overlay", ["staging", "production"])
def test_overlays_are_applied_as_the_documentation_has_it(api: ApiServer, overlay: str) -> None:
    done = kubectl("apply", "-k", f"deploy/kustomize/overlays/{overlay}")
    assert done.returncode == 0, done.stderr
    made = {(document["kind"], document["metadata"]["name"]) for document in kustomize(f"overlays/{overlay}")}
    assert {(kind, name) for kind, _, name in api.objects} == made


def test_a_new_image_is_taken_but_by_a_job_that_is_still_there(api: ApiServer, tmp_path: Path) -> None:
    """Which is why the migration's ends by itself, and the setup's never changes."""
    assert kubectl("apply", "-f", "deploy/kubernetes/").returncode == 0
    for path in PLAIN.glob("*.yaml"):
        text = re.sub(r"(rlhf-audit-trail):[0-9]+\.[0-9]+\.[0-9]+", r"\1:99.0.0", path.read_text())
        (tmp_path / path.name).write_text(text)
    refused = kubectl("apply", "-f", tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.count("field is immutable") == 1, refused.stderr
    assert "rlhf-audit-trail-migrate" in refused.stderr
    assert kubectl("delete", "job", "rlhf-audit-trail-migrate", "--namespace", "rlhf-audit-trail", "--wait=false").returncode == 0
    taken = kubectl("apply", "-f", tmp_path)
    assert taken.returncode == 0, taken.stderr
    migrate = by_name(manifests((PLAIN / "60-migrate.yaml").read_text()), "Job", "rlhf-audit-trail-migrate")
    assert migrate["spec"]["ttlSecondsAfterFinished"] == 600


def test_the_setup_makes_secrets_once(api: ApiServer, tmp_path: Path) -> None:
    setup = by_name(kustomize("base"), "Job", "rlhf-audit-trail-setup")["spec"]["template"]["spec"]
    (generate,) = setup["initContainers"]
    script = generate["args"][0].replace("/made", str(tmp_path / "made"))
    (tmp_path / "made").mkdir()
    subprocess.run([*generate["command"], script], check=True, env={"PATH": os.environ["PATH"]})
    made = tmp_path / "made/secret.yaml"
    assert made.stat().st_mode & 0o077 == 0
    assert kubectl("apply", "-f", "deploy/kubernetes/00-namespace.yaml").returncode == 0
    create = [argument.replace("/made", str(tmp_path / "made")) for argument in setup["containers"][0]["args"]]
    done = kubectl(*create, "--namespace", "rlhf-audit-trail")
    assert done.returncode == 0, done.stderr
    secret = api.get("Secret", "rlhf-audit-trail-secrets", "rlhf-audit-trail")
    values = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert re.fullmatch(r"rat_[A-Za-z0-9_-]{43}", values["admin-token"])
    password = values["database-password"]
    assert len(password) == 32 and values["database-url"] == f"postgres://audit:{password}@rlhf-audit-trail-postgres:5432/audit"
    assert values["redis.conf"] == f"requirepass {values['redis-password']}" and values["redis-password"] != password
    # What is asked of it by any pod is in it.
    for name, pod in pods(kustomize("base")):
        for volume in pod["spec"].get("volumes", []):
            items = (volume.get("secret") or {}).get("items", [])
            assert {item["key"] for item in items} <= values.keys(), name
    # A second run, after the first Job was deleted, replaces nothing.
    subprocess.run([*generate["command"], script], check=True, env={"PATH": os.environ["PATH"]})
    again = kubectl(*create, "--namespace", "rlhf-audit-trail")
    assert again.returncode == 1 and "already exists" in again.stderr
    assert api.get("Secret", "rlhf-audit-trail-secrets", "rlhf-audit-trail")["data"] == secret["data"]


def test_keys_of_a_secret_become_files_of_their_owner_alone(tmp_path: Path) -> None:
    """The init container of production, run as it is but for its paths."""
    app = by_name(kustomize("overlays/production"), "Deployment", "rlhf-audit-trail")["spec"]["template"]["spec"]
    keys = next(container for container in app["initContainers"] if container["name"] == "keys")
    mounted, data = tmp_path / "mounted", tmp_path / "data"
    (mounted / "..data").mkdir(parents=True)
    data.mkdir()
    for name in ("log.ed25519", "deployment"):
        (mounted / "..data" / name).write_text(f"{name}\n")
        (mounted / name).symlink_to(f"..data/{name}")
    script = keys["args"][0].replace("/run/secrets/keys", str(mounted)).replace("/data/keys", str(data / "keys"))
    for _ in range(2):  # a container may be started again
        subprocess.run([*keys["command"], script], check=True)
    made = {path.name: (path.read_text(), oct(path.stat().st_mode & 0o777)) for path in (data / "keys").iterdir()}
    assert made == {name: (f"{name}\n", "0o600") for name in ("log.ed25519", "deployment")}
    assert (data / "keys").stat().st_mode & 0o777 == 0o700


def test_configuration_is_of_options_that_exist() -> None:
    known = yaml.safe_load((ROOT / "docs/spec/configuration.schema.json").read_text())["properties"].keys()
    for where in FORMS:
        for document in kustomize(where):
            if document["kind"] != "ConfigMap":
                continue
            for variable in document["data"]:
                key = variable.removeprefix("RLHF_AUDIT_").lower().replace("_", "-")
                assert key in known or variable.startswith("AWS_"), variable


def test_the_canary_of_the_documentation_is_a_deployment_of_its_own() -> None:
    need("jq")
    documentation = (ROOT / "docs/deployment/rolling-updates.md").read_text()
    (program,) = re.findall(r"jq '([^']+)'", documentation)
    app = by_name(kustomize("base"), "Deployment", "rlhf-audit-trail")
    done = subprocess.run(["jq", program], input=json.dumps(app), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    canary = json.loads(done.stdout)
    assert schema_errors([canary], [VERSIONS[0], VERSIONS[-1]]) == ""
    labels = canary["spec"]["template"]["metadata"]["labels"]
    assert canary["metadata"]["name"] != app["metadata"]["name"]
    assert canary["spec"]["selector"]["matchLabels"].items() <= labels.items()
    # The Service sends it requests, and the other Deployment does not take it for its own.
    assert by_name(kustomize("base"), "Service", "rlhf-audit-trail")["spec"]["selector"].items() <= labels.items()
    assert canary["spec"]["selector"] != app["spec"]["selector"]
