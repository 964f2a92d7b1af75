"""Says in the words of the file what pydantic found wrong with it; reads nothing."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

# In the words of a YAML file, where pydantic has Python's.
WORDS = {
    "tuple_type": "has to be a list",
    "string_type": "has to be text",
    "too_short": "needs at least one entry",
    "string_pattern_mismatch": "has to begin with a letter or a digit and may hold letters, digits, ., _ and -",
}


def explain(
    errors: Iterable[ErrorDetails], *, root: type[BaseModel], path: str, origins: Mapping[str, str]
) -> list[str]:
    """One line a problem: where it comes from, the key, what is wrong, what was probably meant.

    Args:
        errors: what pydantic found.
        root: the section that was validated.
        path: the file, for keys that nobody has overridden.
        origins: key -> what set it (``--set ...`` or the name of an environment variable).
    """
    found: dict[str, list[str]] = {}
    for detail in errors:
        key, siblings = locate(detail["loc"], root=root, unknown=detail["type"] == "extra_forbidden")
        # The members of a union complain one by one about the same value: one problem, not several.
        messages = found.setdefault(key, [])
        message = _message(detail, siblings)
        if message not in messages:
            messages.append(message)
    return [f"{origin_of(key, origins) or path}: {key}: {_joined(messages)}" for key, messages in found.items()]


def locate(loc: tuple[int | str, ...], *, root: type[BaseModel], unknown: bool) -> tuple[str, list[str]]:
    """Turn pydantic's location into the file's.

    Names of union members (``ingest``, ``int``, ``literal[...]``) stand in pydantic's location but in nobody's file,
    so the walk follows the annotations of the sections and keeps only what is a field, an item or a key of a mapping.

    Args:
        loc: pydantic's location.
        root: the section that it starts from.
        unknown: True where the last part is a key that no section knows.

    Returns:
        the key, e.g. ``deployment.steps[0].weight``, and the keys that the innermost section knows, sorted.
    """
    key = ""
    here: list[Any] = [root]
    for position, part in enumerate(loc):
        models = _models(here)
        fields = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        if isinstance(part, int):
            key, here = f"{key}[{part}]", _items(here)
        elif unknown and position == len(loc) - 1:
            key = f"{key}.{part}" if key else part
        elif len(models) > 1:
            here = [model for model in models if _is_tagged(model, part)] or here
        elif fields:
            key, here = (f"{key}.{part}" if key else part), fields
        elif values := _values(here):
            key, here = f"{key}.{part}", values
    siblings = sorted({name for model in _models(here) for name in model.model_fields})
    return key or "(whole file)", siblings


def _message(detail: ErrorDetails, siblings: list[str]) -> str:
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(detail["loc"][-1]), siblings, n=1)
        return "unknown key; " + (f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(siblings)}")
    if detail["type"] == "missing":
        return "missing"
    if detail["type"] in ("model_type", "model_attributes_type"):
        return f"has to be a mapping of keys to values (given: {detail['input']!r})"
    if detail["type"] == "union_tag_not_found":
        return f"missing the key {detail['ctx']['discriminator']} that says what it is"
    message = WORDS.get(detail["type"], detail["msg"].removeprefix("Value error, "))
    given = detail.get("input")
    return f"{message} (given: {given!r})" if isinstance(given, str | int | float | bool) else message


def _joined(messages: list[str]) -> str:
    """``A (given: 1)`` and ``B (given: 1)`` become ``A; or: B (given: 1)``."""
    ends = {message[message.rfind(" (given: ") :] for message in messages if " (given: " in message}
    if len(messages) > 1 and len(ends) == 1:
        (end,) = ends
        return "; or: ".join(message.removesuffix(end) for message in messages) + end
    return "; or: ".join(messages)


def origin_of(key: str, origins: Mapping[str, str]) -> str | None:
    """What set a key, something above it or, where the key stands for a section that nobody knows, below it."""
    above = (by for setter, by in origins.items() if f"{key}.".startswith((f"{setter}.", f"{setter}[")))
    below = (by for setter, by in origins.items() if setter.startswith(f"{key}."))
    return next(above, None) or next(below, None)


def _members(annotations: Iterable[Any]) -> list[Any]:
    """The annotations with unions and ``Annotated`` taken apart; containers stay whole."""
    members: list[Any] = []
    for annotation in annotations:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            members += _members(typing.get_args(annotation)[:1])
        elif origin is None or (isinstance(origin, type) and issubclass(origin, tuple | list | dict)):
            members.append(annotation)
        else:
            members += _members(typing.get_args(annotation))
    return members


def _models(annotations: Iterable[Any]) -> list[type[BaseModel]]:
    return [m for m in _members(annotations) if isinstance(m, type) and issubclass(m, BaseModel)]


def _items(annotations: Iterable[Any]) -> list[Any]:
    sequences = [m for m in _members(annotations) if typing.get_origin(m) in (tuple, list)]
    return [argument for sequence in sequences for argument in typing.get_args(sequence) if argument is not Ellipsis]


def _values(annotations: Iterable[Any]) -> list[Any]:
    mappings = [m for m in _members(annotations) if typing.get_origin(m) is dict]
    return [typing.get_args(mapping)[1] for mapping in mappings]


def _is_tagged(model: type[BaseModel], tag: str) -> bool:
    annotations = (field.annotation for field in model.model_fields.values())
    return any(typing.get_origin(a) is typing.Literal and typing.get_args(a) == (tag,) for a in annotations)
