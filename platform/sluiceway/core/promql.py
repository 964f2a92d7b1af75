"""Placeholders in PromQL: a value gets into a query as text of a label, and never as a part of the query."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sluiceway.core.errors import InputError

# What a query of one's own may name. `$window` is a duration, for [..] and `offset`; all others are texts.
WINDOW = "window"
TEXTS = ("endpoint", "model", "version", "arm", "rollout")

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)
      | (?P<quoted>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<raw>`[^`]*`)
      | (?P<name>\$\w+)""",
    re.VERBOSE,
)
# In a text a dollar that no name follows stays one: it is the end of a regular expression.
_IN_TEXT = re.compile(r"\$(\$|[A-Za-z_]\w*)")
_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$])")
_UNKNOWN = "there are $" + ", $".join((*TEXTS, WINDOW)) + "; a dollar is written $$"


def names_in(query: str) -> frozenset[str]:
    """The placeholders of a query.

    Raises:
        InputError: one does not exist, or stands where it cannot be filled in.
    """
    found: set[str] = set()
    for match in _TOKEN.finditer(query):
        text = match[0]
        if match["name"]:
            if text[1:] != WINDOW:
                _check_known(text)
                raise InputError(f"{text} is a text: put it into quotes", hint=f'for example {{version="{text}"}}')
            found.add(WINDOW)
        elif match["raw"]:
            if any(name != "$" for name in _IN_TEXT.findall(text)):
                raise InputError("in backticks nothing is filled in: use double quotes")
        elif match["quoted"]:
            for name in _IN_TEXT.findall(text):
                if name != "$":
                    _check_known(f"${name}")
                    found.add(name)
    return frozenset(found)


def filled(query: str, texts: Mapping[str, str], *, seconds: float) -> str:
    """The query with its placeholders filled in, without its comments.

    A text is escaped for the quotes that it is in, and where these follow ``=~`` or ``!~`` for the regular expression,
    too: a version ``1.0"} or vector(1) #`` is only a version that nobody has.

    Args:
        query: with placeholders.
        texts: a value for each of ``TEXTS``.
        seconds: of ``$window``; at least one.

    Raises:
        InputError: as :func:`names_in`.
    """
    names_in(query)
    window = f"{max(1, int(seconds))}s"
    parts, end = [], 0
    for match in _TOKEN.finditer(query):
        before = query[end : match.start()]
        parts.append(before)
        end = match.end()
        if match["comment"]:
            continue
        if match["name"]:
            parts.append(window)
        elif match["quoted"]:
            as_pattern = before.rstrip().endswith(("=~", "!~"))
            parts.append(_filled_text(match[0], {**texts, WINDOW: window}, as_pattern=as_pattern))
        else:
            parts.append(match[0])
    return "".join((*parts, query[end:]))


def quoted(text: str) -> str:
    """A text as PromQL writes it."""
    return f'"{_escaped(text, chr(34))}"'


def _filled_text(literal: str, values: Mapping[str, str], *, as_pattern: bool) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name == "$":
            return "$"
        text = _SPECIAL.sub(r"\\\1", values[name]) if as_pattern else values[name]
        return _escaped(text, literal[0])

    return literal[0] + _IN_TEXT.sub(value, literal[1:-1]) + literal[0]


def _escaped(text: str, quote: str) -> str:
    return "".join(_letter(letter, quote) for letter in text)


def _letter(letter: str, quote: str) -> str:
    if letter in ("\\", quote):
        return f"\\{letter}"
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"


def _check_known(name: str) -> None:
    if name[1:] not in (*TEXTS, WINDOW):
        raise InputError(f"{name} is no placeholder", hint=_UNKNOWN)
