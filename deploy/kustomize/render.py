#!/usr/bin/env python3
"""Writes deploy/kubernetes, or checks it: what deploy/kustomize/base gives, a file for each part, in the order to apply them.

render.py KUBECTL [--check]
"""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "kubernetes"
HEAD = "# Rendered from deploy/kustomize/base (`make kubernetes`); change it there.\n"
# `kubectl apply -f` takes a directory's files by name: what others need comes first.
FIRST = {"Namespace": "00-namespace", "ServiceAccount": "10-service-accounts", "Role": "10-service-accounts"}
FIRST |= {"RoleBinding": "10-service-accounts", "ConfigMap": "20-configuration", "PersistentVolumeClaim": "20-storage"}
FIRST |= {"NetworkPolicy": "30-network-policies", "Ingress": "70-ingress"}
PARTS = {"setup": "40-setup", "postgres": "50-postgres", "redis": "50-redis", "migrate": "60-migrate"}
PARTS |= {"app": "70-app", "worker": "80-worker", "scheduler": "80-scheduler", "backup": "90-backup"}


def files(kubectl: str) -> dict[str, str]:
    command = [kubectl, "kustomize", str(HERE / "base")]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, list[str]] = {}
    for document in rendered.split("\n---\n"):
        kind = re.search(r"^kind: (\w+)$", document, re.M).group(1)
        name = FIRST.get(kind)
        if name is None:
            name = PARTS[re.search(r"^    app.kubernetes.io/component: (\w+)$", document, re.M).group(1)]
        found.setdefault(f"{name}.yaml", []).append(document.strip("\n"))
    return {name: HEAD + "\n---\n".join(documents) + "\n" for name, documents in found.items()}


def main() -> int:
    wanted = files(sys.argv[1])
    present = {path.name: path.read_text() for path in OUT.glob("*.yaml")} if OUT.is_dir() else {}
    if "--check" in sys.argv:
        stale = sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))
        if stale:
            print(f"render.py: not current: {', '.join(stale)}; run `make kubernetes`", file=sys.stderr)
        return 1 if stale else 0
    OUT.mkdir(exist_ok=True)
    for name in present.keys() - wanted.keys():
        (OUT / name).unlink()
    for name, text in wanted.items():
        (OUT / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
