"""All gates: those of the package, and your own."""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib.metadata
import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sluiceway.config.evaluation import GATES, EvaluationSection, WaiverSection
from sluiceway.config.gates import OwnGateSection
from sluiceway.core.errors import ConfigError
from sluiceway.core.loading import load_named, loaded
from sluiceway.gates.checks import (
    calibration,
    champion,
    data_quality,
    fairness,
    leakage,
    performance,
    robustness,
    serving,
    slices,
)
from sluiceway.gates.context import Gate

ENTRY_POINTS = "sluiceway.gates"
_BUILT_IN: dict[str, Gate] = {
    check.GATE.name: check.GATE
    for check in (performance, champion, fairness, robustness, data_quality, leakage, calibration, slices, serving)
}


def gates_of(evaluation: EvaluationSection) -> tuple[Gate, ...]:
    """The gates of a configuration, in the order in which they are told; all of them always run.

    Raises:
        ConfigError: an own gate cannot be loaded.
    """
    return (
        *(_BUILT_IN[name] for name in GATES),
        *(own_gate(name, section) for name, section in evaluation.own.items()),
    )


def explain(gate: Gate) -> str:
    """What a gate asks and how it judges: the text at the head of its module, or of its function for an own one."""
    module = inspect.getmodule(gate.function)
    text = inspect.getdoc(_defined(gate.function)) if gate.source else module.__doc__ if module else ""
    return inspect.cleandoc(text or gate.title)


def own_gate(name: str, section: OwnGateSection) -> Gate:
    """Load a gate of the user.

    Args:
        name: as in the configuration.
        section: says where its function is.

    Raises:
        ConfigError: it cannot be imported, or is no function; names the key and what went wrong.
    """
    key = f"evaluation.own.{name}.function"
    function = _loaded(section.function, key)
    if not callable(function):
        raise _refused(key, f"{section.function!r} is a {type(function).__name__}, not a function of a GateContext")
    try:
        source = _source_digest(function, section.function)
    except (TypeError, OSError) as error:
        why = f"{section.function!r} has no source file, so that nobody could see when it changes"
        raise _refused(key, why) from error
    first = (inspect.getdoc(_defined(function)) or section.function).splitlines()[0]
    return Gate(name, first, function, frozenset(section.needs), source=source)


def gate_problems(evaluation: EvaluationSection, *further: tuple[str, Iterable[WaiverSection]]) -> list[str]:
    """Own gates that cannot be loaded, and waivers for gates that do not exist.

    Args:
        evaluation: the section.
        further: more waivers, with the key that they stand under.

    Returns:
        One line each, beginning with the key.
    """
    found: list[str] = []
    for name, section in evaluation.own.items():
        try:
            own_gate(name, section)
        except ConfigError as error:
            found += error.problems
    for key, waivers in (("evaluation.waivers", evaluation.waivers), *further):
        for i, waiver in enumerate(waivers):
            for j, name in enumerate(waiver.gates):
                if name not in evaluation.gate_names:
                    found.append(f"{key}[{i}].gates[{j}]: {_unknown(name, evaluation.gate_names)}")
    return found


def find(name: str, gates: Iterable[Gate]) -> Gate:
    """The gate of a name.

    Raises:
        ConfigError: there is none; the message has the nearest name.
    """
    known = {gate.name: gate for gate in gates}
    if name not in known:
        raise ConfigError(_unknown(name, known), hint="`sluiceway gates list` has all of them")
    return known[name]


def _unknown(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"there is no gate {name!r}; " + (
        f"did you mean {close[0]!r}?" if close else f"it may be: {', '.join(known)}"
    )


def _loaded(place: str, key: str) -> Any:
    entries = () if ":" in place else tuple(importlib.metadata.entry_points(group=ENTRY_POINTS, name=place))
    if ":" not in place and len(entries) != 1:
        said = "no installed package has" if not entries else f"{len(entries)} installed packages have"
        raise _refused(key, f"{said} an entry point {place!r} in the group {ENTRY_POINTS!r}")
    try:
        return loaded(place, entries[0].load) if entries else load_named(place)
    except ConfigError as error:
        raise _refused(key, error.message) from error


def _refused(key: str, why: str) -> ConfigError:
    hint = "write `module:function` with a module that the workers can import, or the name of an entry point"
    return ConfigError("an own gate cannot be used", problems=(f"{key}: {why}; {hint}",))


def _defined(function: Callable[..., Any]) -> Any:
    """The function or class whose text says what is called: what a partial or a decorator is of, an object's class."""
    while isinstance(function := inspect.unwrap(function), functools.partial):
        function = function.func
    return function if inspect.isroutine(function) or inspect.isclass(function) else type(function)


def _source_digest(function: Callable[..., Any], place: str) -> str:
    """Of the file that defines it: a changed gate judges again.

    Raises:
        TypeError: it is not written in Python.
        OSError: its file cannot be read.
    """
    defined = _defined(function)
    file = inspect.getsourcefile(defined)
    text = Path(file).read_bytes() if file else repr(defined).encode()
    # A partial or an object is made elsewhere than it is defined: what it is made with stands there.
    made = getattr(sys.modules.get(place.partition(":")[0]), "__file__", None) if defined is not function else None
    if made and made != file:
        text += Path(made).read_bytes()
    return hashlib.sha256(text).hexdigest()
