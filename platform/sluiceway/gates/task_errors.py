"""What ended a gate's task, in one line for a person."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from typing import Any

from sluiceway.core.errors import SluicewayError


def told(error: BaseException) -> str:
    """The kind of an error and its first line, with the hint of one that has one."""
    said = error.message if isinstance(error, SluicewayError) else str(error)
    first = next((line for line in said.splitlines() if line.strip()), "")
    hint = f"; {error.hint}" if isinstance(error, SluicewayError) and error.hint else ""
    return f"{type(error).__name__}: {first}{hint}"


def told_with_place(error: BaseException, function: Callable[..., Any]) -> str:
    """As :func:`told`, with the file and the line where a function has raised it.

    The line is the last one in the function's own file: what it called is less to blame. An error of this package says
    by itself what is wrong, and has no place.

    Args:
        error: caught where it was raised.
        function: that was called.
    """
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SluicewayError) or not frames:
        return told(error)
    file = _file_of(function)
    frame = next((frame for frame in reversed(frames) if frame.filename == file), frames[-1])
    return f"{told(error)} ({frame.filename}, line {frame.lineno})"


def told_of_process(gate: str, tries: int, *, scored: bool) -> str:
    """Of a task whose process has ended, as often as it was tried.

    Args:
        gate: its name.
        tries: how often it was begun.
        scored: it waited for the scores of the test rows, whose process may be the one that ended.
    """
    whose = f"gate {gate}, or of the scoring before it," if scored else f"gate {gate}"
    often = "" if tries == 1 else f", {tries} times"
    return (
        f"the process of {whose} ended before it had judged{often}: os._exit, a crash in compiled code, or killed for "
        "want of memory; call its function in a Python of your own, or give it memory_mb"
    )


def _file_of(function: Callable[..., Any]) -> str | None:
    plain = inspect.unwrap(function)
    while hasattr(plain, "func"):  # functools.partial
        plain = plain.func
    code = getattr(plain, "__code__", None)
    return None if code is None else str(code.co_filename)
