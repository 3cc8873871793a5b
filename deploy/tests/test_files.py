"""What can be said of the files without running them: linters, and what they have to hold."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, run

DOCKERFILES = sorted([*ROOT.glob("Dockerfile*"), *ROOT.glob("scripts/offline/images/*/Dockerfile")])
SCRIPTS = sorted(path for path in (*ROOT.glob("scripts/**/*.sh"), ROOT / ".ci/run", *ROOT.glob("deploy/**/*.sh")) if path.is_file())
# DL3008, DL3013: versions are those of the base image's release. DL3059: a layer a step is what the cache is about.
# DL3006: the tag of the base image is in an argument.
# DL3067: that is how what was taken out of the base image stays out of the layers.
IGNORED = ("DL3006", "DL3008", "DL3013", "DL3059", "DL3067")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_hadolint(path):
    hadolint = Path(sys.executable).with_name("hadolint")
    done = run(hadolint, *(f"--ignore={rule}" for rule in IGNORED), path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_shellcheck(path):
    done = run("shellcheck", "--external-sources", path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_scripts_can_be_run(path):
    assert path.stat().st_mode & 0o111, "chmod +x"


@pytest.mark.parametrize("path", [ROOT / "Dockerfile", ROOT / "Dockerfile.dev"], ids=lambda path: path.name)
def test_dockerfiles_pull_no_syntax_and_pin_what_they_start_from(path):
    text = path.read_text()
    assert not re.search(r"^#\s*syntax\s*=", text, re.MULTILINE)
    for image in re.findall(r"^ARG \w+_IMAGE=(.+)$", text, re.MULTILINE):
        assert re.fullmatch(r"[a-z/]+:[\w.-]+", image) and not image.endswith(":latest"), image


def test_production_is_the_last_stage_and_the_stages_of_the_guide_are_there():
    stages = re.findall(r"^FROM .* AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert stages[-1] == "production" and {"builder", "development"} <= set(stages)


def test_the_toolchain_of_the_images_is_that_of_the_workspace():
    wanted = re.search(r'^rust-version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)
    for name in ("Dockerfile", "Dockerfile.dev"):
        assert f"rust:{wanted}-slim-bookworm" in (ROOT / name).read_text()


def test_every_file_has_the_same_version():
    done = run(ROOT / "scripts/version.sh", "check")
    assert done.returncode == 0, done.stderr


def test_hooks_are_this_checkouts_own():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    assert {"fmt", "typos", "shellcheck"} <= {hook["id"] for hook in config["repos"][0]["hooks"]}


def test_every_file_passes_the_hooks():
    tools = Path(sys.executable).parent
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    done = run(tools / "pre-commit", "run", "--all-files", cwd=ROOT, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


def test_secrets_and_history_stay_out_of_the_build():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for name in (".git", "target", "audit-data", "**/.env", "**/*.key", "**/secrets"):
        assert name in ignored, name


def test_the_skeleton_has_every_manifest_and_no_source(tmp_path):
    assert run(ROOT / "scripts/image/skeleton.sh", tmp_path / "made").returncode == 0
    made = tmp_path / "made"
    manifests = {path.relative_to(ROOT) for room in ("benches", "crates", "xtask") for path in (ROOT / room).rglob("Cargo.toml")}
    assert manifests <= {path.relative_to(made) for path in made.rglob("Cargo.toml")}
    assert {path.read_text() for path in made.rglob("*.rs")} == {"fn main() {}\n"}
    # Cargo has to find every target that a manifest names.
    done = run("cargo", "metadata", "--format-version=1", "--no-deps", "--offline", "--locked", cwd=made)
    assert done.returncode == 0, done.stderr
