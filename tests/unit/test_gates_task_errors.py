"""What ends a gate's task is told in one line: the kind, the place in the gate's own file, what to do."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from sluiceway.core.errors import DataError
from sluiceway.gates.task_errors import told, told_of_process, told_with_place


def raises_below(context):
    return np.ones(3).reshape(context)


def caught(function, *given):
    with pytest.raises((ValueError, DataError)) as found:
        function(*given)
    return found.value


def test_the_place_is_the_last_line_of_the_gates_own_file():
    expected = f"({__file__}, line {raises_below.__code__.co_firstlineno + 1})"
    for function in (raises_below, partial(raises_below)):
        said = told_with_place(caught(function, 2), function)
        assert said.startswith("ValueError: cannot reshape")
        assert said.endswith(expected)
    elsewhere = told_with_place(caught(raises_below, 2), np.mean)
    assert elsewhere.endswith(expected)


def test_an_error_of_the_package_tells_its_hint_and_no_place():
    error = DataError("no rows\nat all", hint="ingest some")
    assert told(error) == "DataError: no rows; ingest some"

    def refuses(context):
        raise error

    assert told_with_place(caught(refuses, 1), refuses) == told(error)
    assert told(ValueError("")) == "ValueError: "


def test_a_process_that_ended_is_told_without_the_engines_words():
    said = told_of_process("fares", 2, scored=False)
    assert said.startswith("the process of gate fares ended before it had judged, 2 times: os._exit, ")
    assert "memory_mb" in said
    assert "fares, or of the scoring before it, ended before it had judged: " in told_of_process(
        "fares", 1, scored=True
    )
