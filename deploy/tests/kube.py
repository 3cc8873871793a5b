"""Manifests in the hands of tests: rendering, Kubernetes' schemas, its restricted pod security, and pods as containers."""

from __future__ import annotations

import copy
import json
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "target/services"
CHART = ROOT / "charts/rlhf-audit-trail"
# What the chart says that it runs on, and what is newest.
VERSIONS = ["1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"]
# Kinds whose schemas are not Kubernetes' own.
FOREIGN = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}


@cache
def need(*tools: str) -> None:
    subprocess.run([ROOT / "scripts/needs.sh", *tools], check=True)


def tool(name: str) -> str:
    need("helm", "kubernetes-validate")
    pattern = {"helm": "helm-*/helm/helm", "kubectl": "helm-*/kubectl/kubectl"}.get(name, f"{name}-*/bin/{name}")
    return str(next(SERVICES.glob(pattern)))


def manifests(text: str) -> list[dict]:
    return [document for document in yaml.safe_load_all(text) if document]


def helm(*arguments: str | Path, values: dict | None = None, **options) -> subprocess.CompletedProcess[str]:
    command = [tool("helm"), *map(str, arguments)]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        if values is not None:
            file.write(yaml.safe_dump(values))
            file.flush()
            command += ["--values", file.name]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, **options)


def template(values: dict | None = None, release: str = "audit", chart: Path = CHART) -> list[dict]:
    done = helm("template", release, chart, "--namespace", "audit", values=values or {})
    assert done.returncode == 0, done.stderr
    return manifests(done.stdout)


@cache
def kustomized(directory: str) -> str:
    command = [tool("kubectl"), "kustomize", ROOT / "deploy/kustomize" / directory]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def kustomize(directory: str) -> list[dict]:
    return manifests(kustomized(directory))


def schema_errors(documents: list[dict], versions: list[str]) -> str:
    """What Kubernetes' schemas, unknown fields refused, have against it; nothing where all is well."""
    own = [document for document in documents if document["kind"] not in FOREIGN]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write("\n---\n".join(json.dumps(document) for document in own))
        file.flush()
        which = [part for version in versions for part in ("-k", version)]
        command = [tool("kubernetes-validate"), "--strict", "--quiet", *which, file.name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    said = done.stdout + done.stderr
    return said if done.returncode or said else ""


def pods(documents: list[dict]) -> Iterator[tuple[str, dict]]:
    """Every pod that would be made, by the name of what makes it: its metadata and spec."""
    for document in documents:
        name = f"{document['kind']}/{document['metadata']['name']}"
        spec = document.get("spec") or {}
        match document["kind"]:
            case "Pod":
                yield name, document
            case "Deployment" | "Job":
                yield name, spec["template"]
            case "StatefulSet":
                # The controller adds the claims it makes.
                pod = copy.deepcopy(spec["template"])
                claims = [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])]
                made = [
                    {"name": claim, "persistentVolumeClaim": {"claimName": f"{claim}-{document['metadata']['name']}-0"}} for claim in claims
                ]
                pod["spec"]["volumes"] = [*pod["spec"].get("volumes", []), *made]
                yield name, pod
            case "CronJob":
                yield name, spec["jobTemplate"]["spec"]["template"]


def containers(pod: dict) -> list[dict]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def unrestricted(pod: dict) -> list[str]:
    """What the restricted Pod Security Standard (kubernetes.io/docs/concepts/security/pod-security-standards) would refuse."""
    spec = pod["spec"]
    wrong = [field for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    wrong += [f"volume {volume['name']}" for volume in spec.get("volumes", []) if not (set(volume) - {"name"}) <= allowed]
    whole = spec.get("securityContext") or {}
    for container in containers(pod):
        own = container.get("securityContext") or {}

        def at(field: str, own: dict = own):
            return own.get(field, whole.get(field))

        for field, is_right in {
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "privileged": not own.get("privileged"),
            "capabilities": (own.get("capabilities") or {}).get("drop") == ["ALL"] and not own["capabilities"].get("add"),
            "runAsNonRoot": at("runAsNonRoot") is True,
            "runAsUser": (at("runAsUser") or 1) != 0,
            "seccompProfile": (at("seccompProfile") or {}).get("type") in ("RuntimeDefault", "Localhost"),
            "procMount": own.get("procMount", "Default") == "Default",
            "hostPort": not any(port.get("hostPort") for port in container.get("ports", [])),
        }.items():
            if not is_right:
                wrong.append(f"{container['name']}: {field}")
    return wrong


def loose(pod: dict) -> list[str]:
    """What our own pods keep to beyond the standard."""
    wrong = []
    for container in containers(pod):
        name = container["name"]
        if not container["securityContext"].get("readOnlyRootFilesystem"):
            wrong.append(f"{name}: root file system is writable")
        limits = (container.get("resources") or {}).get("limits") or {}
        wrong += [f"{name}: no limit of {what}" for what in ("cpu", "memory") if what not in limits]
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        there = {volume["name"] for volume in pod["spec"].get("volumes", [])}
        wrong += [f"{name}: no volume {volume}" for volume in mounted - there]
    return wrong


def dangling(documents: list[dict], given: set[tuple[str, str]] = frozenset()) -> list[str]:
    """What is referred to by name and not there: volumes' claims, Secrets, ConfigMaps, accounts, backends, what scales and covers."""
    there = {(document["kind"], document["metadata"]["name"]) for document in documents} | set(given)
    templates = {
        ("PersistentVolumeClaim", f"{claim['metadata']['name']}-{document['metadata']['name']}-0")
        for document in documents
        if document["kind"] == "StatefulSet"
        for claim in document["spec"].get("volumeClaimTemplates", [])
    }
    there |= templates
    wanted: set[tuple[str, str, str]] = set()
    labels = [pod["metadata"]["labels"] for _, pod in pods(documents)]
    for name, pod in pods(documents):
        spec = pod["spec"]
        wanted.add((name, "ServiceAccount", spec.get("serviceAccountName", "default")))
        for volume in spec.get("volumes", []):
            if claim := volume.get("persistentVolumeClaim"):
                wanted.add((name, "PersistentVolumeClaim", claim["claimName"]))
            for source in [volume, *(volume.get("projected") or {}).get("sources", [])]:
                if secret := source.get("secret"):
                    wanted.add((name, "Secret", secret.get("secretName") or secret["name"]))
                if config := source.get("configMap"):
                    wanted.add((name, "ConfigMap", config["name"]))
        for container in containers(pod):
            for source in container.get("envFrom", []):
                kind = "Secret" if "secretRef" in source else "ConfigMap"
                wanted.add((name, kind, next(iter(source.values()))["name"]))
    for document in documents:
        name = f"{document['kind']}/{document['metadata']['name']}"
        spec = document.get("spec") or {}
        match document["kind"]:
            case "StatefulSet":
                wanted.add((name, "Service", spec["serviceName"]))
            case "HorizontalPodAutoscaler":
                wanted.add((name, spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]))
            case "Ingress":
                for rule in spec["rules"]:
                    for path in rule["http"]["paths"]:
                        wanted.add((name, "Service", path["backend"]["service"]["name"]))
    missing = [f"{name} names {kind} {what}" for name, kind, what in wanted if (kind, what) not in there]
    for document in documents:
        name = f"{document['kind']}/{document['metadata']['name']}"
        selector = {
            "Service": lambda spec: spec["selector"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "Deployment": lambda spec: spec["selector"]["matchLabels"],
            "StatefulSet": lambda spec: spec["selector"]["matchLabels"],
        }.get(document["kind"])
        if selector and not any(selector(document["spec"]).items() <= found.items() for found in labels):
            missing.append(f"{name} selects no pod")
    return missing


def by_name(documents: list[dict], kind: str, name: str) -> dict:
    return next(found for found in documents if found["kind"] == kind and found["metadata"]["name"] == name)
