"""deploy/aws, deploy/gcp and deploy/azure: against each cloud's own description of its API, and AWS's commands against moto."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kube import ROOT, SERVICES, need

AWS = ROOT / "deploy/aws/template.yaml"
GCP = ROOT / "deploy/gcp/service.yaml"
AZURE = ROOT / "deploy/azure/container-group.yaml"
KEYS = {"log.ed25519", "log.ml-dsa-44", "operator.ed25519", "deployment", "producer.ed25519"}


def service(tool: str, program: str) -> Path:
    need(tool)
    return next(SERVICES.glob(f"{tool}-*")) / "bin" / program


class Template(yaml.SafeLoader):
    """CloudFormation's YAML; what functions say is kept as their text."""


Template.add_multi_constructor("!", lambda loader, suffix, node: {suffix: getattr(node, "value", None)})


# --- AWS


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """The AWS CLI, at a moto of its own."""
    need("moto", "awscli")
    log = (tmp_path_factory.mktemp("moto") / "log").open("w+")
    moto = subprocess.Popen([service("moto", "moto_server"), "-p", "0", "-H", "127.0.0.1"], stdout=log, stderr=log)
    deadline, port = time.monotonic() + 60, None
    while port is None:
        assert moto.poll() is None and time.monotonic() < deadline, "moto did not start"
        found = re.search(r"http://127.0.0.1:(\d+)", Path(log.name).read_text())
        port = found and found.group(1)
        time.sleep(0.1)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path_factory.mktemp("home")),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_PAGER": "",
    }

    def call(command: str, *more: str):
        words = command.split()
        assert words[0] == "aws"
        done = subprocess.run([service("awscli", "aws"), *words[1:], *more], capture_output=True, text=True, env=env, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.lstrip()[:1] in ("{", "[") else done.stdout

    yield call
    moto.terminate()
    moto.wait(30)
    log.close()


@pytest.fixture(scope="module")
def stack(aws) -> str:
    """The template, deployed as docs/deployment/clouds.md has it."""
    vpc = aws("aws ec2 describe-vpcs")["Vpcs"][0]["VpcId"]
    subnets = ",".join(found["SubnetId"] for found in aws("aws ec2 describe-subnets")["Subnets"][:2])
    certificate = aws("aws acm request-certificate --domain-name audit.example.com")["CertificateArn"]
    aws(
        f"aws cloudformation deploy --template-file {AWS} --stack-name rlhf-audit-trail --capabilities CAPABILITY_IAM",
        "--parameter-overrides",
        "Image=123456789012.dkr.ecr.us-west-2.amazonaws.com/rlhf-audit-trail:latest",
        f"Vpc={vpc}",
        f"PublicSubnets={subnets}",
        f"PrivateSubnets={subnets}",
        f"CertificateArn={certificate}",
    )
    return "rlhf-audit-trail"


def test_cfn_lint_finds_nothing() -> None:
    done = subprocess.run([service("cfn-lint", "cfn-lint"), AWS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_cfn_lint_finds_what_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "template.yaml"
    wrong.write_text(AWS.read_text().replace("NetworkMode: awsvpc", "NetworkMood: awsvpc"))
    done = subprocess.run([service("cfn-lint", "cfn-lint"), wrong], capture_output=True, text=True)
    assert done.returncode != 0 and "NetworkMood" in done.stdout


def test_the_stack_is_made_and_the_guides_command_deploys_anew(aws, stack: str) -> None:
    assert aws(f"aws cloudformation describe-stacks --stack-name {stack}")["Stacks"][0]["StackStatus"] == "CREATE_COMPLETE"
    updated = aws("aws ecs update-service --cluster rlhf-cluster --service rlhf-service --force-new-deployment")["service"]
    assert updated["serviceName"] == "rlhf-service" and updated["desiredCount"] == 2
    task = aws("aws ecs describe-task-definition --task-definition", updated["taskDefinition"])["taskDefinition"]
    (container,) = task["containerDefinitions"]
    assert container["image"].endswith("/rlhf-audit-trail:latest")
    assert container["readonlyRootFilesystem"] is True and container["user"] == "10001:10001"
    bucket = next(entry["value"] for entry in container["environment"] if entry["name"] == "RLHF_AUDIT_OBJECTS")
    assert bucket.removeprefix("s3://").removesuffix("/ledger") in [found["Name"] for found in aws("aws s3api list-buckets")["Buckets"]]


def test_a_task_definition_of_ones_own_is_registered(aws, stack: str, tmp_path: Path) -> None:
    """A new version by hand: the definition that runs, with another image."""
    task = aws("aws ecs describe-task-definition --task-definition rlhf-audit-trail")["taskDefinition"]
    for field in ("taskDefinitionArn", "revision", "status", "requiresAttributes", "compatibilities", "registeredAt", "registeredBy"):
        task.pop(field, None)
    (container,) = task["containerDefinitions"]
    container["image"] = "123456789012.dkr.ecr.us-west-2.amazonaws.com/rlhf-audit-trail:0.2.0"
    # moto makes no Secrets in a stack, and so does not know their names.
    for entry in container["secrets"]:
        entry.setdefault("valueFrom", f"arn:aws:secretsmanager:us-west-2:123456789012:secret:{entry['name']}")
    file = tmp_path / "task.json"
    file.write_text(json.dumps(task))
    registered = aws(f"aws ecs register-task-definition --cli-input-json file://{file}")["taskDefinition"]
    assert registered["revision"] == 2
    arn = registered["taskDefinitionArn"]
    updated = aws(f"aws ecs update-service --cluster rlhf-cluster --service rlhf-service --task-definition {arn}")["service"]
    assert updated["taskDefinition"] == arn


def test_the_tasks_start_makes_keys_out_of_what_the_stack_makes(aws, stack: str, tmp_path: Path) -> None:
    """moto makes no Secrets in a stack, so they are made beside it, as the template says."""
    resources = yaml.load(AWS.read_text(), Template)["Resources"]
    task = aws("aws ecs describe-task-definition --task-definition rlhf-audit-trail:1")["taskDefinition"]
    (container,) = task["containerDefinitions"]
    declared = resources["ServerTask"]["Properties"]["ContainerDefinitions"][0]["Secrets"]
    secrets = {}
    for entry in declared:
        wanted = resources[entry["ValueFrom"]["Ref"]]["Properties"]["GenerateSecretString"]
        assert wanted.keys() == {"PasswordLength", "ExcludePunctuation"}
        length = str(wanted["PasswordLength"])
        made = aws("aws secretsmanager get-random-password --exclude-punctuation --password-length", length)
        secrets[entry["Name"]] = made["RandomPassword"]
    assert {entry["name"] for entry in container["secrets"]} == secrets.keys()
    shown = start([*container["entryPoint"], *container["command"]], tmp_path, secrets | {"DATABASE_HOST": "db"})
    assert shown["args"] == "serve"
    assert re.fullmatch(r"rat_[A-Za-z0-9_-]{43}", shown["RLHF_AUDIT_ADMIN_TOKEN"])
    padded = shown["RLHF_AUDIT_ADMIN_TOKEN"].removeprefix("rat_") + "="
    assert base64.urlsafe_b64encode(base64.urlsafe_b64decode(padded)).decode() == padded
    password = secrets["DATABASE_PASSWORD"]
    assert shown["RLHF_AUDIT_DATABASE_URL"] == f"postgres://audit:{password}@db:5432/audit?sslmode=require"
    assert not shown.keys() & secrets.keys(), "secrets stay in the server's environment"


def start(command: list[str], tmp_path: Path, env: dict[str, str]) -> dict[str, str]:
    """Runs a container's command with a program in the server's place that shows its arguments and environment, and checks the keys
    that it finds."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/rlhf-audit"
    program.write_text('#!/bin/sh\necho "args=$*"; env\n')
    program.chmod(0o755)
    data = tmp_path / "data"
    data.mkdir()
    moved = [part.replace("/data", str(data)).replace("/secrets/", f"{tmp_path}/secrets/") for part in command]
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    done = subprocess.run(moved, capture_output=True, text=True, env={"PATH": path, **env})
    assert done.returncode == 0, done.stderr
    keys = {found.name: found for found in (data / "keys").iterdir()}
    assert keys.keys() == KEYS
    for key in keys.values():
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        text = key.read_text()
        assert text.endswith("\n")
        seed = base64.b64decode(text.strip(), validate=True)
        assert len(seed) == 32 and base64.b64encode(seed).decode() == text.strip()
    assert len({key.read_text() for key in keys.values()}) == len(KEYS)
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


# --- Google Cloud


def cloud_run() -> dict:
    need("google-api-python-client")
    pattern = "google-api-python-client-*/lib/python*/site-packages/googleapiclient/discovery_cache/documents/run.v1.json"
    return json.loads(next(SERVICES.glob(pattern)).read_text())


def unknown_to_google(value, schema: dict, schemas: dict, path: str = "") -> Iterator[str]:
    """What Google's description of the API has not, or has otherwise."""
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    match schema.get("type"):
        case "object" if not isinstance(value, dict):
            yield f"{path}: is no object"
        case "object":
            for key, inner in value.items():
                known = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
                if known is None:
                    yield f"{path}.{key}: is not known"
                else:
                    yield from unknown_to_google(inner, known, schemas, f"{path}.{key}")
        case "array" if not isinstance(value, list):
            yield f"{path}: is no list"
        case "array":
            for number, inner in enumerate(value):
                yield from unknown_to_google(inner, schema["items"], schemas, f"{path}[{number}]")
        case kind:
            right = {"string": str, "boolean": bool, "integer": int, "number": (int, float)}[kind]
            if not isinstance(value, right):
                yield f"{path}: is no {kind}"
            elif "enum" in schema and value not in schema["enum"]:
                yield f"{path}: is none of {schema['enum']}"


def test_cloud_run_knows_every_field() -> None:
    schemas = cloud_run()["schemas"]
    file = yaml.safe_load(GCP.read_text())
    assert list(unknown_to_google(file, {"$ref": "Service"}, schemas)) == []
    file["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    file["spec"]["template"]["spec"]["timeoutSeconds"] = "long"
    assert len(list(unknown_to_google(file, {"$ref": "Service"}, schemas))) == 2


def test_cloud_run_knows_every_annotation() -> None:
    schemas = cloud_run()["schemas"]
    file = yaml.safe_load(GCP.read_text())
    known = schemas["ObjectMeta"]["properties"]["annotations"]["description"]
    known += schemas["RevisionTemplate"]["properties"]["metadata"]["description"]
    used = file["metadata"]["annotations"] | file["spec"]["template"]["metadata"]["annotations"]
    unknown = [name for name in used if name not in known]
    assert unknown == []


def test_cloud_runs_start_makes_keys_and_its_volumes_are_there(tmp_path: Path) -> None:
    spec = yaml.safe_load(GCP.read_text())["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    volumes = {volume["name"]: volume["secret"]["items"] for volume in spec["volumes"]}
    for mount in container["volumeMounts"]:
        for item in volumes.pop(mount["name"]):
            file = tmp_path / mount["mountPath"].lstrip("/") / item["path"]
            file.parent.mkdir(parents=True)
            file.write_text(base64.b64encode(os.urandom(32)).decode() + "\n")
    assert not volumes, "volumes that nobody mounts"
    assert start([*container["command"], *container["args"]], tmp_path, {})["args"] == "serve"
    for entry in container["env"]:
        if entry["name"].endswith("_FILE"):
            assert (tmp_path / entry["value"].lstrip("/")).exists(), entry["name"]


# --- Azure

CHECK = """
import json, sys
from azure.mgmt.containerinstance import models

ENUMS = {"restart_policy": "ContainerGroupRestartPolicy", "os_type": "OperatingSystemTypes", "sku": "ContainerGroupSku"}

def check(value, kind, path):
    if kind.startswith("["):
        if not isinstance(value, list):
            yield f"{path}: is no list"; return
        for number, inner in enumerate(value):
            yield from check(inner, kind[1:-1], f"{path}[{number}]")
    elif kind.startswith("{"):
        for key, inner in value.items():
            yield from check(inner, kind[1:-1], f"{path}.{key}")
    elif kind in ("str", "int", "float", "bool", "object"):
        right = {"str": str, "int": int, "float": (int, float), "bool": bool, "object": object}[kind]
        if not isinstance(value, right):
            yield f"{path}: is no {kind}"
    else:
        model = getattr(models, kind)
        if not hasattr(model, "_attribute_map"):
            return
        names = {}
        for name, entry in model._attribute_map.items():
            node = names
            *above, last = entry["key"].replace("\\\\.", "\\0").split(".")
            for part in above:
                node = node.setdefault(part, {})
            node[last.replace("\\0", ".")] = (entry["type"], name)
        yield from fields(value, names, path)
        required = [name for name, rule in model._validation.items() if rule.get("required")]
        for name in required:
            node = value
            for part in model._attribute_map[name]["key"].split("."):
                node = node.get(part) if isinstance(node, dict) else None
            if node is None:
                yield f"{path}: {name} is missing"

def fields(value, names, path):
    for key, inner in value.items():
        known = names.get(key)
        if known is None:
            yield f"{path}.{key}: is not known"
        elif isinstance(known, dict):
            yield from fields(inner, known, f"{path}.{key}")
        else:
            kind, name = known
            yield from check(inner, kind, f"{path}.{key}")
            if name in ENUMS and inner not in [member.value for member in getattr(models, ENUMS[name])]:
                yield f"{path}.{key}: is not {inner}"

group = json.load(sys.stdin)
group.pop("apiVersion")
print(json.dumps(list(check(group, "ContainerGroup", ""))))
"""


def unknown_to_azure(group: dict) -> list[str]:
    done = subprocess.run(
        [service("azure-mgmt-containerinstance", "python"), "-c", CHECK], input=json.dumps(group), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_azure_knows_every_field() -> None:
    group = yaml.safe_load(AZURE.read_text())
    assert unknown_to_azure(group) == []
    group["properties"]["restartPolicy"] = "Sometimes"
    group["properties"]["containers"][0]["properties"]["imagee"] = "x"
    del group["properties"]["containers"][0]["properties"]["resources"]["requests"]["memoryInGB"]
    assert len(unknown_to_azure(group)) == 3


def test_azures_start_makes_keys_and_its_volumes_are_there(tmp_path: Path) -> None:
    properties = yaml.safe_load(AZURE.read_text())["properties"]
    (container,) = [found["properties"] for found in properties["containers"]]
    volumes = {volume["name"]: volume["secret"] for volume in properties["volumes"]}
    for mount in container["volumeMounts"]:
        for name in volumes.pop(mount["name"]):
            file = tmp_path / mount["mountPath"].lstrip("/") / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(base64.b64encode(os.urandom(32)).decode() + "\n")
    assert not volumes, "volumes that nobody mounts"
    assert start(container["command"], tmp_path, {})["args"] == "serve"
    for entry in container["environmentVariables"]:
        if entry["name"].endswith("_FILE"):
            assert (tmp_path / entry["value"].lstrip("/")).exists(), entry["name"]
    shown = {port["port"] for port in properties["ipAddress"]["ports"]}
    assert shown == {8000}, "health and metrics are nobody's outside the group"


@pytest.mark.parametrize("path", [GCP, AZURE])
def test_configuration_is_of_options_that_exist(path: Path) -> None:
    known = json.loads((ROOT / "docs/spec/configuration.schema.json").read_text())["properties"].keys()
    for variable in re.findall(r"name: (RLHF_AUDIT_[A-Z_]+)", path.read_text()):
        if variable != "RLHF_AUDIT_EPHEMERAL":
            assert variable.removeprefix("RLHF_AUDIT_").lower().replace("_", "-") in known, variable
