"""scripts/build.sh: its options, what it asks for first, what it does with what scanners find. No engine is needed."""

from __future__ import annotations

import pytest
from conftest import run
from scratch import DOCKER, GRYPE, TRIVY, Checkout

TAGGED = "--tag {0}:{1} --tag {0}:latest"


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    made = Checkout.make(tmp_path)
    made.add("docker", DOCKER)
    return made


def built(checkout: Checkout) -> str:
    (call,) = [call for call in checkout.calls("docker") if call.startswith("docker build ")]
    return call


def test_it_builds_production_and_tags_version_and_latest(checkout):
    done = checkout.run("build.sh")
    assert done.returncode == 0, done.stderr
    call = built(checkout)
    assert "--file Dockerfile " in call and "--target production" in call
    assert TAGGED.format("rlhf-audit-trail", "0.1.0") in call
    assert not any(" push " in call for call in checkout.calls())
    assert (checkout.path / "reports/sbom.json").exists()
    assert "warning: the image is not scanned" in done.stderr


def test_development_has_its_own_file_and_tags(checkout):
    assert checkout.run("build.sh", "-t", "development").returncode == 0
    call = built(checkout)
    assert "--file Dockerfile.dev" in call and "--target" not in call
    for tag in ("0.1.0-dev", "latest-dev", "dev"):
        assert f"--tag rlhf-audit-trail:{tag}" in call


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (("-p", "-r", "docker.io/terragonlabs", "-v", "1.2.3"), {}),
        (("--push", "--registry", "docker.io/terragonlabs", "--version", "1.2.3"), {}),
        ((), {"REGISTRY": "docker.io/terragonlabs", "PUSH_IMAGE": "true", "VERSION": "1.2.3"}),
        # An option beats a variable.
        (("-r", "docker.io/terragonlabs", "-v", "1.2.3", "-p"), {"REGISTRY": "other.example", "VERSION": "9.9.9", "PUSH_IMAGE": "false"}),
    ],
)
def test_options_and_variables(checkout, arguments, variables):
    done = checkout.run("build.sh", *arguments, **variables)
    assert done.returncode == 0, done.stderr
    assert TAGGED.format("docker.io/terragonlabs/rlhf-audit-trail", "1.2.3") in built(checkout)
    pushed = [call for call in checkout.calls() if " push " in call]
    assert pushed == [f"docker push docker.io/terragonlabs/rlhf-audit-trail:{tag}" for tag in ("1.2.3", "latest")]


def test_another_name_and_the_revision(checkout):
    for command in (("init", "-q"), ("add", "."), ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one")):
        assert run("git", *command, cwd=checkout.path).returncode == 0
    revision = run("git", "rev-parse", "HEAD", cwd=checkout.path).stdout.strip()
    assert checkout.run("build.sh", "-n", "team/audit").returncode == 0
    assert f"REVISION={revision} " in built(checkout) and "--tag team/audit:latest" in built(checkout)
    (checkout.path / "dependencies").write_text("two\n")
    checkout.run("build.sh")
    assert f"REVISION={revision}-dirty" in built(checkout)


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (("--nope",), {}, "unknown option `--nope`"),
        (("-t", "staging"), {}, "neither production nor development"),
        (("-v",), {}, "-v needs a value"),
        (("-v", "a b"), {}, "cannot be a tag"),
        (("-n", "Upper"), {}, "cannot be an image's name"),
        (("-p",), {}, "to push takes a registry"),
        (("-r", "https://ghcr.io/x"), {}, "without https://"),
        ((), {"PUSH_IMAGE": "maybe"}, "PUSH_IMAGE is `maybe`"),
        ((), {"SCAN_SECURITY": "maybe"}, "SCAN_SECURITY is `maybe`"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(checkout, arguments, variables, said):
    done = checkout.run("build.sh", *arguments, **variables)
    assert (done.returncode, checkout.calls()) == (2, [])
    assert said in done.stderr


def test_help_names_every_option(checkout):
    said = checkout.run("build.sh", "-h").stdout
    for option in ("-t, --target", "-p, --push", "-r, --registry", "-n, --name", "-v, --version", "--no-scan", "--multi-arch",
                   "--cache-from", "--cache-to", "--dry-run", "REGISTRY", "PUSH_IMAGE", "SCAN_SECURITY", "VERSION"):
        assert option in said, option


@pytest.mark.parametrize(
    ("variables", "arguments", "said"),
    [
        ({"DAEMON_SAYS": "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."}, (), "start it"),
        ({"DAEMON_SAYS": "permission denied while trying to connect to the Docker daemon socket"}, (), "usermod -aG docker"),
        ({"CLIENT_VERSION": "28.2.2"}, (), "docker-buildx-plugin"),
        ({}, ("--multi-arch",), "takes Docker Buildx"),
        ({"SCAN_SECURITY": "required"}, (), "install Trivy, Grype or Docker Scout"),
    ],
)
def test_what_is_missing_is_said_with_the_remedy_before_the_build(checkout, variables, arguments, said):
    done = checkout.run("build.sh", *arguments, **variables)
    assert done.returncode == 3 and said in done.stderr, done.stderr
    assert not any(" build " in call for call in checkout.calls())


def test_no_docker_at_all(checkout):
    (checkout.bin / "docker").unlink()
    done = checkout.run("build.sh")
    assert done.returncode == 3 and "docker is missing; install Docker" in done.stderr


def test_a_build_that_fails_says_so(checkout):
    done = checkout.run("build.sh", "-p", "-r", "r.example", BUILD_FAILS="1")
    assert done.returncode == 1 and "the build failed" in done.stderr
    assert not any("push" in call for call in checkout.calls())


def test_a_push_that_fails_says_how_to_log_in(checkout):
    done = checkout.run("build.sh", "-p", "-r", "r.example/team", PUSH_FAILS="1")
    assert done.returncode == 1 and "docker login r.example" in done.stderr


@pytest.mark.parametrize(("name", "does", "finds", "reports"), [
    ("trivy", TRIVY, "TRIVY_FINDS", ("trivy-report.json", "trivy-report.txt")),
    ("grype", GRYPE, "GRYPE_FINDS", ("grype-report.json",)),
])
def test_scanners_write_their_reports_and_stop_what_is_critical(checkout, name, does, finds, reports):
    checkout.add(name, does)
    push = ("-p", "-r", "r.example")
    done = checkout.run("build.sh", *push, **{finds: "HIGH"})
    assert done.returncode == 0, done.stderr
    for report in reports:
        assert (checkout.path / "reports" / report).stat().st_size > 0
    order = [call.split()[:2] for call in checkout.calls()]
    assert max(i for i, call in enumerate(order) if call[0] == name) < order.index(["docker", "push"])

    done = checkout.run("build.sh", *push, **{finds: "CRITICAL" if name == "trivy" else "Critical"})
    assert done.returncode == 1 and f"{name} found critical vulnerabilities" in done.stderr
    assert (checkout.path / "reports" / reports[0]).exists()
    assert not any("push" in call for call in checkout.calls())

    # One that breaks is no all-clear, whatever an earlier one wrote.
    done = checkout.run("build.sh", *push, **{f"{name.upper()}_BREAKS": "1"})
    assert done.returncode == 1 and f"{name} failed" in done.stderr, done.stderr
    assert not any("push" in call for call in checkout.calls())

    for arguments, variables in ((("--no-scan",), {}), ((), {"SCAN_SECURITY": "false"})):
        assert checkout.run("build.sh", *arguments, **variables).returncode == 0
        assert not checkout.calls(name)


def test_both_scanners_are_asked_and_scout_where_there_is_no_other(checkout):
    done = checkout.run("build.sh", HAS_SCOUT="1", SCOUT_SAYS="2")
    assert done.returncode == 1 and "docker scout found critical" in done.stderr
    checkout.add("trivy", TRIVY)
    checkout.add("grype", GRYPE)
    assert checkout.run("build.sh", HAS_SCOUT="1").returncode == 0
    assert checkout.calls("trivy") and checkout.calls("grype")
    assert not any("scout cves" in call for call in checkout.calls())


def test_several_architectures(checkout):
    both = "--platform linux/amd64,linux/arm64"
    assert checkout.run("build.sh", "--multi-arch", HAS_BUILDX="1").returncode == 0
    (call,) = [call for call in checkout.calls() if both in call]
    assert call.startswith("docker buildx build") and "type=oci,dest=dist/rlhf-audit-trail-0.1.0.oci.tar" in call
    assert checkout.run("build.sh", "--multi-arch", "-p", "-r", "ghcr.io/terragonlabs", HAS_BUILDX="1").returncode == 0
    (call,) = [call for call in checkout.calls() if both in call]
    assert "--push" in call and TAGGED.format("ghcr.io/terragonlabs/rlhf-audit-trail", "0.1.0") in call


def test_caches(checkout):
    cache = "r.example/rlhf-audit-trail:cache"
    assert checkout.run("build.sh", "--cache-from", cache, "--cache-to", cache, HAS_BUILDX="1").returncode == 0
    (call,) = [call for call in checkout.calls() if "buildx build" in call]
    assert f"--cache-from type=registry,ref={cache}" in call and f"--cache-to type=registry,ref={cache},mode=max" in call
    # Without buildx the cache is inside an image.
    assert checkout.run("build.sh", "--cache-from", cache, "--cache-to", cache).returncode == 0
    first, second = [call for call in checkout.calls() if call.startswith("docker build ")]
    assert f"--cache-from {cache}" in first
    assert "BUILDKIT_INLINE_CACHE=1" in second and f"--tag {cache}" in second
    assert f"docker push {cache}" in checkout.calls()


def test_a_dry_run_prints_what_a_run_does(checkout):
    checkout.add("trivy", TRIVY)
    arguments = ("-p", "-r", "r.example", "--cache-from", "r.example/c", "--cache-to", "r.example/c")
    dry = checkout.run("build.sh", *arguments, "--dry-run")
    assert dry.returncode == 0
    asked = ("version", "buildx version", "scout version")
    assert not [call for call in checkout.calls() if not call.removeprefix("docker ").startswith(asked)]
    real = checkout.run("build.sh", *arguments)
    assert real.returncode == 0, real.stderr
    did = [call for call in checkout.calls() if not call.removeprefix("docker ").startswith(asked)]
    said = [line.replace("\\,", ",").replace("CONTAINER", "container-1") for line in dry.stdout.splitlines()]
    assert [line.replace("docker rm CONTAINER", "docker rm container-1") for line in said
            if not line.startswith(("mkdir", "rm "))] == did
