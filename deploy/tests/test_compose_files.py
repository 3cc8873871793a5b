"""What the compose files say, without an engine: every tool accepts them, and nothing in them is left open."""

import functools
import json
import os
import re
import shutil
import subprocess

import pytest
from stack import ROOT, composes, docker

COMBINATIONS = {
    "production": [],
    "with the proxy": ["--profile", "with-proxy"],
    "without the override": ["-f", "docker-compose.yml"],
    "staging": ["-f", "docker-compose.yml", "-f", "docker-compose.staging.yml"],
    "staging with the proxy": [
        *("-f", "docker-compose.yml", "-f", "docker-compose.override.yml", "-f", "docker-compose.staging.yml"),
        *("--profile", "with-proxy"),
    ],
    "development": ["-f", "docker-compose.dev.yml"],
}
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("RLHF_AUDIT_", "COMPOSE", "AWS_"))}


def config(version, *arguments):
    command = composes().get(version)
    assert command, f"there is no docker-compose {version} here: scripts/needs.sh compose"
    done = subprocess.run([command, *arguments], cwd=ROOT, env=CLEAN, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@functools.cache
def merged(*arguments):
    return json.loads(config("v2", *arguments, "config", "--format", "json").stdout)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("combination", COMBINATIONS)
def test_both_composes_accept_the_files(version, combination):
    config(version, *COMBINATIONS[combination], "config", "--quiet")


def stack_config(*files):
    """The final file as `docker stack deploy` would use it."""
    for client in filter(shutil.which, (docker(), "docker")):
        # An older client answers any question for help with its own.
        help = subprocess.run([client, "stack", "config", "--help"], capture_output=True, text=True)
        if "final config" in help.stdout:
            arguments = sum((["-c", file] for file in files), [])
            return subprocess.run(
                [client, "stack", "config", *arguments], cwd=ROOT, env=CLEAN, capture_output=True, text=True
            )
    return pytest.skip(
        "no docker client here has `stack config` (25 and later have); test_swarm.py deploys the same file"
    )


def test_the_stack_schema_accepts_the_common_file():
    for files in (["docker-compose.yml"], ["docker-compose.yml", "deploy/swarm/host-ports.yml"]):
        done = stack_config(*files)
        assert done.returncode == 0, done.stderr


def test_the_override_holds_what_the_stack_schema_refuses():
    done = stack_config("docker-compose.override.yml")
    assert done.returncode != 0 and "depends_on" in done.stderr


def test_the_guides_services_are_there():
    assert set(merged()["services"]) == {
        *("app", "worker", "scheduler", "postgres", "redis", "secrets"),
        *("prometheus", "grafana", "alertmanager", "postgres-exporter", "redis-exporter"),
    }
    assert set(merged("--profile", "with-proxy")["services"]) - set(merged()["services"]) == {"nginx"}
    development = merged("-f", "docker-compose.dev.yml")["services"]
    assert set(development) == {"dev", "postgres", "redis", "grafana", "prometheus"}


def test_names_and_ports_are_the_guides():
    services = merged("--profile", "with-proxy")["services"]
    assert services["app"]["container_name"] == "rlhf-audit-trail-app"
    assert services["app"]["image"] == "rlhf-audit-trail:latest"
    published = {(name, int(port["published"])) for name, one in services.items() for port in one.get("ports", [])}
    assert published == {
        *(("app", 8000), ("prometheus", 9090), ("grafana", 3000), ("alertmanager", 9093)),
        *(("nginx", 80), ("nginx", 443)),
    }
    development = merged("-f", "docker-compose.dev.yml")["services"]["dev"]["ports"]
    assert {int(port["published"]) for port in development} == {8000, 8888}
    assert {port["host_ip"] for port in development} == {"127.0.0.1"}


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_images_are_pinned(combination):
    for name, service in merged(*COMBINATIONS[combination])["services"].items():
        image = service["image"]
        if image.startswith("rlhf-audit-trail:"):
            continue
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z]+)?$", image), f"{name} has {image}, which moves"


@pytest.mark.parametrize("combination", [one for one in COMBINATIONS if one != "development"])
def test_every_service_is_hardened_and_bounded(combination):
    for name, service in merged(*COMBINATIONS[combination])["services"].items():
        assert service.get("read_only") is True, name
        assert service.get("cap_drop") == ["ALL"], name
        assert service.get("security_opt") == ["no-new-privileges:true"], name
        assert service.get("restart") == ("no" if name == "secrets" else "unless-stopped"), name
        limits = service["deploy"]["resources"]["limits"]
        assert limits.get("cpus") and limits.get("memory"), name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert not service.get("privileged") and "docker.sock" not in json.dumps(service), name
        if name != "secrets":
            assert service.get("healthcheck"), name
        if "user" in service:
            assert name == "secrets" or not service["user"].startswith("0"), name


@pytest.mark.parametrize("combination", [one for one in COMBINATIONS if one != "development"])
def test_no_secret_stands_in_the_files(combination):
    for name, service in merged(*COMBINATIONS[combination])["services"].items():
        for variable, value in (service.get("environment") or {}).items():
            # Without a value it is taken from .env, where a path belongs.
            if re.search(r"PASS|SECRET|TOKEN|DATABASE_URL|REDIS_URL", variable) and (
                value or not variable.endswith("_FILE")
            ):
                assert value.startswith("/run/secrets/"), f"{name}: {variable}"
            assert "://" not in (value or "") or "@" not in value, f"{name}: {variable} may hold a password"


def test_the_stores_are_reached_by_the_application_and_the_exporters_alone():
    project = merged("--profile", "with-proxy")
    inside = {name for name, service in project["services"].items() if "data" in service.get("networks", {})}
    assert inside == {"app", "worker", "scheduler", "postgres", "redis", "postgres-exporter", "redis-exporter"}
    assert project["networks"]["data"]["internal"] is True
    for name in ("postgres", "redis"):
        assert set(project["services"][name]["networks"]) == {"data"}
        assert "ports" not in project["services"][name]
    assert project["services"]["secrets"].get("network_mode") == "none"


def test_each_service_mounts_its_own_secrets_alone():
    for name, service in merged("--profile", "with-proxy")["services"].items():
        sources = (volume.get("source", "") for volume in service.get("volumes", []))
        mounted = {source for source in sources if source.startswith("secrets")}
        if name == "secrets":
            continue
        assert len(mounted) <= 1 and "secrets" not in mounted, name
        for volume in service.get("volumes", []):
            if volume.get("source", "").startswith("secrets"):
                assert volume.get("read_only") is True, name


def test_what_is_mounted_from_the_checkout_is_there():
    for arguments in COMBINATIONS.values():
        for name, service in merged(*arguments)["services"].items():
            for volume in service.get("volumes", []):
                if volume["type"] == "bind":
                    assert os.path.exists(volume["source"]), f"{name} mounts {volume['source']}"


def test_every_setting_is_in_the_example():
    used = set()
    for file in ROOT.glob("docker-compose*.yml"):
        used |= set(re.findall(r"\$\{([A-Z_]+)", file.read_text()))
    documented = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M))
    assert used - documented <= {"JUPYTER_PORT", "RLHF_AUDIT_DEV_IMAGE"}
