"""The production image, run: its size and content, and how it behaves as a container."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import time
import uuid

import pytest
from conftest import IMAGE, ROOT, eventually, free_port, get, need_images, run

MEGABYTE = 1_000_000
ADMIN = "rat_" + "A" * 43
PUBLISHED = ("--publish", "127.0.0.1::8000")


@pytest.fixture
def volume(engine):
    """A volume with a name, removed at the end."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    engine.ok("volume", "create", name)
    yield name
    engine.clean()
    engine.ok("volume", "rm", name)


def healthy(container):
    eventually("it is healthy", container.is_healthy)
    return container


def ended(engine, *arguments, image=IMAGE, command=()):
    """What a container that cannot start says, and its exit code."""
    container = engine.start(*arguments, image=image, command=command)
    code = container.wait()
    return code, container.logs()


def test_it_is_small(engine, image):
    """At most 60 MB as it travels."""
    save = subprocess.Popen([engine.client, "save", image], stdout=subprocess.PIPE, env={**os.environ, **engine.env})  # noqa: S603
    size = 0

    class Counted:
        def write(self, data):
            nonlocal size
            size += len(data)

        def flush(self):
            pass

    with gzip.GzipFile(fileobj=Counted(), mode="wb", compresslevel=6) as compressed:
        while chunk := save.stdout.read(1 << 20):
            compressed.write(chunk)
    assert save.wait() == 0
    print(f"{size / MEGABYTE:.1f} MB compressed")
    assert 5 * MEGABYTE < size <= 60 * MEGABYTE


def test_it_has_bash_and_no_more_than_it_needs(engine, image):
    container = healthy(engine.start())
    assert container.exec("bash", "-c", "echo $BASH_VERSION; ls / | head -n 1; cat /etc/os-release").returncode == 0
    for tool in ("apt-get", "perl", "python3", "gcc", "curl", "passwd", "su", "mount"):
        assert container.exec("bash", "-c", f"command -v {tool}").returncode != 0, tool
    # Nothing that gives another user's rights.
    found = container.exec("bash", "-c", "shopt -s globstar; for file in /usr/**; do [ -f $file ] && { [ -u $file ] || [ -g $file ]; } && echo $file; done; true")
    assert found.stdout == "", found.stdout
    assert container.exec("bash", "-c", "[ -s /etc/ssl/certs/ca-certificates.crt ]").returncode == 0


def test_it_runs_as_nobody_in_particular_with_a_read_only_root(engine, image, volume):
    container = healthy(engine.start(
        "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--volume", f"{volume}:/data",
        "--env", f"RLHF_AUDIT_ADMIN_TOKEN={ADMIN}", *PUBLISHED,
    ))
    assert container.exec("id", "-u").stdout.strip() == container.exec("id", "-g").stdout.strip() == "10001"
    assert container.exec("bash", "-c", "echo x >/etc/x").returncode != 0
    status, body = get(f"http://127.0.0.1:{container.port(8000)}/v1/runs", ADMIN)
    assert status == 200, body


def test_labels_say_version_revision_and_date(engine, image):
    labels = json.loads(engine.ok("inspect", image))[0]["Config"]["Labels"]
    prefix = "org.opencontainers.image"
    assert labels[f"{prefix}.version"] == run(ROOT / "scripts/version.sh", "show").stdout.strip()
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", labels[f"{prefix}.revision"])
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", labels[f"{prefix}.created"])
    assert labels[f"{prefix}.licenses"] == "Apache-2.0"


def test_what_is_in_the_binary_is_listed_in_it_and_beside_the_reports(engine, image):
    sbom = json.loads((ROOT / "reports/sbom.json").read_text())
    assert sbom["bomFormat"] == "CycloneDX"
    names = {component["name"] for component in sbom["components"]}
    assert {"tokio", "ring", "rlhf-audit-ledger"} <= names and len(names) > 100
    locked = re.findall(r'name = "tokio"\nversion = "(.+)"', (ROOT / "Cargo.lock").read_text())
    assert locked == [component["version"] for component in sbom["components"] if component["name"] == "tokio"]
    container = engine.start()
    assert json.loads(container.exec("cat", "/usr/share/rlhf-audit/sbom.cdx.json").stdout)["components"] == sbom["components"]
    # cargo-auditable's section, which scanners read.
    assert container.exec("grep", "-c", "dep-v0", "/usr/local/bin/rlhf-audit").stdout.strip() != "0"


def test_no_path_of_the_builder_is_in_the_binary(engine, image):
    container = engine.start()
    for path in ("/usr/local/cargo/registry", "/src/crates"):
        assert container.exec("grep", "-c", "--fixed-strings", "--text", path, "/usr/local/bin/rlhf-audit").stdout.strip() == "0", path


def test_the_port_is_the_platforms(engine, image):
    container = healthy(engine.start("--env", "PORT=9123", "--publish", "127.0.0.1::9123"))
    assert get(f"http://127.0.0.1:{container.port(9123)}/health/live")[0] == 200


def test_authentication_is_on_and_the_first_token_is_said_once(engine, image, volume):
    container = healthy(engine.start("--volume", f"{volume}:/data", *PUBLISHED))
    url = f"http://127.0.0.1:{container.port(8000)}/v1/runs"
    assert get(url)[0] == 401
    (token,) = re.findall(r"rat_[\w-]{43}", container.logs())
    assert get(url, token)[0] == 200
    engine.ok("rm", "--force", container.name)
    again = healthy(engine.start("--volume", f"{volume}:/data", *PUBLISHED))
    assert "rat_" not in again.logs()
    assert get(f"http://127.0.0.1:{again.port(8000)}/v1/runs", token)[0] == 200


def test_sigterm_ends_it_well_and_soon(engine, image, volume):
    container = healthy(engine.start("--volume", f"{volume}:/data"))
    began = time.monotonic()
    engine.ok("stop", "--time", "30", container.name)
    assert time.monotonic() - began < 15
    assert container.inspect()["State"]["ExitCode"] == 0


def test_a_volume_outlives_its_container_even_a_killed_one(engine, image, volume):
    first = healthy(engine.start("--volume", f"{volume}:/data", "--env", f"RLHF_AUDIT_ADMIN_TOKEN={ADMIN}"))
    server = ("--server", "http://127.0.0.1:8000", "--token", ADMIN, "--state-dir", "/tmp/state", "--key", "/tmp/key")  # noqa: S108
    started = first.exec("rlhf-audit", "run", "start", "--name", "kept", "--experiment", "e", *server)
    assert started.returncode == 0, started.stderr
    engine.ok("kill", first.name)
    second = healthy(engine.start("--volume", f"{volume}:/data", "--env", f"RLHF_AUDIT_ADMIN_TOKEN={ADMIN}", *PUBLISHED))
    status, body = get(f"http://127.0.0.1:{second.port(8000)}/v1/runs", ADMIN)
    assert status == 200 and "kept" in body
    engine.ok("stop", second.name)
    verified = engine.run("run", "--rm", "--volume", f"{volume}:/data:ro", IMAGE, "verify", "/data", "--policy", "/data/policy")
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.parametrize(("mount", "why"), [
    ((), "a volume without a name"),
    (("--tmpfs", "/data:uid=10001,gid=10001,mode=0750"), "in memory"),
    (("--env", "RLHF_AUDIT_DATA_DIR=/tmp/ledger"), "container's own layer"),
])
def test_a_ledger_that_will_vanish_is_said_in_log_and_health(engine, image, mount, why):
    container = healthy(engine.start(*mount, *PUBLISHED))
    warned = [line for line in container.logs().splitlines() if '"WARN"' in line and why in line]
    assert warned, container.logs()
    status, body = get(f"http://127.0.0.1:{container.port(8000)}/health")
    disk = json.loads(body)["parts"]["disk"]
    assert (status, disk["status"]) == (200, "degraded") and why in disk["detail"]


@pytest.mark.parametrize("kind", ["volume", "directory"])
def test_one_that_stays_is_not_spoken_of(engine, image, volume, tmp_path, kind):
    place = volume
    if kind == "directory":
        place = tmp_path / "data"
        place.mkdir()
        run("chown", "10001:10001", place)
    container = healthy(engine.start("--volume", f"{place}:/data", *PUBLISHED))
    _, body = get(f"http://127.0.0.1:{container.port(8000)}/health")
    assert "disk" not in json.loads(body)["parts"] and "mount a volume" not in container.logs()
    engine.clean()


def test_a_server_that_cannot_do_its_work_is_unhealthy(engine, image):
    """A worker's place, say, in which no server listens."""
    container = engine.start("--health-interval", "1s", "--health-retries", "1", "--health-start-period", "0s", "--entrypoint", "sleep", command=("60",))
    eventually("it is unhealthy", lambda: container.health() == "unhealthy")
    log = container.inspect()["State"]["Health"]["Log"]
    assert "does not answer" in log[-1]["Output"]


# --- each trouble is said with its remedy


def test_a_volume_that_may_not_be_written(engine, image, tmp_path):
    (tmp_path / "data").mkdir(mode=0o700)
    code, said = ended(engine, "--volume", f"{tmp_path / 'data'}:/data")
    assert code == 3 and "chown -R 10001" in said, said
    code, said = ended(engine, "--read-only", "--env", "RLHF_AUDIT_DATA_DIR=/srv/ledger")
    assert code == 3 and "mount it" in said, said


def test_a_full_disk(engine, image):
    code, said = ended(engine, "--tmpfs", "/data:uid=10001,size=64k")
    assert code == 3 and "no space left" in said and "free some space" in said, said


def test_a_port_that_is_taken(engine, image):
    first = healthy(engine.start("--network", "host", "--env", f"PORT={(port := free_port())}"))
    code, said = ended(engine, "--network", "host", "--env", f"PORT={port}")
    assert code == 3 and "stop what listens there, or choose another port" in said, said
    assert first.is_healthy()


def test_a_ledger_of_a_newer_version(engine, image, volume):
    engine.ok("run", "--rm", "--volume", f"{volume}:/data", IMAGE, "init")
    # SQLite keeps the schema's number in bytes 60 to 63 of its file.
    engine.ok("run", "--rm", "--volume", f"{volume}:/data", "--entrypoint", "bash", IMAGE, "-c",
              r"rm -f /data/ledger.sqlite-*; printf '\x00\x00\x03\xe7' | dd of=/data/ledger.sqlite bs=1 seek=60 conv=notrunc status=none")
    code, said = ended(engine, "--volume", f"{volume}:/data")
    assert code == 3 and "has schema 999" in said and "start the version that made it or a newer one" in said, said


def test_a_database_that_is_down_and_a_wrong_password(engine, image):
    need_images(engine, "postgres:15")
    network = f"test-{uuid.uuid4().hex[:12]}"
    engine.ok("network", "create", network)
    try:
        database = engine.start("--network", network, "--network-alias", "postgres", "--env", "POSTGRES_PASSWORD=right",
                                "--env", "POSTGRES_USER=audit", image="postgres:15")
        eventually("PostgreSQL listens", lambda: database.exec("pg_isready", "-h", "127.0.0.1", "-U", "audit").returncode == 0)

        def url(password):
            return ("--network", network, "--env", f"RLHF_AUDIT_DATABASE_URL=postgres://audit:{password}@postgres/audit")

        code, said = ended(engine, *url("wrong-one"))
        assert code == 3 and "password authentication failed" in said and "check the credentials" in said, said
        assert "wrong-one" not in said
        healthy(engine.start(*url("right")))
        doctor = engine.run("run", "--rm", *url("right"), IMAGE, "doctor", "database")
        assert doctor.returncode == 0 and "answers in" in doctor.stdout, doctor.stdout + doctor.stderr
        engine.ok("stop", database.name)
        doctor = engine.run("run", "--rm", *url("right"), IMAGE, "doctor", "database")
        assert doctor.returncode == 3 and "see that it runs" in doctor.stdout, doctor.stdout + doctor.stderr
    finally:
        engine.clean()
        engine.ok("network", "rm", network)
