"""The examples of the page about protocols are answered as it says."""

import json
import re
from pathlib import Path

import pytest

from serving_models import train_small
from serving_replica import NAME, HeldReplica
from sluiceway.config.serving import InputSection, ServingSection

PAGE = Path(__file__).resolve().parents[2] / "docs" / "serving" / "protocols.md"
BLOCK = re.compile(
    r"```http\n(?P<head>[A-Z]+ \S+(?:\n[\w-]+: [^\n]*)*)\n(?:\n(?P<body>.*?))?```\n\n(?P<status>\d+)?.*?"
    r"```json\n(?P<answer>.*?)```",
    re.DOTALL,
)
OF_THE_MODEL = ("request_id", "id", "score", "arms")
# What the page's endpoint is called, and below what it answers; the one here has a name of its own.
ENDPOINT, ROUTE = "flights_late-production", "/flights_late/production"
EXAMPLES = {match["head"].splitlines()[0] + f" #{n}": match for n, match in enumerate(BLOCK.finditer(PAGE.read_text()))}


@pytest.fixture(scope="module")
def replica(tmp_path_factory):
    serving = ServingSection(input=InputSection(ranges={"distance": (0, 6000)}))
    return HeldReplica(train_small(tmp_path_factory.mktemp("model"), seed=3), serving=serving)


def without_numbers(document):
    """A document without what differs from model to model, and from request to request."""
    if isinstance(document, dict):
        return {key: None if key in OF_THE_MODEL else without_numbers(value) for key, value in document.items()}
    if isinstance(document, list):
        return [without_numbers(value) for value in document]
    return 0.0 if isinstance(document, float) else document


def test_the_page_has_examples():
    assert len(EXAMPLES) >= 8


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_answered_as_the_page_says(replica, name):
    example = EXAMPLES[name]
    first, *lines = example["head"].splitlines()
    method, path = first.split(" ")
    headers = dict(line.split(": ", 1) for line in lines)
    assert path.startswith(f"{ROUTE}/")
    asked = path.removeprefix(ROUTE).replace(ENDPOINT, NAME)
    answer = replica.ask(method, asked, content=example["body"] or "", headers=headers)
    assert answer.status_code == int(example["status"] or 200), answer.text
    assert without_numbers(answer.json()) == without_numbers(json.loads(example["answer"].replace(ENDPOINT, NAME)))
