"""JSON, read and written: the one place where requests and answers meet their parser."""

from __future__ import annotations

import json
from typing import Any

import orjson

from sluiceway.core.errors import RequestError

# What some clients write where JSON has no word for it.
_CONSTANTS = ("NaN", "Infinity", "-Infinity")
_TOO_LARGE = "infinity"  # stands in the message for a number that no float holds


def read_json(body: bytes, *, constants: bool = False) -> Any:
    """A JSON document.

    Args:
        body: UTF-8 text.
        constants: whether NaN and Infinity are understood, of clients that write them.

    Returns:
        the document; a number that no float holds is infinite, or a whole number, for who can say where it stands.

    Raises:
        RequestError: 400, the body is no JSON; says where.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        constant = next((name for name in _CONSTANTS if error.doc.startswith(name, error.pos)), None)
        if (constant and constants) or _TOO_LARGE in error.msg:
            return _read_slowly(error.doc, constants=constants)
        raise _no_json(error.msg, error.pos, constant) from error


def write_json(document: Any) -> bytes:
    """UTF-8 text of a document of plain values."""
    return orjson.dumps(document)


def _read_slowly(text: str, *, constants: bool) -> Any:
    def refused(name: str) -> float:
        raise _no_json("", 0, name)

    try:
        document = json.loads(text, parse_constant=None if constants else refused)
        json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair could not be told back
    except (ValueError, RecursionError) as error:
        told = error.msg if isinstance(error, json.JSONDecodeError) else "no UTF-8 text, or too deeply nested"
        raise _no_json(told, None) from error
    return document


def _no_json(problem: str, position: int | None, constant: str | None = None) -> RequestError:
    if constant:
        told = f"{constant} is no JSON value"
    else:
        told = problem if position is None else f"{problem} at character {position}"
    hint = "send null where a value is missing" if constant else None
    return RequestError(f"the body is not JSON: {told}", status=400, hint=hint)
