"""Where things live: the section ``platform``."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from sluiceway.config.base import Section
from sluiceway.config.serving import ServingSection

HookPoint = Literal[
    "pre-commit", "post-commit", "pre-merge", "post-merge", "pre-branch", "post-branch", "pre-tag", "post-tag"
]


HookGate = Literal["data_quality"]
MissingContract = Literal["refuse", "allow"]
# Where there are rows of which a gate can say whether they may come in.
GATED: tuple[HookPoint, ...] = ("pre-commit", "pre-merge")


class HookSection(Section):
    """Something that runs before or after a change to the repository of tables."""

    on: tuple[HookPoint, ...] = Field(min_length=1)
    """When; ``merge`` is revert and cherry-pick, too. Before, a failure refuses the change; after, it is only told."""
    branch: str = "*"
    """Pattern of the names that it is for: the branch that moves, or the name that is made, e.g. ``main``."""
    command: str | None = None
    """A shell command; the event is JSON on its standard input, exit code 0 lets the change through."""
    url: str | None = None
    """A webhook: the event is posted as JSON, a status of 2xx lets the change through."""
    function: str | None = None
    """A Python callable, ``module:name``; it gets the event as a dictionary, and raises to refuse."""
    gate: HookGate | None = None
    """A ready one, before commits and merges: ``data_quality`` holds what comes in against each table's contract."""
    contracts: dict[str, str] = Field(default_factory=dict)
    """Of a gate: the contract's file by table, for tables that have none beside them, e.g. those in an object store."""
    missing_contract: MissingContract = "refuse"
    """Of a gate: whether a table without a contract may come in; ``allow`` looks at its files all the same."""
    timeout_seconds: float = Field(default=60.0, gt=0)
    """A command or webhook that takes longer has failed."""

    @model_validator(mode="after")
    def _one_action(self) -> Self:
        if sum(given is not None for given in (self.command, self.url, self.function, self.gate)) != 1:
            raise ValueError("a hook has one of command, url, function and gate")
        if self.gate is None and (self.contracts or self.missing_contract != "refuse"):
            raise ValueError("contracts and missing_contract are for a hook with a gate")
        if self.gate is not None and not set(self.on) <= set(GATED):
            raise ValueError(f"a gate has nothing to judge but at {' and '.join(GATED)}")
        return self


class RaySection(Section):
    """The cluster."""

    address: str | None = None
    """An existing cluster (``auto`` or host:port); None uses ``RAY_ADDRESS`` or starts a local one."""
    num_cpus: int | None = Field(default=None, ge=1)
    """CPUs of a local cluster; None takes the machine's."""
    object_store_mb: int = Field(default=512, ge=80)
    """Object store of a local cluster, MiB."""


class PlatformSection(Section):
    """Catalog, registry, storage, cluster."""

    state: str = ".sluiceway"
    """Folder of everything that is not given elsewhere: catalog, MLflow, bundles, reports."""
    catalog: str | None = None
    """SQLAlchemy URL; None is SQLite in ``state``."""
    tracking_uri: str | None = None
    """MLflow; None is SQLite in ``state``."""
    rollout_history: str | None = None
    """Delta table of what rollouts decided, and on which measurements; None is ``rollout_history`` in ``state``."""
    aliases: dict[str, str] = Field(default_factory=dict)
    """Other names of tables, e.g. ``{"s3://ml-data/training/fraud_v2.1/": /data/fraud}``."""
    hooks: tuple[HookSection, ...] = ()
    """What runs before and after changes to the repository of tables (docs/data/repository.md)."""
    ray: RaySection = RaySection()
    """The cluster."""
    serving: ServingSection = ServingSection()
    """The endpoints."""
