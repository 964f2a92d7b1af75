"""The ready hook: nothing comes onto a branch that breaks its table's contract, or that nobody could read.

It judges what the branch would hold afterwards, not only what comes in: of every table that changes, all rules of its
contract on the resulting version, and the incoming files themselves. Only a PASS lets the change through.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sluiceway.catalog.repository import RepositoryStore
from sluiceway.core.clock import Clock
from sluiceway.core.errors import ConfigError, HookRefusedError
from sluiceway.core.references import TableVersion
from sluiceway.core.repository import Pin
from sluiceway.core.verdict import Status
from sluiceway.data import tables
from sluiceway.data.contract.load import find_contract, read_contract
from sluiceway.data.contract.model import Contract
from sluiceway.data.contract.verdicts import RuleVerdict, status_of
from sluiceway.data.merge_result import Result, readable, results_of
from sluiceway.data.repository import Repository

_log = logging.getLogger(__name__)
# A destination that moves while it is judged is judged again, so often.
ATTEMPTS = 3
# Of each table, for people; all are in the error's fields.
MOST_SHOWN = 10


class Reader(Protocol):
    """What reads the rows: :mod:`sluiceway.data.ray_quality_gate`, while this process is connected."""

    def check_version(self, version: TableVersion, contract: Contract, *, now: Any) -> Sequence[RuleVerdict]:
        """Hold a version against its contract."""

    def file_problems(self, version: TableVersion, incoming: frozenset[str]) -> Sequence[str]:
        """What is wrong with files of a version, a line each."""


@dataclass(frozen=True)
class DataQualityGate:
    """A hook before commits and merges.

    Attributes:
        store: the catalog's.
        clock: the present time; ages are taken from it.
        reader: connects this process to Ray for as long as the context lasts.
        contracts: the contract's file by table, where none lies beside it.
        allow_missing: let a table without a contract come in, if its files are sound.
    """

    store: RepositoryStore
    clock: Clock
    reader: Callable[[], AbstractContextManager[Reader]]
    contracts: Mapping[str, Path] = field(default_factory=dict)
    allow_missing: bool = False

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Judge what the event would bring.

        Args:
            event: before a commit or a merge.

        Raises:
            HookRefusedError: a rule does not pass, a file cannot be read, or the branch does not stand still.
            ConfigError: a table has no contract, or one that cannot be used.
        """
        repository = Repository(self.store, self.clock)
        results = results_of(repository, event)
        agreed = {uri: self._contract(uri) for uri in results}
        if not results:
            return
        with self.reader() as reader:
            waiting: Mapping[str, Result] = results
            for _ in range(ATTEMPTS):
                self._judge(waiting, agreed, reader)
                now = results_of(repository, event)
                waiting = {uri: result for uri, result in now.items() if not result.same(results.get(uri))}
                if not waiting:
                    return
                agreed |= {uri: self._contract(uri) for uri in waiting.keys() - agreed.keys()}
                results = now
        raise HookRefusedError(
            f"{', '.join(waiting)} was written to faster than it could be judged", hint="run it again"
        )

    def _judge(self, results: Mapping[str, Result], agreed: Mapping[str, Contract | None], reader: Reader) -> None:
        said: list[str] = []
        told: dict[str, Any] = {}
        for uri, result in results.items():
            with readable(uri, result) as pin:
                version = _version(pin, uri=uri)
                problems = list(reader.file_problems(version, result.incoming))
                contract = agreed[uri]
                found = reader.check_version(version, contract, now=self.clock.now()) if contract else ()
            broken = [one for one in found if one.verdict.status is not Status.PASS]
            problems += [_line(one) for one in broken]
            if contract and not broken and status_of(found) is not Status.PASS:
                problems.append("its contract has no rule")
            if problems:
                more = [f"and {len(problems) - MOST_SHOWN:,} more"] if len(problems) > MOST_SHOWN else []
                said += [f"  - {uri}: {line}" for line in [*problems[:MOST_SHOWN], *more]]
                told[uri] = {"problems": problems, "verdicts": [one.to_dict() for one in broken]}
        if said:
            where = "1 table" if len(told) == 1 else f"{len(told)} tables"
            raise HookRefusedError("\n".join([f"{where} would not be as agreed", *said]), tables=told)

    def _contract(self, uri: str) -> Contract | None:
        try:
            path = find_contract(uri, self.contracts.get(uri))
        except ConfigError as error:
            if self.allow_missing:
                _log.warning("%s has no contract: only its files are looked at", uri)
                return None
            raise ConfigError(
                error.message,
                hint="`sluiceway data contract init TABLE` drafts one; the hook's `contracts` names files elsewhere, "
                "its `missing_contract: allow` lets such tables in",
            ) from error
        return read_contract(path)


def _version(pin: Pin, *, uri: str) -> TableVersion:
    table = tables.open_table(pin.uri, version=pin.version)
    return TableVersion(pin.uri, pin.version, pin.digest, tables.row_count(table), f"what {uri} would be")


def _line(one: RuleVerdict) -> str:
    return one.verdict.line() + (f" ({', '.join(one.examples)})" if one.examples else "")
