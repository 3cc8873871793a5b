"""Small checkouts and stand-in programs for tests of the scripts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT, run

CARGO_TOML = """\
[workspace]
resolver = "3"
members = ["crates/*"]

[workspace.package]
version = "0.1.0"
edition = "2024"
"""

DOCKERFILE = """\
ARG DEBIAN_IMAGE=debian:bookworm-slim
FROM ${DEBIAN_IMAGE} AS builder
COPY dependencies /dependencies
RUN sha256sum /dependencies >/built && head -c 8 /proc/sys/kernel/random/uuid >>/built
FROM ${DEBIAN_IMAGE} AS production
COPY --from=builder /built /built
RUN mkdir -p /usr/share/rlhf-audit && echo '{"bomFormat":"CycloneDX"}' >/usr/share/rlhf-audit/sbom.cdx.json
ARG VERSION
ARG REVISION
ARG CREATED
ARG SOURCE_DATE_EPOCH
LABEL org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"
"""

# Says that it was called, and does what the variables with its name ask for.
STAND_IN = """\
#!/usr/bin/env python3
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
exec(open(os.environ["CALLS"] + "." + os.path.basename(sys.argv[0])).read())
"""

# A client whose engine does everything at once.
DOCKER = """\
said = " ".join(sys.argv[1:])
buildx = os.environ.get("HAS_BUILDX")
if said.startswith("version"):
    if os.environ.get("DAEMON_SAYS"):
        sys.exit(os.environ["DAEMON_SAYS"])
    print(os.environ.get("CLIENT_VERSION", "20.10.24"))
elif said.startswith(("buildx version", "buildx inspect")):
    sys.exit(0 if buildx else 1)
elif said.startswith("scout version"):
    sys.exit(0 if os.environ.get("HAS_SCOUT") else 1)
elif said.startswith("create"):
    print("container-1")
elif said.startswith("cp"):
    open(sys.argv[-1], "w").write("{}")
elif said.startswith("build ") and os.environ.get("BUILD_FAILS"):
    sys.exit("it does not build")
elif said.startswith("scout cves --only-severity critical"):
    sys.exit(int(os.environ.get("SCOUT_SAYS", "0")))
elif said.startswith("push") and os.environ.get("PUSH_FAILS"):
    sys.exit("denied")
"""

# Trivy's own: a report where --output says, and the exit code that it was told to use for what it finds.
TRIVY = """\
severity = os.environ.get("TRIVY_FINDS")
if os.environ.get("TRIVY_BREAKS"):
    sys.exit("FATAL: no database")
arguments = dict(zip(sys.argv, sys.argv[1:]))
vulnerabilities = [{"VulnerabilityID": "CVE-2024-0001", "PkgName": "libc6", "Severity": severity}] if severity else []
report = {"SchemaVersion": 2, "ArtifactName": sys.argv[-1], "Results": [{"Target": "debian", "Vulnerabilities": vulnerabilities}]}
if "--output" in arguments:
    text = json.dumps(report) if arguments["--format"] == "json" else f"debian (debian 12)\\nTotal: {len(vulnerabilities)}\\n"
    open(arguments["--output"], "w").write(text)
if "--exit-code" in arguments and severity in arguments.get("--severity", "").split(","):
    sys.exit(int(arguments["--exit-code"]))
"""

# Grype's own: a report where --file says, and 2 where it fails for what it finds.
GRYPE = """\
if os.environ.get("GRYPE_BREAKS"):
    sys.exit("failed to load vulnerability db")
severity = os.environ.get("GRYPE_FINDS")
arguments = dict(zip(sys.argv, sys.argv[1:]))
matches = [{"vulnerability": {"id": "CVE-2024-0001", "severity": severity}}] if severity else []
open(arguments["--file"], "w").write(json.dumps({"matches": matches, "descriptor": {"name": "grype"}}))
if (severity or "").lower() == arguments.get("--fail-on"):
    sys.exit(2)
"""


@dataclass
class Checkout:
    """A checkout of a project with our scripts, and a path that holds nothing but what a test puts there."""

    path: Path
    bin: Path
    calls_file: Path

    @classmethod
    def make(cls, tmp: Path, tools: tuple[str, ...] = ()) -> Checkout:
        path = tmp / "checkout"
        (path / "scripts").mkdir(parents=True)
        for script in ("build.sh", "release.sh", "version.sh"):
            shutil.copy(ROOT / "scripts" / script, path / "scripts" / script)
        (path / "Cargo.toml").write_text(CARGO_TOML)
        (path / "Cargo.lock").write_text('version = 4\n\n[[package]]\nname = "rlhf-audit"\nversion = "0.1.0"\n')
        (path / "Dockerfile").write_text(DOCKERFILE)
        (path / "Dockerfile.dev").write_text(DOCKERFILE)
        (path / "dependencies").write_text("one\n")
        (path / ".gitignore").write_text("/target/\n/reports/\n/dist/\n")
        (tmp / "bin").mkdir()
        checkout = cls(path, tmp / "bin", tmp / "calls")
        system = ("bash", "env", "sed", "awk", "head", "tr", "date", "id", "rm", "mkdir", "dirname", "cat", "git", "sort", "grep", "mv", "cp")
        for tool in (*system, *tools):
            found = shutil.which(tool)
            assert found, tool
            (checkout.bin / tool).symlink_to(found)
        return checkout

    def add(self, name: str, does: str) -> None:
        """A program of this name that does this."""
        program = self.bin / name
        program.unlink(missing_ok=True)
        program.write_text(STAND_IN.replace("/usr/bin/env python3", sys.executable))
        program.chmod(0o755)
        self.calls_file.with_name(f"{self.calls_file.name}.{name}").write_text(does)

    def run(self, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": str(self.bin), "HOME": str(self.path.parent), "CALLS": str(self.calls_file),
            "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, **variables,
        }
        self.calls_file.unlink(missing_ok=True)
        return run(self.path / "scripts" / script, *arguments, env=env, cwd=self.path.parent)

    def calls(self, name: str | None = None) -> list[str]:
        """What was called, as lines."""
        if not self.calls_file.exists():
            return []
        all_calls = [json.loads(line) for line in self.calls_file.read_text().splitlines()]
        return [" ".join(call) for call in all_calls if name in (None, call[0])]
