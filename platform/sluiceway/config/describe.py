"""Every key of a configuration with its type, default and meaning, from the sections themselves."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sluiceway.config.settings import Settings


def describe() -> str:
    """A Markdown page of all keys; ``docs/configuration.md`` is this text, and a test says so."""
    lines = [
        "# The configuration",
        "",
        "Printed by `sluiceway init --keys`; the sections in `platform/sluiceway/config/` are its source.",
        "A value is taken from `--set KEY=VALUE`, else from the environment (`SLUICEWAY_SECTION__KEY=value`), else",
        "from the file, else it is the default. Unknown keys are refused.",
        "",
    ]
    for name, info in Settings.model_fields.items():
        lines += [
            f"## {name}",
            "",
            info.description or "",
            "",
            "| key | type | default | meaning |",
            "|---|---|---|---|",
        ]
        lines += [f"| {' | '.join(row)} |" for row in _rows(name, info)]
        lines.append("")
    return "\n".join(lines)


def _rows(prefix: str, info: FieldInfo) -> Iterator[tuple[str, str, str, str]]:
    for section in _sections(info.annotation):
        step = section.model_fields.get("step")
        kind = f"{typing.get_args(step.annotation)[0]}: " if step else ""
        for name, field in section.model_fields.items():
            key = f"{prefix}{_entry(info.annotation)}.{name}"
            if any(not issubclass(section, inner) for inner in _sections(field.annotation)):
                yield from _rows(key, field)
            else:
                meaning = f"{kind}{field.description or ''}".replace("\n", " ").replace("|", "\\|")
                yield f"`{key}`", f"`{_type(field.annotation)}`".replace("|", "\\|"), _default(field), meaning


def _sections(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for argument in typing.get_args(annotation) for section in _sections(argument)]


def _entry(annotation: Any) -> str:
    """How an entry of a list or a mapping of sections is written."""
    return {tuple: "[]", dict: ".NAME"}.get(typing.get_origin(annotation), "")


def _type(annotation: Any) -> str:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return "null" if annotation is type(None) else annotation.__name__
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(repr(value) for value in typing.get_args(annotation))
    return str(annotation).replace("typing.", "").replace("<class '", "").replace("'>", "").replace("NoneType", "null")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return f"`{'null' if value is None else repr(value)}`".replace("|", "\\|")
