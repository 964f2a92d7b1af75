"""Reads what requests say besides rows: their ids, and the outcomes of feedback."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sluiceway.catalog.records import FeedbackRecord
from sluiceway.core.classes import Class
from sluiceway.core.errors import RequestError
from sluiceway.features.problems import Problems, kind_of, refuse, short, step
from sluiceway.serving.documents import read_json

REQUEST_ID = re.compile(r"[A-Za-z0-9._:/-]{1,200}")
# Feedback for one row of several has ``/<row>`` behind the id.
FEEDBACK_ID = re.compile(r"[A-Za-z0-9._:/-]{1,220}")
LISTED_CLASSES = 20
# A caller's clock may be ahead by so much.
CLOCK_SECONDS = 300.0


def read_feedback(body: bytes, *, max_rows: int, outcomes: Mapping[Class, float] | None) -> list[FeedbackRecord]:
    """The outcomes of ``{"feedback": [{"request_id", "outcome", "time"?, "value"?}, ...]}``.

    Args:
        body: the request's body.
        max_rows: more entries are refused.
        outcomes: what an outcome can be, and the number that is kept for it (true and false are taken for 1 and 0);
            None: any number.

    Raises:
        RequestError: 400 no JSON; 422 with the path of each problem; 413 too many entries.
    """
    entries = _entries(read_json(body), max_rows)
    received = time.time()
    records: list[FeedbackRecord] = []
    problems = Problems("$.feedback")
    for i, entry in enumerate(entries):
        try:
            records.append(_feedback(entry, received=received, outcomes=outcomes))
        except _EntryError as error:
            problems.add(f"$.feedback[{i}]{error.key}", error.problem)
    problems.refuse()
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


def _entries(document: Any, max_rows: int) -> list[Any]:
    if not isinstance(document, dict):
        refuse("$", f'has to be an object {{"feedback": [...]}}, not {kind_of(document)}')
    problems = Problems()
    for name in document:
        if name != "feedback":
            problems.add(f"${step(name)}", "unknown; known here: feedback")
    if "feedback" not in document:
        problems.add("$.feedback", "is missing")
    problems.refuse()
    entries = document["feedback"]
    if not isinstance(entries, list) or not entries:
        refuse("$.feedback", "has to be a list of at least one entry")
    if len(entries) > max_rows:
        raise RequestError(f"{len(entries)} entries in feedback; at most {max_rows} in one request", status=413)
    return entries


def _feedback(entry: Any, *, received: float, outcomes: Mapping[Class, float] | None) -> FeedbackRecord:
    if not isinstance(entry, dict):
        raise _EntryError("", f"has to be an object, not {kind_of(entry)}")
    for key in entry:
        if key not in ("request_id", "outcome", "time", "value"):
            raise _EntryError(step(key), "unknown; known here: request_id, outcome, time, value")
    request_id, outcome = entry.get("request_id"), entry.get("outcome")
    if not isinstance(request_id, str) or not FEEDBACK_ID.fullmatch(request_id):
        raise _EntryError(".request_id", "has to be the request_id of an answer")
    known, time = _outcome(outcome, outcomes), _time(entry.get("time"), received)
    return FeedbackRecord(request_id, known, time, received, _value(entry.get("value")))


def _outcome(given: Any, outcomes: Mapping[Class, float] | None) -> float:
    text = outcomes is not None and any(isinstance(value, str) for value in outcomes)
    if not (text and isinstance(given, str)) and not (isinstance(given, int | float) and _is_finite(given)):
        raise _EntryError(".outcome", f"has to be {'a class' if text else 'a number'}, not {kind_of(given)}")
    if outcomes is None:
        return float(given)
    code = outcomes.get(given)  # type: ignore[arg-type]  # 1.0 and true find 1
    if code is None:
        shown = [str(value) for value in outcomes]
        more = [f"{len(shown) - LISTED_CLASSES} more"] if len(shown) > LISTED_CLASSES else []
        *some, last = [*shown[:LISTED_CLASSES], *more]
        raise _EntryError(".outcome", f"has to be {', '.join(some)} or {last}, not {str(given)[:100]}")
    return float(code)


def _time(value: Any, received: float) -> float:
    if value is None:
        return received
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if _is_finite(value) else math.inf
    elif isinstance(value, str):
        seconds = _iso_seconds(value)
    else:
        raise _EntryError(".time", f"has to be an ISO time or epoch seconds, not {kind_of(value)}")
    if not 0 <= seconds <= received + CLOCK_SECONDS:
        raise _EntryError(".time", "lies before 1970 or in the future; epoch seconds, not milliseconds?")
    return seconds


def _value(given: Any) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool) or not (isinstance(given, int | float) and _is_finite(given)):
        raise _EntryError(".value", "has to be a finite number")
    return float(given)


def _iso_seconds(value: str) -> float:
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise _EntryError(".time", f"{short(value)} is not an ISO time") from error


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False
