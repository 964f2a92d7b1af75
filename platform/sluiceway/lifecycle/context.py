"""What the steps of the loop work with; :mod:`sluiceway.wiring` builds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from sluiceway.catalog.stores import Stores
from sluiceway.config.deployment import DeploymentSection
from sluiceway.config.evaluation import EvaluationSection
from sluiceway.config.experiment import DataSection, ExperimentSection, ModelSection, TrainingSection
from sluiceway.config.lifecycle import IngestStep, ReleaseStep, RestoreStep
from sluiceway.config.serving import ServingSection
from sluiceway.core.clock import Clock
from sluiceway.core.doors import Progress
from sluiceway.core.references import TableVersion
from sluiceway.data.hold import hold
from sluiceway.data.known_by import make_known
from sluiceway.data.references import resolve
from sluiceway.data.tables import table_uri
from sluiceway.registry.mlflow_registry import Registry
from sluiceway.registry.store import BundleStore


@dataclass(frozen=True)
class Folders:
    """Where what is not in the catalog goes; ``history`` is the path or URI of the table of rollouts' decisions."""

    state: Path
    reports: Path
    out_of_fold: Path
    records: Path
    history: str


@dataclass(frozen=True)
class CodeVersion:
    """The commit that runs, for lineage.

    Attributes:
        commit: hex, or "" outside a git checkout.
        dirty: True where the checkout differs from the commit, or nobody can say.
    """

    commit: str
    dirty: bool


@dataclass(frozen=True)
class Context:
    """One configuration, ready to run: its sections, the stores, the registry, who watches, and the way to Ray.

    ``connect`` is called before the first work of a run that has to be done: a run that is only told again needs no
    Ray. It does nothing where whoever built this has connected before. ``secret`` gives what an environment variable
    holds, for a header of HTTP.
    """

    experiment: ExperimentSection
    data: DataSection
    model: ModelSection
    training: TrainingSection
    evaluation: EvaluationSection
    deployment: DeploymentSection
    serving: ServingSection
    steps: tuple[IngestStep | RestoreStep | ReleaseStep, ...]
    config_text: str
    config_digest: str
    aliases: Mapping[str, str]
    stores: Stores
    registry: Registry
    bundles: BundleStore
    folders: Folders
    code: CodeVersion
    progress: Progress
    clock: Clock
    connect: Callable[[], None]
    secret: Callable[[str], str]

    def table(self, name: str | None = None) -> str:
        """The URI of a table that the configuration names; ``data.path`` by default."""
        return table_uri(name or self.data.path, self.aliases)

    def version(self, ref: str | int | None = None, *, table: str | None = None) -> TableVersion:
        """Pin a version of a table: by ``ref``, else by ``data.version`` for the training table, else the newest."""
        if ref is None and table is None:
            ref = self.data.version
        return resolve(
            self.table(table),
            ref,
            tags=self.stores.tags,
            repository=self.stores.repository,
            lost=self.stores.lost_versions,
        )

    def reading(self, *versions: TableVersion) -> AbstractContextManager[None]:
        """While it is open, no vacuum deletes what these versions need; later the models' names keep them."""
        for version in versions:
            make_known(version.uri, self.stores.identity)
        return hold(
            *versions,
            leases=self.stores.leases,
            lost=self.stores.lost_versions,
            clock=self.clock,
            who=f"a run of {self.experiment.name}",
        )

    def now(self) -> float:
        """UTC epoch seconds."""
        return self.clock.now().timestamp()
