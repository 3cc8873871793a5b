"""The development image: the tools are there, the SDK can be imported, JupyterLab answers, and a change of a source is served.

Two builds of the whole workspace, so that `make test-dev-image` runs these, and `make test-containers` does not.
"""

from __future__ import annotations

import json
import os
import shutil

import pytest
from conftest import ROOT, eventually, get, need_images, run

DEV = "rlhf-audit-trail:dev"
pytestmark = pytest.mark.skipif("DEV_IMAGE" not in os.environ, reason="builds the workspace twice: make test-dev-image")


@pytest.fixture(scope="module")
def dev_image(shared_engine) -> str:
    need_images(shared_engine, "rust:1.95-slim-bookworm")
    env = {**os.environ, **shared_engine.env, "DOCKER": shared_engine.client}
    for variable in ("REGISTRY", "VERSION", "PUSH_IMAGE", "SCAN_SECURITY"):
        env.pop(variable, None)
    done = run(ROOT / "scripts/build.sh", "--target", "development", "--no-scan", env=env, timeout=3600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return DEV


def test_tools_sdk_jupyter_and_server(engine, dev_image):
    container = engine.start("--env", "JUPYTER_TOKEN=given", "--publish", "127.0.0.1::8000", "--publish", "127.0.0.1::8888", image=dev_image)
    for tool in ("vim", "htop", "tree", "git", "cargo", "pre-commit", "psql", "redis-cli", "ruff", "mypy", "pytest"):
        assert container.exec("bash", "-c", f"command -v {tool}").returncode == 0, tool
    imported = container.exec("python", "-c", "import rlhf_audit_trail; print(rlhf_audit_trail.__version__)")
    assert imported.returncode == 0, imported.stderr
    assert imported.stdout.strip() == run(ROOT / "scripts/version.sh", "show").stdout.strip()
    eventually("the server is healthy", container.is_healthy, seconds=300)
    assert get(f"http://127.0.0.1:{container.port(8000)}/health/ready")[0] == 200
    jupyter = f"http://127.0.0.1:{container.port(8888)}"
    eventually("JupyterLab answers", lambda: get(f"{jupyter}/api")[0] == 200, seconds=120)
    assert get(f"{jupyter}/api/contents")[0] == 403
    status, listed = get(f"{jupyter}/api/contents?token=given")
    assert status == 200 and "examples" in {entry["name"] for entry in json.loads(listed)["content"]}
    engine.ok("stop", "--time", "30", container.name)
    assert container.inspect()["State"]["ExitCode"] == 0, container.logs()


def test_a_change_of_a_mounted_source_is_built_and_served(engine, dev_image, tmp_path):
    checkout = tmp_path / "checkout"
    for name in run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith("fuzz/corpus/"):
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, checkout / name)
    container = engine.start("--volume", f"{checkout}:/workspace", "--publish", "127.0.0.1::8000", image=dev_image, command=("server",))
    eventually("the server is healthy", container.is_healthy, seconds=600)
    url = f"http://127.0.0.1:{container.port(8000)}/docs"
    assert "changed while it ran" not in get(url)[1]
    # What does not build leaves a message, and what is served afterwards is the next that does.
    page = checkout / "crates/server/src/docs.rs"
    good = page.read_text()
    page.write_text(good + "\nthis is no Rust\n")
    eventually("it is said that it does not build", lambda: "does not build; waiting for a change" in container.logs(), seconds=600)
    page.write_text(good)
    index = checkout / "crates/server/src/docs/index.html"
    index.write_text(index.read_text().replace("how the server is", "changed while it ran"))
    address = url.removesuffix("/docs") + "/"
    eventually("the change is served", lambda: "changed while it ran" in get(address)[1], seconds=600)
