"""`docker-compose up -d` on a fresh clone, and what is done to it after that.

The images of third parties may be stand-ins (scripts/offline/stand-ins.sh): real PostgreSQL, Redis, Prometheus,
Alertmanager, nginx and exporters from Debian's packages. Grafana's stand-in only shows that it is wired: Grafana itself
is not run where its image cannot be pulled.
"""

import json
import os
import re
import shlex
import ssl
import subprocess
import time

import pytest
from conftest import need_images
from load import Load
from observing import binary
from stack import ROOT, SERVICES, Project, Registry, adopt, composes, docker, get, third_party_images, until

pytestmark = pytest.mark.containers


@pytest.fixture(scope="module")
def project(shared_engine, image, tmp_path_factory):
    """The guide's first command, as it stands."""
    adopt(shared_engine)
    need_images(shared_engine, Registry.IMAGE, *third_party_images())
    one = Project(tmp_path_factory.mktemp("clone"), composes()["v2"], profiles=["with-proxy"], RLHF_AUDIT_IMAGE=image)
    try:
        one.compose("up", "-d", timeout=600)
        one.wait_healthy(*SERVICES, "nginx")
        yield one
    finally:
        one.down()


@pytest.fixture(scope="module")
def policy(project, tmp_path_factory):
    path = tmp_path_factory.mktemp("policy") / "policy"
    path.write_text(project.run_in("app", "cat", "/data/policy").stdout)
    return path


@pytest.fixture
def registry(project):
    one = Registry()
    yield one
    one.stop()


@pytest.fixture
def load(project, policy):
    running = []

    def start(seconds, **options):
        one = Load(project.url(), project.secret("admin-token"), policy, seconds, **options)
        running.append(one)
        time.sleep(3)
        assert one.process.poll() is None, one.process.communicate()
        return one

    yield start
    for one in running:
        one.stop()


def test_everything_is_healthy_and_nothing_was_restarted(project):
    assert set(project.health()) == {*SERVICES, "nginx"}
    for container in project.containers():
        assert container["RestartCount"] == 0, container["Name"]
    unhealthy = project.engine(
        "ps", "-q", "--filter", "health=unhealthy", "--filter", f"label=com.docker.compose.project={project.name}"
    )
    assert unhealthy.stdout == ""


def test_the_secrets_service_has_ended_well(project):
    (one,) = project.containers("secrets", everything=True)
    assert one["State"]["Status"] == "exited" and one["State"]["ExitCode"] == 0


def test_the_guides_addresses_answer(project):
    assert get(project.url("/health"))[0] == 200
    assert b"rlhf_audit_build_info" in get(project.url("/metrics"))[2]
    assert b"prometheus_build_info" in get(project.url("/metrics", "PROMETHEUS"))[2]
    assert get(project.url("/api/health", "GRAFANA"))[0] == 200
    assert get(project.url("/-/ready", "ALERTMANAGER"))[0] == 200


def test_the_admins_token_is_in_the_volume_and_shown_on_request(project):
    token = project.secret("admin-token")
    assert re.fullmatch(r"rat_[A-Za-z0-9_-]{43}", token)
    assert get(project.url("/v1/tokens"), token)[0] == 200
    assert get(project.url("/v1/tokens"))[0] == 401
    shown = project.compose("run", "--rm", "-T", "secrets", "show", "admin-token").stdout.strip()
    assert shown.splitlines()[-1] == token


def test_no_secret_is_in_inspect_logs_or_arguments(project):
    kept = project.compose(
        "run", "--rm", "-T", "--entrypoint", "bash", "secrets", "-c", "cat /secrets/*-password /secrets/admin-token"
    )
    values = [line for line in kept.stdout.split() if len(line) >= 40]
    assert len(values) == 6, "five passwords and a token"
    seen = json.dumps(project.containers(everything=True))
    seen += project.compose("logs", "--no-color").stdout
    for container in project.containers():
        seen += project.engine("top", container["Id"], "-eo", "pid,args").stdout
    for value in values:
        assert value not in seen


def test_a_service_sees_its_own_secrets_alone(project):
    def listed(service):
        return set(project.run_in(service, "ls", "/run/secrets").stdout.split())

    assert listed("app") == {"admin-token", "database-url", "redis-url"}
    assert listed("worker") == {"database-url", "redis-url"}
    assert listed("redis") == {"redis-password"}
    assert listed("postgres") == {"postgres-password", "database-password", "metrics-password"}
    assert listed("nginx") == {"tls.crt", "tls.key"}


def test_data_and_configuration_are_backed_up(project):
    page = (ROOT / "docs/deployment/compose.md").read_text()
    commands = re.findall(r"^    (docker-compose run .*backups.*(?:\n      --.*)*)", page, re.M)
    generate, backup, listing, files = (shlex.split(command.replace("\\\n", " ")) for command in commands)
    # A clone of a user's can be read by others; one of pytest's cannot.
    project.directory.chmod(0o755)
    place = project.directory / "backups"
    place.mkdir(mode=0o700)
    os.chown(place, 10001, 10001)

    def run(command):
        return project.compose(*(word.replace("$PWD", str(project.directory)) for word in command[1:])).stdout

    run(generate)
    said = run(backup)
    assert re.search(r"files +\d\d+ beside the ledger", said), said
    assert re.search(r"\d+ records, .*; [1-9]\d+ files", run(listing))
    run(files)
    back = place / "files"
    assert (back / "run/secrets/admin-token").read_text().strip() == project.secret("admin-token")
    for name in ("docker-compose.yml", "deploy/compose/wait.sh"):
        assert (back / "project" / name).read_bytes() == (ROOT / name).read_bytes()


def test_nothing_runs_as_root_or_writes_where_it_should_not(project):
    for container in project.containers():
        name = container["Config"]["Labels"]["com.docker.compose.service"]
        assert container["HostConfig"]["ReadonlyRootfs"], name
        assert container["HostConfig"]["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in container["HostConfig"]["SecurityOpt"], name
        assert container["HostConfig"]["Memory"] > 0 and container["HostConfig"]["NanoCpus"] > 0, name
        assert container["HostConfig"]["LogConfig"]["Config"]["max-size"] == "10m", name
        users = project.engine("top", container["Id"], "-eo", "pid,uid,comm").stdout.splitlines()[1:]
        programs = [line.split() for line in users if "docker-init" not in line and "tini" not in line]
        assert programs and all(uid != "0" for _, uid, *_ in programs), (name, users)
    refused = project.run_in("app", "bash", "-c", "echo x > /usr/local/x", check=False)
    assert refused.returncode != 0 and "Read-only" in refused.stderr


def test_logs_are_json(project):
    for service in ("app", "worker", "scheduler", "prometheus", "alertmanager", "nginx"):
        (container, *_) = project.containers(service)
        logs = project.engine("logs", container["Id"])
        lines = [line for line in (logs.stdout + logs.stderr).splitlines() if line.strip()]
        # nginx says what it has to say about itself in its own words.
        if service == "nginx":
            lines = [line for line in lines if not re.match(r"\d{4}/\d\d/\d\d ", line)]
        assert lines, service
        for line in lines:
            assert line.startswith("{") and isinstance(json.loads(line), dict), (service, line)


def test_the_guides_commands_in_containers(project):
    doctor = project.run_in("app", "rlhf-audit", "doctor", "database")
    assert "holds a ledger" in doctor.stdout
    name = project.settings["APP_CONTAINER_NAME"]
    assert project.engine("exec", name, "rlhf-audit", "health", check=False).returncode == 0
    # A terminal, as `docker exec -it … bash` has one.
    typed = subprocess.run(
        ["script", "-qec", f"{docker()} exec -it {name} bash -c 'echo shell of $(id -u)'", "/dev/null"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "shell of 10001" in typed.stdout, typed
    assert "database system is ready" in project.compose("logs", "postgres").stdout
    assert project.engine("logs", name).returncode == 0 and project.engine("inspect", name).returncode == 0


def reached(project, service, *targets):
    """Those of the targets to which a connection can be made from where a service is."""
    (container, *_) = project.containers(service)
    tries = " ".join(f"(timeout 3 bash -c '</dev/tcp/{target}' 2>/dev/null && echo {target}) &" for target in targets)
    tried = project.engine(
        *("run", "--rm", "--network", f"container:{container['Id']}"),
        *("--entrypoint", "bash", project.settings["RLHF_AUDIT_IMAGE"], "-c", f"{tries} wait"),
    )
    return set(tried.stdout.split())


def address(project, service, network):
    (container, *_) = project.containers(service)
    return container["NetworkSettings"]["Networks"][f"{project.name}_{network}"]["IPAddress"]


def test_the_stores_are_reached_by_those_alone_who_need_them(project):
    postgres, redis = f"{address(project, 'postgres', 'data')}/5432", f"{address(project, 'redis', 'data')}/6379"
    for inside in ("app", "worker", "postgres-exporter"):
        assert reached(project, inside, postgres, redis) == {postgres, redis}, inside
    exporter = f"{address(project, 'postgres-exporter', 'monitoring')}/9187"
    # By address too: it is not only that the name is unknown.
    for outside in ("prometheus", "grafana", "alertmanager"):
        assert reached(project, outside, postgres, redis, exporter) == {exporter}, outside
    assert reached(project, "nginx", postgres, redis, exporter) == set()


def test_the_application_is_no_superuser_of_its_database(project):
    asked = "select rolname, rolsuper from pg_roles where rolname like 'rlhf%' order by 1"
    said = project.run_in("postgres", "psql", "-U", "postgres", "-d", "rlhf_audit", "-Atc", asked).stdout.split()
    assert said == ["rlhf_audit|f", "rlhf_audit_metrics|f"]
    asked = "select has_schema_privilege('rlhf_audit_metrics', 'rlhf_audit', 'USAGE')"
    assert project.run_in("postgres", "psql", "-U", "postgres", "-d", "rlhf_audit", "-Atc", asked).stdout.strip() == "f"


def test_prometheus_sees_what_it_watches(project):
    def targets():
        answer = json.loads(get(project.url("/api/v1/targets?state=active", "PROMETHEUS"))[2])
        return {one["labels"]["job"]: one["health"] for one in answer["data"]["activeTargets"]}

    def are_up():
        seen = targets()
        ours = ("rlhf-audit", "rlhf-audit-worker", "rlhf-audit-scheduler")
        return all(seen.get(job) == "up" for job in (*ours, "postgres", "redis", "prometheus", "alertmanager"))

    until("Prometheus scrapes application, stores and itself", 60, are_up)
    for query in ("pg_up == 1", "redis_up == 1", "rlhf_audit_accepting == 1"):
        path = f"/api/v1/query?query={query.replace(' ', '%20')}"
        until(query, 60, lambda path=path: json.loads(get(project.url(path, "PROMETHEUS"))[2])["data"]["result"])


def test_the_proxy_speaks_tls_and_tells_who_asks(project):
    certificate = project.run_in("nginx", "cat", "/run/secrets/tls.crt").stdout
    trusting = ssl.create_default_context(cadata=certificate)
    https = f"https://localhost:{project.ports['HTTPS']}"
    status, headers, _ = get(f"{https}/health/live", context=trusting, headers={"X-Request-Id": "from-a-test"})
    assert (
        status == 200 and headers["X-Request-Id"] == "from-a-test" and "max-age" in headers["Strict-Transport-Security"]
    )
    assert get(f"{https}/v1/tokens", project.secret("admin-token"), trusting)[0] == 200
    assert get(f"{https}/metrics", context=trusting)[0] == 404
    redirected = subprocess.run(
        ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", project.url("/docs", "HTTP")],
        capture_output=True,
        text=True,
    )
    assert redirected.stdout == "308 https://127.0.0.1/docs"


def check_the_log(project):
    """A job that goes through queue and workers: whether what is published hashes to what was signed."""
    asked = "RLHF_AUDIT_TOKEN=$(</run/secrets/admin-token) rlhf-audit --json jobs run integrity --server http://127.0.0.1:8000"
    done = project.run_in("app", "bash", "-c", asked)
    assert json.loads(done.stdout)["state"] == "done"


def test_workers_scale_to_three_and_do_the_work(project):
    project.compose("up", "-d", "--scale", "worker=3", timeout=300)
    until("three workers are healthy", 120, lambda: project.health().get("worker") == ["healthy"] * 3)
    check_the_log(project)


def test_an_update_under_load_loses_nothing(project, load, registry):
    """Three workers, a load, a new image in the registry: `pull`, `up -d`; every record that was acknowledged is there."""
    new = registry.push_changed(project.settings["RLHF_AUDIT_IMAGE"], "rlhf-audit-trail")
    before = {container["Id"] for container in project.containers()}
    update = {"RLHF_AUDIT_IMAGE": new}
    project.compose("pull", "app", "worker", "scheduler", environment=update)
    running = load(30)
    project.compose("up", "-d", "--scale", "worker=3", environment=update, timeout=300)
    found = running.account()
    assert found["broken"] + found["turned_away"] > 0, f"the update was not noticed: {found}"
    project.wait_healthy(*SERVICES)
    images = {container["Config"]["Image"] for container in project.containers("app") + project.containers("worker")}
    assert images == {new}
    kept = {container["Id"] for container in project.containers()} & before
    assert {container["Id"] for container in project.containers("postgres")} <= kept, "the stores stay as they are"


def test_killing_the_database_loses_nothing(project, load):
    running = load(25)
    (postgres,) = project.containers("postgres")
    project.engine("kill", "-s", "KILL", postgres["Id"])
    until("the application says that it is not ready", 20, lambda: get(project.url("/health/ready"))[0] == 503)
    assert get(project.url("/health/live"))[0] == 200
    # `docker kill` is an operator's word: the engine leaves it at that.
    project.compose("up", "-d", "--no-recreate", "postgres")
    found = running.account()
    assert found["broken"] + found["turned_away"] > 0, found
    (app,) = project.containers("app")
    assert app["RestartCount"] == 0
    project.wait_healthy("app", "worker", "scheduler", "postgres")


def test_an_unhealthy_service_is_found_as_the_guide_has_it(project):
    (postgres,) = project.containers("postgres")
    project.engine("pause", postgres["Id"])
    try:
        mine = ["--filter", f"label=com.docker.compose.project={project.name}", "--format", "{{.Names}}"]
        name = project.settings["APP_CONTAINER_NAME"]

        def is_found():
            return name in project.engine("ps", "--filter", "health=unhealthy", *mine).stdout

        until("`docker ps --filter health=unhealthy` names the application", 90, is_found)
    finally:
        project.engine("unpause", postgres["Id"])
    project.wait_healthy("app", "worker", "scheduler", "postgres")


def test_killing_redis_loses_nothing(project, load):
    running = load(12)
    (redis,) = project.containers("redis")
    project.engine("kill", "-s", "KILL", redis["Id"])
    check_the_log(project)
    project.compose("up", "-d", "--no-recreate", "redis")
    running.account()
    project.wait_healthy("app", "worker", "scheduler", "redis")


def test_a_crash_is_restarted_by_itself(project, load):
    running = load(15)
    (app,) = project.containers("app")
    # The server itself, below the init process: what a crash is.
    project.run_in(
        "app",
        "bash",
        "-c",
        "kill -9 $(for p in /proc/[0-9]*; do [[ $(tr '\\0' ' ' <$p/cmdline) == 'rlhf-audit serve '* ]] && echo ${p#/proc/}; done)",
        check=False,
    )
    running.account()
    (after,) = project.containers("app")
    assert after["Id"] == app["Id"] and after["RestartCount"] == 1
    project.wait_healthy("app")


def test_down_and_up_again_is_the_same_ledger(project, policy):
    token = project.secret("admin-token")
    size = json.loads(get(project.url("/health"))[2])["log_size"]
    project.compose("down", "-t", "30")
    project.compose("up", "-d", timeout=300)
    project.wait_healthy()
    assert project.secret("admin-token") == token
    assert json.loads(get(project.url("/health"))[2])["log_size"] >= size
    verified = subprocess.run(
        [binary(), "verify", project.url("/log"), "--policy", policy],
        env={"PATH": "/usr/bin:/bin", "RLHF_AUDIT_TOKEN": token},
        capture_output=True,
        text=True,
    )
    assert verified.returncode == 0, verified
