"""Other ways to start it: Debian's docker-compose 1.29, staging, secrets of one's own, a database that comes late."""

import json
import secrets
import subprocess
import time

import pytest
from conftest import need_images
from observing import binary
from stack import Project, adopt, composes, get, third_party_images, until

pytestmark = pytest.mark.containers
STAGING = ["docker-compose.yml", "docker-compose.staging.yml"]


@pytest.fixture
def project(shared_engine, image, tmp_path):
    adopt(shared_engine)
    need_images(shared_engine, *third_party_images())
    made = []

    def make(version, **options):
        made.append(Project(tmp_path / "clone", composes()[version], RLHF_AUDIT_IMAGE=image, **options))
        return made[-1]

    yield make
    for one in made:
        one.down()


def test_staging_starts_without_the_override_and_waits_by_itself(project):
    """Named files leave the start order out. PostgreSQL comes last here, and nothing ends meanwhile."""
    one = project("v1", files=STAGING)
    one.compose("up", "-d", "secrets", "redis")
    one.compose("up", "-d", "--no-deps", "app", "worker", "scheduler")
    until(
        "the application says what it waits for",
        30,
        lambda: "waiting for a database" in one.compose("logs", "--no-color", "app", check=False).stdout,
    )
    time.sleep(3)
    assert all(container["State"]["Running"] for container in one.containers("app") + one.containers("worker"))
    assert get_refused(one)
    one.compose("up", "-d", "--no-deps", "postgres")
    one.wait_healthy("app", "worker", "scheduler", "postgres", "redis")
    assert {container["RestartCount"] for container in one.containers()} == {0}
    (app,) = one.containers("app")
    assert app["HostConfig"]["Memory"] == 512 << 20
    assert "RLHF_AUDIT_LOG_LEVEL=info,server=debug,jobs=debug" in app["Config"]["Env"]


def get_refused(one):
    try:
        get(one.url("/health/live"))
    except OSError:
        return True
    return False


def test_given_secrets_are_used_whatever_their_mode(project, tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    token = "rat_" + secrets.token_urlsafe(32)
    for name, value in {"admin-token": token, "redis-password": "given-redis.password_1"}.items():
        (given / name).write_text(value + "\n")
        (given / name).chmod(0o600)
    one = project("v1", SECRETS_DIR=str(given))
    one.compose("up", "-d", "app", timeout=300)
    one.wait_healthy("app", "postgres", "redis")
    assert get(one.url("/v1/tokens"), token)[0] == 200
    assert "given-redis.password_1" in one.run_in("redis", "cat", "/run/secrets/redis-password").stdout
    assert json.loads(get(one.url("/health/ready"))[2])["status"] == "ok"

    # A password is changed: the role's, then the file.
    statement = "ALTER ROLE rlhf_audit PASSWORD 'another-password'"
    one.run_in("postgres", "psql", "-U", "postgres", "-c", statement)
    (given / "database-password").write_text("another-password")
    one.compose("up", "-d", "--force-recreate", "secrets", "app", timeout=300)
    one.wait_healthy("app")
    assert ":another-password@" in one.run_in("app", "cat", "/run/secrets/database-url").stdout
    assert get(one.url("/v1/tokens"), token)[0] == 200


def test_secrets_made_by_several_at_once_are_the_same_everywhere(project):
    one = project("v2")
    one.compose("create", "secrets")
    run = [*one.command, "run", "--rm", "-T", "secrets"]
    several = [
        subprocess.Popen(run, cwd=one.directory, env=one.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(3)
    ]
    assert [(each.communicate(timeout=120), each.returncode)[1] for each in several] == [0, 0, 0]
    compare = (
        "shopt -s dotglob; for file in /for/*/*; do cmp $file /secrets/${file##*/} && echo same; done; ls -A /secrets"
    )
    said = one.compose("run", "--rm", "-T", "--entrypoint", "bash", "secrets", "-c", compare).stdout
    assert said.count("same") == 14 and ".new." not in said, said
    url, password = (
        one.compose("run", "--rm", "-T", "secrets", "show", name).stdout
        for name in ("database-url", "database-password")
    )
    assert f":{password.strip()}@" in url


def test_a_given_secret_that_cannot_be_is_refused(project, tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    (given / "admin-token").write_text("hunter2\n")
    one = project("v2", SECRETS_DIR=str(given))
    done = one.compose("run", "--rm", "-T", "secrets", check=False)
    assert done.returncode == 2
    assert "rat_ and 43 characters" in done.stdout + done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_half_a_certificate_is_refused(project, tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    (given / "tls.crt").write_text("not much\n")
    one = project("v2", SECRETS_DIR=str(given))
    done = one.compose("run", "--rm", "-T", "secrets", check=False)
    assert done.returncode == 2 and "both tls.crt and tls.key" in done.stdout + done.stderr


def test_an_embedded_ledger_moves_in_whole(project, tmp_path):
    """docs/deployment/compose.md, "From the embedded stores"."""
    old, state = tmp_path / "audit-data", {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}

    def here(*arguments, **options):
        done = subprocess.run([binary(), *arguments], env=state, capture_output=True, text=True, **options)
        assert done.returncode == 0, done
        return done.stdout

    token = json.loads(here("init", "--data-dir", old, "--json"))["admin_token"]
    here("run", "start", "--name", "first", "--data-dir", old)
    events = '{"kind":"metric.logged","body":{"metrics":{"loss":0.5}}}\n' * 20
    here("append", "--run", "first", "--data-dir", old, input=events)
    before = here("verify", old, "--json", "--policy", old / "policy")
    subprocess.run(["chown", "-R", "10001:10001", old], check=True)

    one = project("v1")
    one.compose("up", "-d", "secrets", "postgres", "redis", timeout=300)
    moved = one.compose(
        *("run", "--rm", "--no-deps", "-T", "-v", f"{old}:/from", "app", "database"),
        *("env", "-u", "RLHF_AUDIT_DATABASE_URL_FILE", "-u", "RLHF_AUDIT_OBJECTS"),
        *("RLHF_AUDIT_TO_DATABASE_URL_FILE=/run/secrets/database-url",),
        *("rlhf-audit", "migrate", "--data-dir", "/from", "--to-data-dir", "/data"),
    )
    assert "verified" in moved.stdout.lower(), moved
    one.compose("up", "-d", "app", timeout=300)
    one.wait_healthy("app")
    # The token of the old place lets in, and the log verifies with the policy of the old place.
    assert get(one.url("/v1/tokens"), token)[0] == 200
    state["RLHF_AUDIT_TOKEN"] = token
    after = here("verify", one.url("/log"), "--json", "--policy", old / "policy")
    before, after = json.loads(before), json.loads(after)
    assert before["verdict"] == after["verdict"] == "verified"
    assert after["checkpoint"]["size"] >= before["checkpoint"]["size"] > 20


def test_the_development_environment_stands_alone(project, image):
    """Its wiring, with the production image in the place of the development one, which test_images.py builds and asks."""
    one = project("v2", files=["docker-compose.dev.yml"], RLHF_AUDIT_DEV_IMAGE=image)
    one.compose("up", "-d", timeout=300)
    until("the application answers", 120, lambda: get(one.url("/health/ready"))[0] == 200)
    assert set(one.health()) == {"dev", "postgres", "redis", "grafana", "prometheus"}
    assert "shell" in one.run_in("dev", "bash", "-c", "echo shell").stdout
    assert "holds a ledger" in one.run_in("dev", "rlhf-audit", "doctor", "database").stdout
    asked = one.url("/api/v1/query?query=rlhf_audit_accepting", "PROMETHEUS")
    until("Prometheus scrapes it", 60, lambda: json.loads(get(asked)[2])["data"]["result"])
    assert "prometheus" in one.compose("logs", "prometheus").stdout
    one.compose("down")
    assert not one.containers(everything=True)
