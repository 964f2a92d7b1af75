"""All gates are known by name; own ones are loaded from a module or an entry point, or refused with the key."""

from __future__ import annotations

import sys
from datetime import date

import pytest
from pydantic import ValidationError

from sluiceway.config.evaluation import GATES, EvaluationSection, WaiverSection
from sluiceway.config.gates import GateSection, OwnGateSection
from sluiceway.core.errors import ConfigError
from sluiceway.gates.catalogue import explain, find, gate_problems, gates_of

MODULE = '''
"""Ours."""

import functools

def no_negative_fares(context):
    """No fare is below 0.

    Told to whoever asks.
    """
    return []


number = 3
made = functools.partial(no_negative_fares)


class Fares:
    """Fares, as an object."""

    def __call__(self, context):
        return []


thing = Fares()
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "our_gates_for_a_test.py").write_text(MODULE)
    (tmp_path / "our_gates_that_exit.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    yield "our_gates_for_a_test"
    sys.modules.pop("our_gates_for_a_test", None)


def own(function, **further):
    return EvaluationSection(own={"fares": OwnGateSection(function=function, **further)})


def test_the_gates_of_the_package_are_all_there_and_explain_themselves():
    gates = gates_of(EvaluationSection())
    assert tuple(gate.name for gate in gates) == GATES
    for gate in gates:
        assert gate.title
        text = explain(gate)
        assert len(text.splitlines()) >= 8, gate.name
        assert isinstance(EvaluationSection().gate(gate.name), GateSection)


def test_an_own_gate_is_loaded_and_tells_its_own_text(module):
    gate = find("fares", gates_of(own(f"{module}:no_negative_fares", needs=("test", "train"))))
    assert gate.title == "No fare is below 0."
    assert "Told to whoever asks." in explain(gate)
    assert gate.needs == {"test", "train"}
    assert len(gate.source) == 64


def test_a_changed_own_gate_has_another_digest(module, tmp_path):
    before = find("fares", gates_of(own(f"{module}:no_negative_fares"))).source
    (tmp_path / f"{module}.py").write_text(MODULE + "\n# changed\n")
    assert find("fares", gates_of(own(f"{module}:no_negative_fares"))).source != before


@pytest.mark.parametrize(("name", "title"), [("made", "No fare is below 0."), ("thing", "Fares, as an object.")])
def test_a_partial_and_an_object_that_is_called_are_gates_like_any_other(module, tmp_path, name, title):
    gate = find("fares", gates_of(own(f"{module}:{name}")))
    assert gate.title == title
    assert title in explain(gate)
    assert list(gate.function(None)) == []
    (tmp_path / f"{module}.py").write_text(MODULE + "\n# changed\n")
    assert find("fares", gates_of(own(f"{module}:{name}"))).source != gate.source


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("no_such_module_of_ours:f", "No module named"),
        ("our_gates_for_a_test:absent", "has no attribute 'absent'"),
        ("our_gates_for_a_test:number", "is a int, not a function"),
        ("no_such_entry_point", "no installed package has an entry point"),
        ("our_gates_that_exit:f", "SystemExit: 0"),
        ("builtins:len", "has no source file"),
    ],
)
def test_an_own_gate_that_cannot_be_loaded_is_named_with_its_key(module, function, why):
    (problem,) = gate_problems(own(function))
    assert problem.startswith("evaluation.own.fares.function: ")
    assert why in problem
    with pytest.raises(ConfigError):
        gates_of(own(function))


def test_a_waiver_for_a_gate_that_is_not_there_is_refused():
    waiver = WaiverSection(gates=("fairnes",), owner="Ada", reason="r", expires=date(2030, 1, 1))
    (problem,) = gate_problems(EvaluationSection(waivers=(waiver,)))
    assert problem == "evaluation.waivers[0].gates[0]: there is no gate 'fairnes'; did you mean 'fairness'?"
    (problem,) = gate_problems(EvaluationSection(), ("lifecycle[2].waivers", [waiver]))
    assert problem.startswith("lifecycle[2].waivers[0].gates[0]: ")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"checks": ()}, "checks"),
        ({"checks": ("carrier *", " ")}, "a blank pattern fits no check"),
        ({"owner": "  "}, "it is blank"),
        ({"reason": "\t"}, "it is blank"),
    ],
)
def test_a_waiver_that_waives_nothing_or_that_nobody_answers_for_is_refused(given, why):
    with pytest.raises(ValidationError, match=why):
        WaiverSection(**{"gates": ("fairness",), "owner": "Ada", "reason": "r", "expires": date(2030, 1, 1), **given})


def test_an_own_gate_cannot_take_the_name_of_another():
    with pytest.raises(ValueError, match="a gate of that name comes with the package"):
        EvaluationSection(own={"fairness": OwnGateSection(function="a:b")})
