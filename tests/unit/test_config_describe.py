"""The page of all keys is the sections' own text."""

from pathlib import Path

from sluiceway.config.describe import describe


def test_the_page_of_all_keys_is_up_to_date(repository: Path):
    page = repository / "docs" / "configuration.md"
    assert page.read_text(encoding="utf-8") == describe(), "run: sluiceway init --keys > docs/configuration.md"


def test_keys_below_lists_and_unions_are_on_the_page():
    page = describe()
    assert "| `deployment.steps[].weight` | `float` | required |" in page
    assert "| `lifecycle[].drill.raise_every` |" in page
    assert "| `data.version` | `str \\| int \\| None` | `null` |" in page
