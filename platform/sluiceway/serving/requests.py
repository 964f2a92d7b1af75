"""Reads requests: bytes into rows or outcomes, or a :class:`RequestError` that says what to change."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from sluiceway.catalog.records import FeedbackRecord
from sluiceway.core.classes import Class
from sluiceway.core.errors import RequestError

REQUEST_ID = re.compile(r"[A-Za-z0-9._:/-]{1,200}")
LISTED_PROBLEMS = 20
# A caller's clock may be ahead by so much.
CLOCK_SECONDS = 300.0


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """The body, refused as soon as it is known to be too large.

    Raises:
        RequestError: 413 by ``Content-Length`` or by what has arrived; 400 where the length is no number.
    """
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit():
        raise RequestError("Content-Length is not a number", status=400)
    if int(declared) > max_bytes:
        raise _too_large(max_bytes)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > max_bytes:
            raise _too_large(max_bytes)
        parts.append(part)
    return b"".join(parts)


def read_rows(body: bytes, *, max_rows: int) -> list[Mapping[str, Any]]:
    """The rows of ``{"rows": [{feature: value}, ...]}``; the features are checked later, against the model's schema.

    Raises:
        RequestError: 400 no JSON; 422 another shape; 413 too many rows.
    """
    rows = _only_key(_json(body), "rows")
    _check_list(rows, "rows", max_rows)
    problems = [
        {"path": f"$.rows[{i}]", "problem": f"has to be an object of features, not {_kind(row)}"}
        for i, row in enumerate(rows)
        if not isinstance(row, dict)
    ]
    _refuse(problems)
    return rows  # type: ignore[no-any-return]


def read_feedback(body: bytes, *, max_rows: int, outcomes: Mapping[Class, float] | None) -> list[FeedbackRecord]:
    """The outcomes of ``{"feedback": [{"request_id", "outcome", "time"?}, ...]}``.

    Args:
        body: the request's body.
        max_rows: more entries are refused.
        outcomes: what an outcome can be, and the number that is kept for it (true and false are taken for 1 and 0);
            None: any number.

    Raises:
        RequestError: 400 no JSON; 422 with the path of each problem; 413 too many entries.
    """
    entries = _only_key(_json(body), "feedback")
    _check_list(entries, "feedback", max_rows)
    received = time.time()
    records: list[FeedbackRecord] = []
    problems: list[dict[str, str]] = []
    for i, entry in enumerate(entries):
        try:
            records.append(_feedback(entry, received=received, outcomes=outcomes))
        except _EntryError as error:
            problems.append({"path": f"$.feedback[{i}]{error.key}", "problem": error.problem})
    _refuse(problems)
    return records


def read_request_id(headers: Mapping[str, str]) -> str | None:
    """The caller's ``X-Request-Id``, or None where there is none.

    Raises:
        RequestError: 400, it has characters that do not belong into an id.
    """
    given = headers.get("x-request-id")
    if given is not None and not REQUEST_ID.fullmatch(given):
        raise RequestError("X-Request-Id has to be 1 to 200 letters, digits or any of . _ : / -", status=400)
    return given


class _EntryError(Exception):
    def __init__(self, key: str, problem: str) -> None:
        super().__init__(key, problem)
        self.key, self.problem = key, problem


def _feedback(entry: Any, *, received: float, outcomes: Mapping[Class, float] | None) -> FeedbackRecord:
    if not isinstance(entry, dict):
        raise _EntryError("", f"has to be an object, not {_kind(entry)}")
    for key in entry:
        if key not in ("request_id", "outcome", "time"):
            raise _EntryError(f".{key}", "unknown; known here: request_id, outcome, time")
    request_id, outcome = entry.get("request_id"), entry.get("outcome")
    if not isinstance(request_id, str) or not REQUEST_ID.fullmatch(request_id):
        raise _EntryError(".request_id", "has to be the request_id of an answer")
    return FeedbackRecord(request_id, _outcome(outcome, outcomes), _time(entry.get("time"), received), received)


def _outcome(given: Any, outcomes: Mapping[Class, float] | None) -> float:
    text = outcomes is not None and any(isinstance(value, str) for value in outcomes)
    if not (text and isinstance(given, str)) and not (isinstance(given, int | float) and _is_finite(given)):
        raise _EntryError(".outcome", f"has to be {'a class' if text else 'a number'}, not {_kind(given)}")
    if outcomes is None:
        return float(given)
    code = outcomes.get(given)  # type: ignore[arg-type]  # 1.0 and true find 1
    if code is None:
        shown = [str(value) for value in outcomes]
        more = [f"{len(shown) - LISTED_PROBLEMS} more"] if len(shown) > LISTED_PROBLEMS else []
        *some, last = [*shown[:LISTED_PROBLEMS], *more]
        raise _EntryError(".outcome", f"has to be {', '.join(some)} or {last}, not {str(given)[:100]}")
    return float(code)


def _time(value: Any, received: float) -> float:
    if value is None:
        return received
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if _is_finite(value) else math.inf
    elif isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError as error:
            raise _EntryError(".time", f"{value!r} is not an ISO time") from error
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    else:
        raise _EntryError(".time", f"has to be an ISO time or epoch seconds, not {_kind(value)}")
    if not 0 <= seconds <= received + CLOCK_SECONDS:
        raise _EntryError(".time", "lies before 1970 or in the future; epoch seconds, not milliseconds?")
    return seconds


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        text = str(error) if isinstance(error, json.JSONDecodeError) else "not UTF-8 text, or too deeply nested"
        raise RequestError(f"the body is not JSON: {text}", status=400) from error


def _no_constant(name: str) -> float:
    raise json.JSONDecodeError(f"{name} is not a JSON value; send null where a value is missing", name, 0)


def _only_key(document: Any, key: str) -> Any:
    if not isinstance(document, dict):
        _refuse([{"path": "$", "problem": f'has to be an object {{"{key}": [...]}}, not {_kind(document)}'}])
    _refuse([{"path": f"$.{name}", "problem": f"unknown; known here: {key}"} for name in document if name != key])
    if key not in document:
        _refuse([{"path": f"$.{key}", "problem": "missing"}])
    return document[key]


def _check_list(entries: Any, key: str, max_rows: int) -> None:
    if not isinstance(entries, list) or not entries:
        _refuse([{"path": f"$.{key}", "problem": "has to be a list of at least one entry"}])
    if len(entries) > max_rows:
        raise RequestError(f"{len(entries)} entries in {key}; at most {max_rows} in one request", status=413)


def _refuse(problems: list[dict[str, str]]) -> None:
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise RequestError(f"the request has {count}", status=422, problems=tuple(problems[:LISTED_PROBLEMS]))


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(f"the body is larger than {max_bytes} bytes", status=413, hint="send fewer rows in a request")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
