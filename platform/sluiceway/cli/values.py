"""Values of tables as JSON and a terminal can show them."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any

# A cell of a table for people.
MAX_TEXT = 40


def plain(value: Any) -> Any:
    """A value as JSON has it; what JSON cannot hold (NaN, bytes as hex digits, times, decimals) as text."""
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def cell(value: Any) -> str:
    """A value in one line of a table, cut where it is long; null is nothing."""
    text = "" if value is None else " ".join(str(plain(value)).splitlines())
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
