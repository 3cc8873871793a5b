"""The table of commands, docs/deployment/coverage.md: nothing is missing from it, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from observing import ROOT

HERE = Path(__file__).parent
PAGES = ROOT / "docs" / "deployment"
TABLE = PAGES / "coverage.md"
# The guide that this deployment was written to. It is kept outside the repository; where it is not there, the table
# itself is the list of its commands.
GUIDE = ROOT.parent / "shared" / "seed" / "build-guide.md"


def rows() -> list[tuple[str, str, str]]:
    found = re.findall(r"^\| `(.+?)` \| `(.+?)` \| (.*?) ?\|$", TABLE.read_text(), re.MULTILINE)
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    assert len(found) == len(lines), "a row is not `command` | `test` | note"
    return found


def commands(page: Path) -> list[str]:
    """Every line of every fenced block of shell, without comments."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def scripts_in_pipelines(page: Path) -> list[str]:
    """What the guide's examples of pipelines run."""
    blocks = re.findall(r"^```(?:yaml|groovy)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [it.strip(" -'") for block in blocks for it in re.findall(r"\./scripts/[^'\n]+", block)]


def test_a_command_is_there_once() -> None:
    all_of_them = [command for command, _, _ in rows()]
    assert len(all_of_them) == len(set(all_of_them))
    assert len(all_of_them) >= 60, "commands of the guide were taken out"


def test_every_command_of_our_guide_is_in_the_table() -> None:
    ours = commands(PAGES / "build-guide.md")
    assert len(ours) > 60
    assert set(ours) - {command for command, _, _ in rows()} == set()


def test_every_command_of_the_users_guide_is_in_the_table() -> None:
    if not GUIDE.exists():
        pytest.skip(f"{GUIDE.name} is kept outside the repository")
    theirs = commands(GUIDE) + scripts_in_pipelines(GUIDE)
    assert len(theirs) > 60
    assert set(theirs) - {command for command, _, _ in rows()} == set()


def test_what_does_not_work_as_written_has_something_that_does() -> None:
    ours = set(commands(PAGES / "build-guide.md"))
    for command, _, note in rows():
        if command in ours or "$CI_REGISTRY" in command or "${DOCKER_REGISTRY}" in command:
            continue
        assert re.search(r"`[^`]+`", note), (
            f"{command} is not in our guide, and the table does not say what works instead"
        )


@pytest.mark.parametrize("named", sorted({test for _, test, _ in rows()}))
def test_a_test_that_is_named_is_there(named: str) -> None:
    file, _, name = named.partition("::")
    path = HERE / file
    assert path.is_file(), f"{file} is not there"
    assert re.search(rf"^(?:async )?def {re.escape(name)}\(", path.read_text(), re.MULTILINE), f"{file} has no {name}"


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_index_has_every_page() -> None:
    index = (PAGES / "README.md").read_text()
    for page in PAGES.glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, f"README.md does not name {page.name}"
