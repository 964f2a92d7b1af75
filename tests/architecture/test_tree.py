"""The shape of the repository: what may stand where, and under which name."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

FOLDERS = {"platform", "jobs", "serve_configs", "cluster", "tests", "notebooks", "docs", "benchmarks"}
FILES = {"Makefile", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "pyproject.toml", "requirements.lock"}
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}

# Taken apart so that this file does not find itself.
MACHINE_PATHS = re.compile(r"(?<![\w.}/-])/(?:" + "work|root|opt/py" + r"pi)/")
INDEX_HOSTS = re.compile(
    "|".join(("pypi" + r"\.org", "python" + r"hosted\.org", "--index" + "-url", "--find" + "-links"))
)


def tracked() -> list[Path]:
    """What git tracks and has not lost, relative to the root."""
    command = ["git", "ls-files", "-z"]
    names = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split("\0")
    return [Path(name) for name in names if name and (REPOSITORY / name).is_file()]


def test_the_top_level_holds_what_it_may_hold() -> None:
    folders = {path.parts[0] for path in tracked() if len(path.parts) > 1 and not path.parts[0].startswith(".")}
    files = {path.parts[0] for path in tracked() if len(path.parts) == 1 and not path.parts[0].startswith(".")}
    assert folders - FOLDERS == set()
    assert files - FILES == set()


def test_nothing_shadows_the_standard_library_s_platform() -> None:
    assert not (REPOSITORY / "platform" / "__init__.py").exists()
    assert [path for path in (REPOSITORY / "tests").rglob("platform") if path.is_dir()] == []


def test_tests_are_no_packages_and_their_names_are_unique() -> None:
    names = [path.name for path in tracked() if path.parts[0] == "tests" and path.suffix == ".py"]
    assert "__init__.py" not in names
    modules = [name for name in names if name != "conftest.py"]
    assert sorted({name for name in modules if modules.count(name) > 1}) == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [str(path) for path in tracked() if EMPTY_NAMES & {part.removesuffix(".py") for part in path.parts}] == []


def test_no_file_knows_this_machine_or_an_index() -> None:
    found = []
    for path in tracked():
        try:
            text = (REPOSITORY / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if MACHINE_PATHS.search(line) or INDEX_HOSTS.search(line):
                found.append(f"{path}:{number}: {line.strip()[:100]}")
    assert found == []


def test_the_lock_is_pinned_hashed_and_without_addresses() -> None:
    text = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    entries = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(entries) > 50
    assert [line for line in entries if not re.match(r"^[a-z0-9.\-]+==\S+.* \\$", line)] == []
    assert text.count("--hash=sha256:") >= len(entries)


def test_the_lock_has_every_direct_dependency() -> None:
    text = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    locked = {re.split(r"[ =]", line)[0] for line in text.splitlines() if re.match(r"^[a-z0-9]", line)}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    names = {re.sub(r"[_.]", "-", re.split(r"[\[<>=~!; ]", text)[0].lower()) for text in wanted}
    assert names - locked == set()


@pytest.mark.parametrize("section", ["dependencies", "optional-dependencies"])
def test_pyproject_says_why_each_dependency_is_there(section: str) -> None:
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    start = "\ndependencies = [\n" if section == "dependencies" else "\n[project.optional-dependencies]\n"
    block = text.partition(start)[2].partition("\n]\n" if section == "dependencies" else "\n[")[0]
    lines = [line.strip() for line in block.splitlines() if line.strip().startswith('"')]
    assert lines
    assert [line for line in lines if not re.search(r'",\s+# \S', line)] == []
