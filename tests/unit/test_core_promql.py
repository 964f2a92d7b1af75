"""A value gets into a query as text of a label, and never as a part of the query."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.core.errors import InputError
from sluiceway.core.promql import filled, names_in, quoted

TEXTS = {"endpoint": "flights-production", "model": "flights", "version": "7", "arm": "challenger", "rollout": "r1"}


def test_names_are_filled_in_where_they_stand():
    query = """sum(rate(errors{model="$endpoint",version='$version',arm="$arm"}[$window]))  # of "$rollout" """
    assert filled(query, TEXTS, seconds=90.7).strip() == (
        """sum(rate(errors{model="flights-production",version='7',arm="challenger"}[90s]))"""
    )
    assert names_in(query) == {"endpoint", "version", "arm", "window"}
    assert filled("x[$window]", TEXTS, seconds=0.2) == "x[1s]"


def test_dollars_that_are_no_names_stay():
    assert filled('x{a=~"b$",c="$$version",d=~"(e|f$)"}', TEXTS, seconds=1) == 'x{a=~"b$",c="$version",d=~"(e|f$)"}'


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("x{a=$version}", "put it into quotes"),
        ('x{a="$vresion"}', "$vresion is no placeholder"),
        ("x[$windows]", "$windows is no placeholder"),
        ("x{a=`$version`}", "double quotes"),
        ('x{a="$version}', "put it into quotes"),
    ],
)
def test_what_cannot_be_filled_in_is_refused(query, told):
    with pytest.raises(InputError, match=re.escape(told)):
        names_in(query)


def read_back(literal):
    """What Prometheus reads, by the rules of Go's quoted strings that are used here."""
    assert literal[0] == literal[-1]
    assert literal[0] not in re.sub(r"\\.", "", literal[1:-1], flags=re.DOTALL)
    return re.sub(
        r"\\(U[0-9a-f]{8}|.)",
        lambda match: chr(int(match[1][1:], 16)) if match[1][0] == "U" and len(match[1]) == 9 else match[1],
        literal[1:-1],
    )


@given(st.text(max_size=30), st.sampled_from("\"'"))
def test_whatever_a_version_is_called_it_stays_one_text(version, quote):
    found = filled(f"x{{v={quote}$version{quote}}} > 1", {**TEXTS, "version": version}, seconds=1)
    assert found.startswith("x{v=")
    assert found.endswith("} > 1")
    assert read_back(found[4:-5]) == version
    assert read_back(quoted(version)) == version


@given(st.text(max_size=30))
def test_in_a_regular_expression_it_matches_only_itself(version):
    found = filled('x{v=~"$version.*"}', {**TEXTS, "version": version}, seconds=1)
    pattern = read_back(found[5:-1]).removesuffix(".*")
    assert re.fullmatch(pattern, version)
