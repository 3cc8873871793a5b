"""scripts/release.sh, in a scratch repository with a bare remote: what it refuses, what it makes, and that an interruption at
any step leaves nothing half-done and the same command finishes it. No engine is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import run
from scratch import DOCKER, Checkout

CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A thing.\n\n## [0.1.0] - 2026-01-01\n\n- The first.\n"
CHART = 'apiVersion: v2\nname: rlhf-audit-trail\nversion: 0.1.0\nappVersion: "0.1.0"\n'
COMPOSE = "services:\n  app:\n    image: ghcr.io/x/rlhf-audit-trail:0.1.0\n  db:\n    image: postgres:15\n"
KUSTOMIZATION = "images:\n  - name: rlhf-audit-trail\n    newTag: 0.1.0\n"
OPENAPI = '{\n  "openapi": "3.1.0",\n  "info": {\n    "title": "x",\n    "version": "0.1.0"\n  }\n}\n'
MAKEFILE = "lint test:\n\t@echo $@ >>made\n\t@if [ -n \"$$TESTS_FAIL\" ]; then exit 1; fi\n"

# Ends the script that called, as a loss of power would, before or after the call with this number.
GIT = """\
import subprocess
count = sum(json.loads(line)[0] == "git" for line in open(os.environ["CALLS"]))
at = os.environ.get("END_AT", "")
def end():
    os.killpg(os.getpgid(0), 9)
if at == f"before {count}":
    end()
code = subprocess.run([os.environ["REAL_GIT"], *sys.argv[1:]]).returncode
if at == f"after {count}":
    end()
sys.exit(code)
"""

GH = """\
state = os.environ["CALLS"] + ".release"
if sys.argv[1:3] == ["release", "view"]:
    sys.exit(0 if os.path.exists(state) else 1)
if sys.argv[1:3] == ["release", "create"]:
    if os.environ.get("GH_FAILS"):
        sys.exit("HTTP 502")
    assert not os.path.exists(state), "made twice"
    arguments = dict(zip(sys.argv, sys.argv[1:]))
    open(state, "w").write(open(arguments["--notes-file"]).read())
"""


class Repository:
    """A checkout on main whose remote is a bare repository."""

    def __init__(self, tmp: Path) -> None:
        self.tools = Checkout.make(tmp, ("make", "touch", "sh", "sleep", "git-upload-pack", "git-receive-pack"))
        self.path = self.tools.path
        self.remote = tmp / "remote.git"
        self.tools.add("docker", DOCKER)
        self.tools.add("gh", GH)
        for name, text in {
            "CHANGELOG.md": CHANGELOG, "charts/rlhf-audit-trail/Chart.yaml": CHART, "docker-compose.yml": COMPOSE,
            "deploy/kustomize/base/kustomization.yaml": KUSTOMIZATION, "docs/openapi.json": OPENAPI, "Makefile": MAKEFILE,
        }.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(text)
        (self.path / ".gitignore").write_text("/target/\n/reports/\n/made\n")
        run("git", "init", "-q", "--bare", "-b", "main", self.remote)
        for command in (
            ("init", "-q", "-b", "main"), ("config", "user.name", "A"), ("config", "user.email", "a@example.org"),
            ("remote", "add", "origin", self.remote), ("add", "."), ("commit", "-qm", "Begin"), ("push", "-q", "origin", "main"),
        ):
            self.git(*command)

    def git(self, *command: object) -> str:
        done = run("git", *command, cwd=self.path)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout.strip()

    def there(self, ref: str) -> str | None:
        done = run("git", "rev-parse", "-q", "--verify", f"{ref}^{{commit}}", cwd=self.remote)
        return done.stdout.strip() or None

    def release(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.tools.run("release.sh", *arguments, **variables)

    def commit(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)
        self.git("add", ".")
        self.git("commit", "-qm", "Change")

    def assert_untouched(self) -> None:
        assert self.git("status", "--porcelain") == ""
        assert self.git("tag") == "" and self.there("v0.1.1") is None
        assert self.git("rev-parse", "HEAD") == self.there("main")
        assert 'version = "0.1.0"' in (self.path / "Cargo.toml").read_text()

    def assert_released(self, version: str = "0.1.1") -> None:
        head = self.git("rev-parse", "HEAD")
        assert head == self.there("main") == self.there(f"v{version}") == self.git("rev-parse", f"v{version}^{{commit}}")
        assert self.git("log", "-1", "--format=%s") == f"Release {version}"
        assert self.git("rev-list", "--count", "HEAD") == "2"
        assert self.git("status", "--porcelain") == ""
        assert not list((self.path / "target").glob("release-of-*"))


@pytest.fixture
def repository(tmp_path) -> Repository:
    return Repository(tmp_path)


def test_a_patch_release(repository):
    done = repository.release("-r", "ghcr.io/x")
    assert done.returncode == 0, done.stderr
    repository.assert_released()
    read = {name: (repository.path / name).read_text() for name in (
        "Cargo.toml", "Cargo.lock", "docs/openapi.json", "charts/rlhf-audit-trail/Chart.yaml", "docker-compose.yml",
        "deploy/kustomize/base/kustomization.yaml", "CHANGELOG.md")}
    for name, text in read.items():
        assert "0.1.1" in text, name
        assert name == "CHANGELOG.md" or "0.1.0" not in text, name
    assert 'appVersion: "0.1.1"' in read["charts/rlhf-audit-trail/Chart.yaml"]
    assert "## [Unreleased]\n\n## [0.1.1] - 20" in read["CHANGELOG.md"]
    assert (repository.path / "made").read_text().split() == ["lint", "test"]
    # Images are built and scanned before the commit leaves, and pushed after.
    calls = repository.tools.calls("docker")
    assert any("build" in call and "ghcr.io/x/rlhf-audit-trail:0.1.1" in call for call in calls)
    assert "docker push ghcr.io/x/rlhf-audit-trail:0.1.1" in calls
    assert run("git", "cat-file", "-t", "v0.1.1", cwd=repository.remote).stdout == "tag\n"


@pytest.mark.parametrize(("kind", "version"), [("minor", "0.2.0"), ("major", "1.0.0")])
def test_minor_and_major(repository, kind, version):
    assert repository.release("-t", kind, "--skip-tests", "--skip-build").returncode == 0
    repository.assert_released(version)
    assert not (repository.path / "made").exists() and not repository.tools.calls("docker")


def test_a_dry_run_changes_nothing_and_says_everything(repository):
    done = repository.release("-t", "minor", "--dry-run", "--github-release", "-r", "ghcr.io/x")
    assert done.returncode == 0, done.stderr
    repository.assert_untouched()
    for said in ("make lint test", "scripts/version.sh set 0.2.0", "git tag --annotate", "git push --atomic",
                 "scripts/build.sh --version 0.2.0 --registry ghcr.io/x --push", "gh release create v0.2.0"):
        assert said in done.stdout, done.stdout
    assert not repository.tools.calls("docker") and not repository.tools.calls("gh")


def test_github_gets_the_changelog_once(repository):
    done = repository.release("--skip-tests", "--skip-build", "--github-release", GH_FAILS="1")
    assert done.returncode == 1 and "run the same command again" in done.stderr
    done = repository.release("--skip-tests", "--skip-build", "--github-release")
    assert done.returncode == 0, done.stderr
    repository.assert_released()
    notes = repository.tools.calls_file.with_name("calls.release").read_text()
    assert "- A thing." in notes and "The first" not in notes


def test_a_tag_that_stays_here(repository):
    assert repository.release("--skip-tests", "--skip-build", "--no-push-tags").returncode == 0
    assert repository.there("v0.1.1") is None and repository.git("tag") == "v0.1.1"
    assert repository.git("rev-parse", "HEAD") == repository.git("rev-parse", "v0.1.1^{commit}")


def test_commit_and_tag_are_signed_where_a_key_is(repository, tmp_path):
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key")
    (tmp_path / "bin/ssh-keygen").symlink_to(shutil.which("ssh-keygen"))
    (tmp_path / "signers").write_text(f"a@example.org {(tmp_path / 'key.pub').read_text()}")
    for name, value in (("gpg.format", "ssh"), ("user.signingkey", tmp_path / "key.pub"), ("gpg.ssh.allowedSignersFile", tmp_path / "signers")):
        repository.git("config", name, value)
    done = repository.release("--skip-tests", "--skip-build")
    assert done.returncode == 0, done.stderr
    repository.git("verify-commit", "HEAD")
    repository.git("verify-tag", "v0.1.1")


def test_what_cannot_be_released_is_refused(repository):
    def refused(said: str, *arguments: str, **variables: str) -> None:
        done = repository.release("--skip-tests", "--skip-build", *arguments, **variables)
        assert done.returncode == 2 and said in done.stderr, done.stderr

    refused("neither patch, minor nor major", "-t", "huge")
    refused("unknown option", "--nope")
    refused("there is no remote `upstream`", RELEASE_REMOTE="upstream")
    (repository.path / "dependencies").write_text("changed\n")
    refused("changes that are not committed")
    repository.git("checkout", "-q", ".")
    repository.git("switch", "-qc", "feature")
    refused("releases are made from main")
    repository.git("switch", "-q", "main")
    repository.git("tag", "v0.1.1")
    refused("the tag v0.1.1 is here already")
    repository.git("push", "-q", "origin", "v0.1.1")
    refused("the tag v0.1.1 is at origin already")
    repository.git("push", "-q", "--delete", "origin", "v0.1.1")
    repository.git("tag", "-d", "v0.1.1")
    repository.assert_untouched()
    repository.commit("docker-compose.yml", COMPOSE.replace("0.1.0", "0.0.9"))
    refused("do not agree on the version")
    repository.git("reset", "-q", "--hard", "HEAD^")
    repository.commit("CHANGELOG.md", CHANGELOG.replace("### Added\n\n- A thing.\n", ""))
    refused("says nothing under [Unreleased]")


def test_a_checkout_that_is_behind_is_refused(repository):
    repository.commit("dependencies", "more\n")
    repository.git("push", "-q", "origin", "main")
    repository.git("reset", "-q", "--hard", "HEAD^")
    done = repository.release("--skip-tests", "--skip-build")
    assert done.returncode == 2 and "pull them first" in done.stderr


def test_what_fails_before_the_push_leaves_everything_as_it_was(repository, tmp_path):
    done = repository.release("--skip-build", TESTS_FAIL="1")
    assert done.returncode == 1 and "the tests do not pass" in done.stderr
    repository.assert_untouched()
    done = repository.release("--skip-tests", BUILD_FAILS="1")
    assert done.returncode == 1 and "the images do not build" in done.stderr
    repository.assert_untouched()
    hook = repository.remote / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    done = repository.release("--skip-tests", "--skip-build")
    assert done.returncode == 1 and "did not take commit and tag" in done.stderr
    repository.assert_untouched()
    hook.unlink()
    assert repository.release("--skip-tests", "--skip-build").returncode == 0
    repository.assert_released()


def test_images_that_cannot_be_pushed_are_pushed_by_running_it_again(repository):
    arguments = ("--skip-tests", "-r", "ghcr.io/x")
    done = repository.release(*arguments, PUSH_FAILS="1")
    assert done.returncode == 1 and "run the same command again" in done.stderr
    assert repository.there("main") == repository.there("v0.1.1")
    assert repository.release(*arguments).returncode == 0
    assert "docker push ghcr.io/x/rlhf-audit-trail:0.1.1" in repository.tools.calls()
    repository.assert_released()


def test_an_interruption_at_any_step_leaves_nothing_half_done(tmp_path):
    """The script is killed before and after each of its calls of git that changes something; then the same command has to
    finish the release."""
    arguments = ("--skip-tests", "--github-release", "-r", "ghcr.io/x")

    def scratch(name: str) -> Repository:
        (tmp_path / name).mkdir()
        repository = Repository(tmp_path / name)
        repository.tools.add("git", GIT)
        return repository

    def release(repository: Repository, at: str = "") -> int:
        env = {"REAL_GIT": shutil.which("git"), "END_AT": at}
        command = [str(repository.path / "scripts/release.sh"), *arguments]
        repository.tools.calls_file.unlink(missing_ok=True)
        # A group of its own, which is killed as one.
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, start_new_session=True, timeout=120, cwd=tmp_path,
            env={"PATH": str(repository.tools.bin), "HOME": str(tmp_path), "CALLS": str(repository.tools.calls_file),
                 "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, **env},
        )
        return done.returncode

    whole = scratch("whole")
    assert release(whole) == 0
    whole.assert_released()
    calls = [call.split() for call in whole.tools.calls("git")]
    changing = {"clone", "commit", "tag", "push", "fetch", "merge", "update-ref"}
    # `-C DIR` stands before what some are.
    steps = [number for number, call in enumerate(calls, 1) if (call[3] if call[1] == "-C" else call[1]) in changing]
    assert len(steps) >= 7 and steps[-1] == len(calls), calls
    seen = set()
    for number in steps:
        for when in ("before", "after"):
            if when == "after" and number == len(calls):
                continue  # it is done then
            repository = scratch(f"{when}-{number}")
            assert release(repository, f"{when} {number}") == -9
            # At the remote is either all or nothing, and here is no change that nobody committed.
            assert (repository.there("v0.1.1") is None) == (run("git", "rev-list", "--count", "main", cwd=repository.remote).stdout == "1\n")
            assert repository.git("status", "--porcelain") == ""
            seen.add(repository.there("v0.1.1") is not None)
            if repository.git("log", "-1", "--format=%s") == "Release 0.1.1":
                continue  # this checkout has it too: it was the last step
            assert release(repository) == 0, (when, number)
            repository.assert_released()
            shutil.rmtree(tmp_path / f"{when}-{number}")
    assert seen == {True, False}
