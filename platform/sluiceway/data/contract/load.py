"""Finds the contract of a table and reads it; all that is wrong with it is told at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import obstore
import yaml
from obstore.store import LocalStore, from_url
from pydantic import ValidationError

from sluiceway.config.explain import explain
from sluiceway.config.strict_yaml import StrictLoader, one_line
from sluiceway.core.errors import ConfigError
from sluiceway.data import tables
from sluiceway.data.contract.model import Contract
from sluiceway.data.contract.problems import contract_problems

# In the table's own folder; nothing that begins with an underscore is ever cleaned up there.
FILE_NAME = "_contract.yaml"


def find_contract(uri: str, given: Path | None = None) -> str:
    """Where a table's contract is.

    Args:
        uri: the table.
        given: the file that somebody named, which wins.

    Raises:
        ConfigError: no file was named and none is in the table's folder.
    """
    if given is not None:
        return str(given)
    place = contract_place(uri)
    if _text(place) is None:
        raise ConfigError(
            f"{tables.absolute(uri)} has no contract: there is no {place}",
            hint="`sluiceway data contract init TABLE` drafts one; --contract names another file",
        )
    return place


def contract_place(uri: str) -> str:
    """Where the contract of a table is, or will be, if nobody names a file: in its folder, also in an object store.

    Args:
        uri: the table.
    """
    return f"{tables.absolute(uri)}/{FILE_NAME}"


def contract_beside(uri: str) -> Contract | None:
    """The contract in a table's own folder, or None where there is none.

    Args:
        uri: the table.

    Raises:
        ConfigError: as for :func:`read_contract`.
    """
    place = contract_place(uri)
    text = _text(place)
    return None if text is None else parse_contract(text, path=place)


def refuse_existing(place: str) -> None:
    """Refuse to write over a contract.

    Raises:
        ConfigError: there is one at the place.
    """
    if _text(place) is not None:
        raise ConfigError(f"{place} exists already", hint="name another file with --out, or overwrite it with --force")


def write_contract(place: str, text: str) -> None:
    """Write a contract, whole or not at all.

    Args:
        place: a file, or a URI in an object store.
        text: YAML.

    Raises:
        ConfigError: it cannot be written.
    """
    folder, _, name = place.rpartition("/")
    try:
        store = from_url(folder) if "://" in place else LocalStore(folder or ".")
        obstore.put(store, name, text.encode())
    except (OSError, obstore.exceptions.BaseError) as error:
        raise ConfigError(
            f"{place} cannot be written: {_said(error)}", hint="check the folder, or use --out"
        ) from error


def read_contract(place: str | Path) -> Contract:
    """Read a contract.

    Args:
        place: a YAML file, or the URI of one in an object store.

    Raises:
        ConfigError: the file cannot be read, or all that is wrong with its keys, each with its path in the file.
    """
    text = _text(str(place))
    if text is None:
        raise ConfigError(f"the contract {place} cannot be read: there is no such file")
    return parse_contract(text, path=str(place))


def _text(place: str) -> str | None:
    """What a file says, or None where there is none."""
    try:
        if "://" in place:
            folder, _, name = place.rpartition("/")
            return bytes(obstore.get(from_url(folder), name).bytes()).decode("utf-8")
        return Path(place).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, obstore.exceptions.BaseError) as error:
        raise ConfigError(f"the contract {place} cannot be read: {_said(error)}") from error
    except UnicodeDecodeError as error:
        raise _not_text(place, error) from error


def _said(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error).strip() or type(error).__name__).splitlines()[0]


def parse_contract(text: str, *, path: str) -> Contract:
    """A contract from its text.

    Args:
        text: YAML.
        path: the file's name, for the messages.

    Raises:
        ConfigError: as for :func:`read_contract`.
    """
    try:
        document: Any = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {one_line(error)}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path} holds no mapping of keys to values", hint="see docs/data/contract.md")
    try:
        contract = Contract.model_validate(document)
    except ValidationError as error:
        raise _broken(path, explain(error.errors(), root=Contract, path=path, origins={})) from error
    problems = [f"{path}: {problem}" for problem in contract_problems(contract)]
    if problems:
        raise _broken(path, problems)
    return contract


def _not_text(path: str, error: UnicodeDecodeError) -> ConfigError:
    return ConfigError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}")


def _broken(path: str, problems: list[str]) -> ConfigError:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return ConfigError(
        f"the contract {path} cannot be used: {count}",
        problems=tuple(problems),
        hint="docs/data/contract.md has the keys and an example",
        path=path,
    )


class _StrictLoader(StrictLoader):
    """Keys of a contract are words only: YAML takes an unquoted number or ``no`` for something else."""

    key_types = (str,)
