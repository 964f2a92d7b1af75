"""What is wrong with a request, gathered so that all of it is told at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from sluiceway.core.errors import RequestError

MOST_PROBLEMS = 100  # a request of many bad rows must not be answered by a larger body
MOST_CHARACTERS = 100  # of a name or a value that the caller sent, where it is told back
# A problem without its text yet: the text of one that is not listed is never made.
Text = str | Callable[[], str]


class Problems:
    """The problems of a request, in the order in which they were found.

    Args:
        root: path of what is looked at as a whole, for the line that says how many more there are.
    """

    def __init__(self, root: str = "$") -> None:
        self._root = root
        self._listed: list[dict[str, str]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, path: str, problem: Text) -> None:
        """Note a problem.

        Args:
            path: JSON path of the value.
            problem: what is wrong with it; a function is asked for it only where it is listed.
        """
        self._count += 1
        if self._count <= MOST_PROBLEMS:
            self._listed.append({"path": path, "problem": problem if isinstance(problem, str) else problem()})

    def refuse(self) -> None:
        """Raise where there are any.

        Raises:
            RequestError: 422, with the first 100 and how many more there are.
        """
        if self._count:
            left = self._count - len(self._listed)
            more = [{"path": self._root, "problem": f"{left} more problems"}] if left else []
            count = "1 problem" if self._count == 1 else f"{self._count} problems"
            raise RequestError(f"the request has {count}", status=422, problems=(*self._listed, *more))


def refuse(path: str, problem: str) -> NoReturn:
    """Refuse a request for one problem.

    Raises:
        RequestError: 422.
    """
    raise RequestError("the request has 1 problem", status=422, problems=({"path": path, "problem": problem},))


def step(name: str) -> str:
    """How a JSON path goes on to a key: ``.name``, or ``['a name']``."""
    return f".{name}" if name.isidentifier() and len(name) <= MOST_CHARACTERS else f"[{short(name)}]"


def short(value: object) -> str:
    """A value as it is told back: quoted, cut after 100 characters."""
    text = value[: MOST_CHARACTERS + 1] if isinstance(value, str) else str(value)
    return repr(text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}...")


def kind_of(value: object) -> str:
    """What a value of a JSON document is, in words."""
    names = {str: "a text", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")
