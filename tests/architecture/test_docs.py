"""Documents point at what exists, and the list of decisions is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from sluiceway.config.settings import Settings
from sluiceway.config.strict_yaml import StrictLoader

REPOSITORY = Path(__file__).resolve().parents[2]
DECISIONS = REPOSITORY / "docs" / "decisions"
DOCUMENTS = sorted(
    [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "cluster").rglob("*.md")]
)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
BLOCK = re.compile(r"^(?:```ya?ml\n)(.*?)^```", flags=re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"docs/decisions/(\d{4})")


def decisions() -> list[Path]:
    return sorted(DECISIONS.glob("[0-9]*.md"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_to_files(path: Path) -> None:
    targets = [target for target in LINK.findall(path.read_text(encoding="utf-8")) if "://" not in target]
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_decisions_are_numbered_once_and_listed() -> None:
    numbers = [path.name[:4] for path in decisions()]
    assert sorted(set(numbers)) == numbers
    listed = LINK.findall((DECISIONS / "README.md").read_text(encoding="utf-8"))
    assert listed == [path.name for path in decisions()]


@pytest.mark.parametrize("path", decisions(), ids=lambda path: path.stem)
def test_a_decision_says_context_decision_and_consequences(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.match(rf"# {path.name[:4]}: \w", text)
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_code_names_decisions_that_exist() -> None:
    known = {path.name[:4] for path in decisions()}
    sources = [
        *(
            path
            for folder in ("platform", "jobs", "cluster", "benchmarks")
            for path in (REPOSITORY / folder).rglob("*")
        ),
        REPOSITORY / "pyproject.toml",
        REPOSITORY / "Makefile",
    ]
    texts = [path for path in sources if path.suffix in (".py", ".toml", ".yaml", ".yml", "") and path.is_file()]
    named = {
        (n, path.name) for path in texts for n in NUMBER.findall(path.read_text(encoding="utf-8", errors="ignore"))
    }
    assert {entry for entry in named if entry[0] not in known} == set()


def blocks() -> list[tuple[str, str]]:
    """Blocks of YAML that are sections of a configuration, with where they stand."""
    found = []
    for path in DOCUMENTS:
        for number, text in enumerate(BLOCK.findall(path.read_text(encoding="utf-8"))):
            keys = set(re.findall(r"^(\w+):", text, flags=re.MULTILINE))
            if keys and keys <= set(Settings.model_fields):
                found.append((f"{path.relative_to(REPOSITORY)} {number}", text))
    return found


@pytest.mark.parametrize(("where", "text"), blocks(), ids=lambda value: value if "\n" not in value else "")
def test_configuration_in_documents_can_be_read(where: str, text: str) -> None:
    given = yaml.load(text, Loader=StrictLoader)
    document = {"experiment": {"name": "flights"}, **given}
    document["data"] = {"path": "flights", "features": ["a"], "target": "late"} | given.get("data", {})
    Settings.model_validate(document)
