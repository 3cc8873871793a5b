"""As much of the Kubernetes API as `kubectl apply` and `helm install`, `upgrade` and `uninstall` ask of it, in memory.

It is no cluster: it starts nothing, defaults nothing and checks no schema (kubernetes-validate does). What it does hold to is what
a manifest can get wrong between one version and the next: a namespace has to be there first, and fields that never change may not.
"""

from __future__ import annotations

import base64
import json
import threading
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

# group/version → kinds: plural, kind, namespaced.
RESOURCES = {
    "v1": [
        ("namespaces", "Namespace", False),
        ("configmaps", "ConfigMap", True),
        ("persistentvolumeclaims", "PersistentVolumeClaim", True),
        ("pods", "Pod", True),
        ("secrets", "Secret", True),
        ("serviceaccounts", "ServiceAccount", True),
        ("services", "Service", True),
    ],
    "apps/v1": [("deployments", "Deployment", True), ("statefulsets", "StatefulSet", True)],
    "autoscaling/v2": [("horizontalpodautoscalers", "HorizontalPodAutoscaler", True)],
    "batch/v1": [("cronjobs", "CronJob", True), ("jobs", "Job", True)],
    "networking.k8s.io/v1": [("ingresses", "Ingress", True), ("networkpolicies", "NetworkPolicy", True)],
    "policy/v1": [("poddisruptionbudgets", "PodDisruptionBudget", True)],
    "rbac.authorization.k8s.io/v1": [("roles", "Role", True), ("rolebindings", "RoleBinding", True)],
}
# What may not change, as the API's own validation has it.
IMMUTABLE = {
    "Deployment": ["spec.selector"],
    "StatefulSet": ["spec.selector", "spec.serviceName", "spec.volumeClaimTemplates", "spec.podManagementPolicy"],
    "Job": ["spec.selector", "spec.template", "spec.completions"],
    "PersistentVolumeClaim": ["spec.accessModes", "spec.storageClassName", "spec.volumeName"],
    "Service": ["spec.clusterIP"],
    "RoleBinding": ["roleRef"],
}


def at(value, path: str):
    for part in path.split("."):
        value = (value or {}).get(part)
    return value


def immutable_fields(manifest: dict) -> dict:
    """Those of a manifest's fields that may not change."""
    return {path: at(manifest, path) for path in IMMUTABLE.get(manifest["kind"], [])}


def wire(data: bytes) -> dict[int, list]:
    """The fields of a protobuf message by number: integers, and bytes."""
    fields: dict[int, list] = {}
    at_byte = 0

    def varint() -> int:
        nonlocal at_byte
        value, shift = 0, 0
        while True:
            byte = data[at_byte]
            at_byte += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at_byte < len(data):
        tag = varint()
        value: int | bytes = varint()
        if tag & 7 == 2:
            at_byte, value = at_byte + value, data[at_byte : at_byte + value]
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def decoded(body: bytes) -> dict:
    """A request's object. Helm keeps its releases in Secrets, which it sends as protobuf (k8s.io/api/core/v1/generated.proto)."""
    if not body.startswith(b"k8s\0"):
        return yaml.safe_load(body)
    unknown = wire(body[4:])
    assert wire(unknown[1][0])[2] == [b"Secret"], "only Secrets are read as protobuf"
    secret = wire(unknown[2][0])
    meta = wire(secret[1][0])
    pairs = [(wire(pair)[1][0].decode(), wire(pair).get(2, [b""])[0]) for pair in secret.get(2, [])]
    labels = {wire(pair)[1][0].decode(): wire(pair)[2][0].decode() for pair in meta.get(11, [])}
    return {
        "metadata": {"name": meta[1][0].decode(), "labels": labels},
        "data": {key: base64.b64encode(value).decode() for key, value in pairs},
        "type": secret.get(3, [b"Opaque"])[0].decode(),
    }


def merged(old, patch):
    """JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


class ApiServer:
    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict] = {}
        self.version = 0
        self.lock = threading.Lock()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_) -> None:
                pass

            def handle_any(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                with api.lock:
                    status, answer = api.answer(self.command, self.path, body, self.headers.get("content-type", ""))
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def kubeconfig(self) -> str:
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "clusters": [{"name": "test", "cluster": {"server": self.url}}],
                "users": [{"name": "test", "user": {}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            }
        )

    def get(self, kind: str, name: str, namespace: str = "default") -> dict | None:
        return self.objects.get((kind, namespace, name))

    def all(self, kind: str) -> list[dict]:
        return [found for (of, _, _), found in self.objects.items() if of == kind]

    def answer(self, method: str, path: str, body: bytes, content_type: str) -> tuple[int, dict]:
        url = urllib.parse.urlsplit(path)
        query = dict(urllib.parse.parse_qsl(url.query))
        parts = [part for part in url.path.split("/") if part]
        if url.path == "/version":
            return 200, {"major": "1", "minor": "35", "gitVersion": "v1.35.0"}
        if parts == ["api"]:
            return 200, {"kind": "APIVersions", "versions": ["v1"]}
        if parts == ["apis"]:
            return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": [self.group(g) for g in RESOURCES if "/" in g]}
        if parts[:1] == ["openapi"]:
            return self.openapi(parts)
        for group, kinds in RESOURCES.items():
            root = ["apis", *group.split("/")] if "/" in group else ["api", group]
            if parts[: len(root)] == root:
                return self.resource(method, group, kinds, parts[len(root) :], query, body, content_type)
        return failure(404, "NotFound", f"there is no {url.path}")

    def openapi(self, parts: list[str]) -> tuple[int, dict]:
        """Only that fields are validated by the server, which a client looks for."""
        roots = {("apis/" if "/" in group else "api/") + group: group for group in RESOURCES}
        if parts == ["openapi", "v3"]:
            return 200, {"paths": {root: {"serverRelativeURL": f"/openapi/v3/{root}"} for root in roots}}
        group = roots.get("/".join(parts[2:]))
        if parts[:2] != ["openapi", "v3"] or group is None:
            return failure(404, "NotFound", "there is no such description")
        paths = {}
        for plural, kind, _ in RESOURCES[group]:
            api, _, version = group.rpartition("/")
            named = {"group": api, "version": version, "kind": kind}
            paths[f"/{'/'.join(parts[2:])}/{plural}/{{name}}"] = {
                "patch": {
                    "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
                    "x-kubernetes-group-version-kind": named,
                }
            }
        return 200, {"openapi": "3.0.0", "info": {"title": "test", "version": "1"}, "paths": paths, "components": {"schemas": {}}}

    @staticmethod
    def group(group_version: str) -> dict:
        name, version = group_version.split("/")
        served = {"groupVersion": group_version, "version": version}
        return {"name": name, "versions": [served], "preferredVersion": served}

    def resource(self, method, group, kinds, rest, query, body, content_type) -> tuple[int, dict]:
        if not rest:
            verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
            listed = [
                {"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": namespaced, "verbs": verbs}
                for plural, kind, namespaced in kinds
            ]
            return 200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": listed}
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        kind = next((kind for plural, kind, _ in kinds if plural == rest[0]), None)
        if kind is None:
            return failure(404, "NotFound", f"no resource {rest[0]}")
        if len(rest) == 1:
            return self.listed(group, kind, namespace, query) if method == "GET" else self.created(group, kind, namespace, body)
        return self.one(method, group, kind, namespace, rest[1], query, body, content_type)

    def listed(self, group, kind, namespace, query) -> tuple[int, dict]:
        wanted = [pair.split("=") for pair in query.get("labelSelector", "").split(",") if "=" in pair and "!" not in pair]
        items = [
            found
            for (of, where, _), found in self.objects.items()
            if of == kind
            and (not namespace or where == namespace)
            and all((found["metadata"].get("labels") or {}).get(key) == value for key, value in wanted)
        ]
        meta = {"resourceVersion": str(self.version)}
        return 200, {"kind": f"{kind}List", "apiVersion": group, "metadata": meta, "items": items}

    def created(self, group, kind, namespace, body) -> tuple[int, dict]:
        manifest = decoded(body)
        return self.put(group, kind, namespace, manifest["metadata"]["name"], manifest, is_new=True)

    def one(self, method, group, kind, namespace, name, query, body, content_type) -> tuple[int, dict]:
        old = self.objects.get((kind, namespace, name))
        is_apply = "apply-patch" in content_type
        if old is None and not (method == "PATCH" and is_apply):
            return failure(404, "NotFound", f"{kind.lower()} {name!r} not found")
        if method == "GET":
            return 200, old
        if method == "DELETE":
            del self.objects[(kind, namespace, name)]
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        manifest = decoded(body)
        if method == "PATCH" and not is_apply:
            manifest = merged(old, manifest)
        return self.put(group, kind, namespace, name, manifest, is_new=old is None)

    def put(self, group, kind, namespace, name, manifest, *, is_new) -> tuple[int, dict]:
        key = (kind, namespace, name)
        old = self.objects.get(key)
        if namespace and not (namespace == "default" or ("Namespace", "", namespace) in self.objects):
            return failure(404, "NotFound", f'namespaces "{namespace}" not found')
        if is_new and old is not None:
            return failure(409, "AlreadyExists", f'{kind.lower()} "{name}" already exists')
        manifest |= {"apiVersion": group, "kind": kind}
        for text_key, text in (manifest.pop("stringData", None) or {}).items():
            manifest.setdefault("data", {})[text_key] = base64.b64encode(text.encode()).decode()
        if old is not None:
            before, after = immutable_fields(old), immutable_fields(manifest)
            changed = [path for path in before if before[path] != after[path]]
            if changed:
                return failure(422, "Invalid", f"{kind} {name!r} is invalid: {', '.join(changed)}: field is immutable")
        self.version += 1
        kept = (old or {}).get("metadata", {})
        manifest["metadata"] |= {"name": name, "resourceVersion": str(self.version), "uid": kept.get("uid") or str(uuid.uuid4())}
        manifest["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        if namespace:
            manifest["metadata"]["namespace"] = namespace
        self.objects[key] = manifest
        return (200 if old is not None else 201), manifest


def failure(code: int, reason: str, message: str) -> tuple[int, dict]:
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code}
