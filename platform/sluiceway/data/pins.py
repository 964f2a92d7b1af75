"""A file that pins tables: by name which version of which table is meant, and its digest; other tools can read it.

It belongs into git beside the code: who changes what a name means changes a line that everybody sees. A pin keeps
nothing alive, and what it names is verified when it is read: the digest has to be the one that was written down.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from sluiceway.config.strict_yaml import StrictLoader, one_line
from sluiceway.core.errors import ConfigError, DataError
from sluiceway.core.references import TableVersion
from sluiceway.data import tables
from sluiceway.data.digest import digest_of
from sluiceway.data.references import NEWEST

FILE_NAME = "pins.yaml"
# DVC finds a parameter by NAME.version: a dot in a name would be a level more, a * would be a pattern.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SUFFIXES = (".yaml", ".yml")
_KEYS = ("table", "version", "digest", "rows", "ref")
_HEAD = "# What each name means until it is pinned again; written by `sluiceway data pin`, which keeps no comments.\n"


def read_pins(path: str | Path) -> dict[str, TableVersion]:
    """The pinned versions by name, each as it was when it was pinned.

    Args:
        path: the file.

    Returns:
        sorted by name; places of local tables absolute.

    Raises:
        ConfigError: the file cannot be read; or all that is wrong with it.
        DataError: a version is not the one that was pinned, because its table was made anew.
        TableNotFoundError, ReferenceNotFoundError, UnsupportedTableError: it cannot be opened any more.
    """
    return {name: verified(pin, name=name) for name, pin in load_pins(path).items()}


def load_pins(path: str | Path) -> dict[str, TableVersion]:
    """The same as it is written, without a look at the tables.

    Raises:
        ConfigError: the file cannot be read; or all that is wrong with it.
    """
    path = _file(path)
    document = _document(path)
    problems: list[str] = []
    for name, entry in document.items():
        if not _NAME.fullmatch(name):
            problems.append(f"{name!r} cannot be a name: a letter first, then letters, digits, _ and -")
        problems += _problems(name, entry)
    if problems:
        raise ConfigError(
            f"the pins in {path} cannot be used",
            problems=tuple(problems),
            hint="`sluiceway data pin NAME=TABLE@REF` writes such a file",
        )
    return {name: _version(document[name], path.parent) for name in sorted(document)}


def write_pins(path: str | Path, pins: Mapping[str, TableVersion]) -> bool:
    """Write the file whole, or leave it untouched where it says the same already.

    A local table below the file's folder is named from there, so that a checkout can lie anywhere.

    Args:
        path: the file; what else it holds goes.
        pins: by name.

    Returns:
        Whether the file was written.

    Raises:
        ConfigError: a name is odd, or the file cannot be written.
    """
    path = _file(path)
    for name in pins:
        check_pin_name(name)
    entries = {name: _entry(pins[name], path.parent) for name in sorted(pins)}
    text = _HEAD + yaml.dump(entries, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))
    try:
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return False
        _replace(path, text)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", hint="check the folder, or use --out"
        ) from error
    return True


def check_pin_name(name: str) -> None:
    """Refuse what cannot be a name in the file.

    Raises:
        ConfigError: it has other characters.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a pin", hint="a letter first, then letters, digits, _ and -; no dots"
        )


def verified(pin: TableVersion, *, name: str) -> TableVersion:
    """The pin with its rows counted, if its version is still what it was.

    Args:
        pin: as it was written.
        name: for the message.

    Raises:
        DataError: the table was made anew.
        TableNotFoundError, ReferenceNotFoundError, UnsupportedTableError: the version cannot be opened any more.
    """
    table = tables.open_table(pin.uri, version=pin.version)
    found = digest_of(table)
    if found != pin.digest:
        raise DataError(
            f"version {pin.version} of {pin.uri} is not the one that was pinned as {name!r}: the table was made anew",
            hint=f"bring the old table back, or pin it again, on purpose: `sluiceway data pin {name}=TABLE`",
            table=pin.uri,
            version=pin.version,
        )
    return replace(pin, rows=tables.row_count(table))


def _file(path: str | Path) -> Path:
    # Resolved, so that a link stays a link when the file is replaced.
    found = Path(path).resolve()
    if found.suffix not in _SUFFIXES:
        raise ConfigError(f"{path} is no name for a file of pins", hint="DVC reads it as YAML if it ends in .yaml")
    return found


def _document(path: Path) -> dict[str, Any]:
    try:
        document: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigError(
            f"the pins {path} cannot be read: {error.strerror}", hint="`sluiceway data pin NAME=TABLE` makes the file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {one_line(error)}") from error
    except ValueError as error:  # what looks like a date and is none
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path} holds no mapping of names to tables", hint="see docs/data/dvc.md")
    return document


def _problems(name: str, entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        return [f"{name}: holds no {', '.join(_KEYS)}"]
    number, rows = entry.get("version"), entry.get("rows", 0)
    wrong = {
        "table: the place of a table is missing": not (isinstance(entry.get("table"), str) and entry["table"]),
        "version: is not the number of a version": not _is_count(number),
        "digest: is not 64 hex digits in quotes": not _DIGEST.fullmatch(str(entry.get("digest"))),
        "rows: is not a number of rows": not _is_count(rows),
        "ref: is not a text in quotes": not isinstance(entry.get("ref", NEWEST), str),
    }
    unknown = [f"{key}: there is no such key" for key in entry if key not in _KEYS]
    return [f"{name}.{text}" for text in [*(text for text, broken in wrong.items() if broken), *unknown]]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _version(entry: Mapping[str, Any], folder: Path) -> TableVersion:
    place = entry["table"]
    uri = tables.absolute(place if "://" in place else str(folder / place))
    return TableVersion(uri, entry["version"], entry["digest"], entry.get("rows", 0), entry.get("ref", NEWEST))


def _entry(pin: TableVersion, folder: Path) -> dict[str, Any]:
    place = pin.uri
    if "://" not in place and Path(place).is_relative_to(folder):
        place = Path(place).relative_to(folder).as_posix()
    values = {"table": _Text(place), "version": pin.version, "digest": _Text(pin.digest), "rows": pin.rows}
    return values | {"ref": _Text(pin.ref)}


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        if path.exists():
            shutil.copymode(path, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class _Text(str):
    """A text that is quoted whatever it looks like: readers of YAML differ on what 1e5 and 0o17 are."""


class _Dumper(yaml.SafeDumper):
    """Quotes texts."""


_Dumper.add_representer(_Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


class _Loader(StrictLoader):
    """Names are words."""

    key_types = (str,)
