"""Pods, run by a container engine as a kubelet would: users, groups, read-only root file systems, no capabilities, volumes with their
group and mode, probes. One engine is one node: an address of a Service leads to one pod."""

from __future__ import annotations

import base64
import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from conftest import Container, Engine, eventually, get
from kube import by_name


@dataclass
class Node:
    """Where pods run. Objects are those of one release; volumes are directories below `root`."""

    engine: Engine
    image: str
    root: Path
    objects: list[dict]
    network: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex[:12]}")

    def __post_init__(self) -> None:
        # Others than root have to reach the volumes.
        for parent in (self.root, *self.root.parents[:2]):
            parent.chmod(0o755)
        self.engine.ok("network", "create", self.network)

    def close(self) -> None:
        self.engine.clean()
        self.engine.run("network", "rm", self.network)

    def directory(self, path: str, group: int, mode: int = 0o2777) -> Path:
        """A directory as a kubelet makes it: root's, and the pod's group's."""
        made = self.root / path
        if not made.exists():
            made.mkdir(parents=True)
            os.chown(made, 0, group)
            made.chmod(mode)
        return made

    def files(self, path: str, group: int, data: dict[str, bytes], mode: int) -> Path:
        made = self.directory(path, group, 0o755)
        for name, content in data.items():
            file = made / name
            file.unlink(missing_ok=True)
            file.write_bytes(content)
            os.chown(file, 0, group)
            file.chmod(mode)
        return made

    def data(self, kind: str, name: str, items: list[dict] | None) -> dict[str, bytes]:
        found = by_name(self.objects, kind, name)["data"]
        decoded = {key: base64.b64decode(value) if kind == "Secret" else value.encode() for key, value in found.items()}
        return {item["path"]: decoded[item["key"]] for item in items} if items else decoded

    def volume(self, pod: str, group: int, volume: dict, path: str | None) -> Path:
        name = f"{pod}/{volume['name']}"
        if claim := volume.get("persistentVolumeClaim"):
            return self.directory("/".join(filter(None, ["claims", claim["claimName"], path])), group)
        if "emptyDir" in volume:
            return self.directory("/".join(filter(None, [name, path])), group)
        mode, data = 0o644, {}
        for source in volume.get("projected", {}).get("sources", [volume]):
            if secret := source.get("secret"):
                data |= self.data("Secret", secret.get("secretName") or secret["name"], secret.get("items"))
            if config := source.get("configMap"):
                data |= self.data("ConfigMap", config["name"], config.get("items"))
        for holder in (volume.get("projected"), volume.get("secret")):
            # A kubelet lets the group read what the volume's owner may.
            mode = holder.get("defaultMode", 0o644) | 0o440 if holder else mode
        return self.files(name, group, data, mode)

    def arguments(self, pod: str, spec: dict, container: dict) -> list[str]:
        security = spec["securityContext"]
        user, group = security["runAsUser"], security["fsGroup"]
        given = ["--network", self.network, "--user", f"{user}:{security['runAsGroup']}", "--group-add", str(group)]
        own = container["securityContext"]
        if own["readOnlyRootFilesystem"]:
            given.append("--read-only")
        given += [f"--cap-drop={name}" for name in own["capabilities"]["drop"]]
        if not own["allowPrivilegeEscalation"]:
            given.append("--security-opt=no-new-privileges")
        for source in container.get("envFrom", []):
            for name, value in self.data("ConfigMap", source["configMapRef"]["name"], None).items():
                given += ["--env", f"{name}={value.decode()}"]
        for entry in container.get("env", []):
            value = entry.get("value")
            if value is None:
                secret = entry["valueFrom"]["secretKeyRef"]
                value = self.data("Secret", secret["name"], None)[secret["key"]].decode()
            given += ["--env", f"{entry['name']}={value}"]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for mount in container.get("volumeMounts", []):
            where = self.volume(pod, group, volumes[mount["name"]], mount.get("subPath"))
            given += ["--volume", f"{where}:{mount['mountPath']}{':ro' if mount.get('readOnly') else ''}"]
        if command := container.get("command"):
            given += ["--entrypoint", command[0]]
        return given

    def words(self, container: dict) -> tuple[str, ...]:
        return (*container.get("command", [None])[1:], *container.get("args", []))

    def image_of(self, container: dict) -> str:
        return self.image if "rlhf-audit-trail" in container["image"] else container["image"]

    def once(self, pod: str, spec: dict, container: dict) -> str:
        """Runs a container to its end, which has to be good."""
        return self.engine.ok("run", "--rm", *self.arguments(pod, spec, container), self.image_of(container), *self.words(container))

    def start(self, pod: str, spec: dict, *aliases: str) -> Container:
        """Starts a pod: its init containers one after the other, and then its container."""
        for container in spec.get("initContainers", []):
            self.once(pod, spec, container)
        (container,) = spec["containers"]
        given = self.arguments(pod, spec, container)
        given += [f"--network-alias={alias}" for alias in aliases]
        return self.engine.start(*given, image=self.image_of(container), command=self.words(container))

    def probe(self, started: Container, container: dict, kind: str) -> bool:
        probe = container[kind]
        if "exec" in probe:
            return started.exec(*probe["exec"]["command"]).returncode == 0
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        address = started.inspect()["NetworkSettings"]["Networks"][self.network]["IPAddress"]
        asked = probe["httpGet"]
        return get(f"http://{address}:{ports[asked['port']]}{asked['path']}")[0] == 200

    def ready(self, started: Container, container: dict) -> None:
        def is_ready() -> bool:
            state = started.inspect()["State"]
            assert state["Running"], f"it ended with {state['ExitCode']}: {started.logs()}"
            return self.probe(started, container, "readinessProbe")

        eventually(f"{container['name']} is ready", is_ready, 90)
        if "livenessProbe" in container:
            assert self.probe(started, container, "livenessProbe")
