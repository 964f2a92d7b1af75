"""Finds the contract of a table and reads it; all that is wrong with it is told at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from pyarrow.fs import FileSystem
from pydantic import ValidationError

from sluiceway.config.explain import explain
from sluiceway.config.strict_yaml import StrictLoader, one_line
from sluiceway.core.errors import ConfigError
from sluiceway.data import tables
from sluiceway.data.contract.model import Contract
from sluiceway.data.contract.problems import contract_problems

# In the table's own folder; nothing that begins with an underscore is ever cleaned up there.
FILE_NAME = "_contract.yaml"


def find_contract(uri: str, given: Path | None = None) -> Path:
    """The file that holds a table's contract.

    Args:
        uri: the table.
        given: the file that somebody named, which wins.

    Raises:
        ConfigError: no file was named and none is in the table's folder, or the table is not in a local folder.
    """
    if given is not None:
        return given
    path = contract_path(uri)
    if not path.is_file():
        raise ConfigError(
            f"{tables.absolute(uri)} has no contract: there is no {path}",
            hint="`sluiceway data contract init TABLE` drafts one; --contract names another file",
        )
    return path


def contract_path(uri: str) -> Path:
    """Where the contract of a table is, or will be, if nobody names a file.

    Args:
        uri: the table.

    Raises:
        ConfigError: the table is not in a local folder.
    """
    uri = tables.absolute(uri)
    if "://" in uri:
        raise ConfigError(
            f"{uri} is not in a local folder, so its contract has no place beside it",
            hint="name a file: `sluiceway data contract init TABLE --out FILE`, `sluiceway data check TABLE "
            "--contract FILE`",
        )
    return Path(uri) / FILE_NAME


def contract_beside(uri: str) -> Contract | None:
    """The contract in a table's own folder, or None where there is none; the folder may be in an object store.

    Args:
        uri: the table, as :func:`sluiceway.data.tables.absolute` spells it.

    Raises:
        ConfigError: as for :func:`read_contract`.
    """
    if "://" not in uri:
        path = Path(uri) / FILE_NAME
        return read_contract(path) if path.is_file() else None
    name = f"{uri}/{FILE_NAME}"
    try:
        files, inner = FileSystem.from_uri(quote(uri, safe=":/"))
        if not files.get_file_info(f"{inner}/{FILE_NAME}").is_file:
            return None
        with files.open_input_stream(f"{inner}/{FILE_NAME}") as opened:
            text = opened.read().decode("utf-8")
    except OSError as error:
        raise ConfigError(f"the contract {name} cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise _not_text(name, error) from error
    return parse_contract(text, path=name)


def write_contract(path: Path, text: str) -> None:
    """Write a contract, whole or not at all.

    Args:
        path: the file; one that is there is replaced.
        text: YAML.

    Raises:
        ConfigError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", hint="check the folder, or use --out"
        ) from error


def read_contract(path: Path) -> Contract:
    """Read a contract.

    Args:
        path: the YAML file.

    Raises:
        ConfigError: the file cannot be read, or all that is wrong with its keys, each with its path in the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the contract {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _not_text(str(path), error) from error
    return parse_contract(text, path=str(path))


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
    except ValueError as error:  # what looks like a date and is none, 2024-02-31
        hint = "put quotes around text that looks like a date"
        raise ConfigError(f"{path} is not YAML: {error}", hint=hint) from error
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
