"""A stage for rollouts with real users: a Serve, registered versions, and an endpoint a case; Ray has to be up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import yaml
from deltalake import DeltaTable

from rollout_users import Users, users
from serve_processes import until
from serving_models import as_rows, examples, train_small
from sluiceway.config.lifecycle import DrillSection, ReleaseStep
from sluiceway.config.load import load_settings
from sluiceway.core.errors import BackendError
from sluiceway.core.references import TableVersion
from sluiceway.core.traffic import TrafficDocument
from sluiceway.data.commit import append
from sluiceway.lifecycle.context import Context
from sluiceway.monitoring.archive import archive
from sluiceway.registry.mlflow_registry import RunRecord
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.state import Phase, RolloutState
from sluiceway.wiring.context import build_context, build_registry

if TYPE_CHECKING:
    from sluiceway.lifecycle.deployment import EnvironmentRollout

MODEL = "flights"
# Who is who among the registered versions.
CHAMPION, GOOD, WRONG, SLOW = "1", "2", "3", "4"
TREES = {SLOW: 300}
LOOK_SECONDS = 0.05
# Two steps, and room for a machine that other tests share; an error of a challenger's is what its model does.
DEPLOYMENT: dict[str, Any] = {
    "steps": [{"weight": 0.5, "max_seconds": 60}, {"weight": 1.0, "max_seconds": 60}],
    "margins": {"error_rate": 0.05, "accuracy": 0.05, "latency_p99_seconds": 5.0},
}
SERVING = {
    "port": 0,
    "replicas": 2,
    "challenger_timeout_seconds": 5.0,
    "request_timeout_seconds": 20.0,
    "breaker": {"late_seconds": 5.0},
}


class Stage:
    """Four registered versions and a Serve.

    Args:
        folder: of the state, the configurations and the catalog.
        address: of the Ray that runs.
    """

    def __init__(self, folder: Path, address: str) -> None:
        from sluiceway.serving.instance import start_serve  # noqa: PLC0415 (Ray has to be up)

        self.folder = folder
        self._platform = {"state": str(folder / ".sluiceway"), "ray": {"address": address}}
        (folder / ".sluiceway").mkdir()
        matrix, labels = examples(2000, seed=9)
        self.rows, self.truths = as_rows(matrix), [int(label) for label in labels]
        # Nobody trains on it or replays it; `rollout start` asks which version the model has learned from.
        append(str(folder / "table"), pa.table({"late": labels}), message="x", source="test")
        settings = load_settings(self.config("none"))
        registry = build_registry(settings.platform)
        for version in (CHAMPION, GOOD, WRONG, SLOW):
            model = train_small(
                folder / "models", seed=int(version), flipped=version == WRONG, trees=TREES.get(version, 1)
            )
            run = registry.log_run(RunRecord(MODEL, f"run {version}", {}, {}, (), {}, {}))
            tags = {"gate_performance": "PASS"}
            assert registry.register(MODEL, model.bundle, run, tags=tags) == version
        self.address = start_serve(settings.platform.serving)

    def config(self, environment: str, *, serving: dict[str, Any] | None = None, **deployment: Any) -> Path:
        """Write an environment's configuration down."""
        platform = {**self._platform, "serving": {**SERVING, **(serving or {})}}
        document = {
            "experiment": {"name": MODEL},
            "data": {
                "path": str(self.folder / "table"),
                "features": ["delay", "distance", "carrier"],
                "target": "late",
            },
            "deployment": {**DEPLOYMENT, **deployment, "environments": [environment]},
            "platform": platform,
        }
        path = self.folder / f"{environment}.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def bundle(self, version: str) -> Path:
        """Where the bundle of a version lies that has been rolled out."""
        context = build_context(load_settings(self.config("none")))
        return context.folders.state / "bundles" / context.registry.bundle(MODEL, version)[1].digest

    @contextmanager
    def endpoint(self, environment: str, **serving: Any) -> Iterator[Endpoint]:
        """An endpoint that version 1 answers, as its first rollout has left it."""
        from sluiceway.serving.deploy import remove_endpoint  # noqa: PLC0415
        from sluiceway.serving.doors import JoinedServe  # noqa: PLC0415

        with ThreadPoolExecutor(1, thread_name_prefix=environment) as pool:
            endpoint = Endpoint(self, environment, pool, serving)
            try:
                assert endpoint.start(CHAMPION).ended()["status"] == "promoted"
                yield endpoint
            finally:
                remove_endpoint(JoinedServe(), endpoint.name, leases=endpoint.context().stores.leases)


class Endpoint:
    """One endpoint, its rollouts, and what became of it."""

    def __init__(self, stage: Stage, environment: str, pool: ThreadPoolExecutor, serving: dict[str, Any]) -> None:
        self.stage, self.environment, self._pool, self._serving = stage, environment, pool, serving
        self.name, self.url = f"{MODEL}-{environment}", f"{stage.address.url}/{MODEL}/{environment}"
        self.stores = self.context().stores
        self._rollouts = 0

    def context(self, **deployment: Any) -> Context:
        """What a process would build of the environment's configuration."""
        return build_context(load_settings(self.stage.config(self.environment, serving=self._serving, **deployment)))

    def rollout(self, version: str, *, raise_every: int | None = None, **deployment: Any) -> EnvironmentRollout:
        """A version's way to this endpoint.

        Args:
            version: which.
            raise_every: every so many requests of the challenger fail.
            **deployment: what else is configured.
        """
        from sluiceway.lifecycle.candidate import Candidate  # noqa: PLC0415
        from sluiceway.lifecycle.deployment import EnvironmentRollout  # noqa: PLC0415

        context = self.context(**deployment)
        _, bundle = context.registry.bundle(MODEL, version)
        nothing = TableVersion("none", 0, "", 0, "none")  # no rows are replayed: there are users
        candidate = Candidate(nothing, context.bundles.put(bundle), bundle.digest, {})
        drill = None if raise_every is None else DrillSection(raise_every=raise_every)
        step = ReleaseStep(step="release", name=version, drill=drill)
        return EnvironmentRollout(context, step, candidate, version, self.environment)

    def run(self, rollout: EnvironmentRollout, *, again: str = "") -> Going:
        """Run it in a thread; ``again`` goes on with the one of this name."""
        self._rollouts += 1
        name = again or f"{self.environment}-{self._rollouts}"
        return Going(name, rollout.context, self._pool.submit(rollout.run, name))

    def start(self, version: str, *, again: str = "", **more: Any) -> Going:
        """:meth:`rollout`, and :meth:`run`."""
        return self.run(self.rollout(version, **more), again=again)

    def users(self, **more: Any) -> Any:
        """Users of this endpoint, for as long as the block runs: ``rollout_users.users``."""
        return users(self.url, self.stage.rows, self.stage.truths, **more)

    def document(self) -> TrafficDocument:
        """The newest."""
        newest = self.stores.traffic.newest(self.name)
        assert newest is not None
        return newest

    def followed(self) -> int:
        """The generation that all replicas follow, or the lowest one where they differ."""
        from sluiceway.serving.handles import driver_handle  # noqa: PLC0415
        from sluiceway.serving.specs import ENDPOINT_DEPLOYMENT  # noqa: PLC0415

        handle = driver_handle(ENDPOINT_DEPLOYMENT, application=self.name)
        # An old document changes nothing; each replica tells which one it follows.
        (*_, first) = self.stores.traffic.history(self.name)
        return min(handle.broadcast("apply", first.to_json()).results(timeout_s=30))

    def alone_since(self, *, beyond: int = 0, seconds: float = 60) -> float:
        """Wait until no replica gives a challenger anything, at a generation beyond one; when that was first seen."""
        deadline = time.monotonic() + seconds
        while True:
            newest = self.document()
            if newest.generation > beyond and not newest.challengers and self.followed() >= newest.generation:
                return time.time()
            assert time.monotonic() < deadline, newest
            time.sleep(LOOK_SECONDS)

    def check_answered_by(self, version: str, present: Users) -> None:
        """A version answers everything, is the registry's champion, and nothing of a challenger is left."""
        from sluiceway.serving.doors import JoinedServe  # noqa: PLC0415
        from sluiceway.serving.state import is_challenger_of  # noqa: PLC0415

        self.alone_since()
        newest = self.document()
        assert (newest.champion.version, newest.champion.weight, newest.challengers) == (version, 1.0, ())
        since = time.time()
        present.wait(50)
        late = [seen for seen in list(present.answers) if seen.asked >= since]
        assert {(seen.arm, seen.version, seen.failover) for seen in late} == {("champion", version, False)}
        registry = self.context().registry
        assert (registry.alias(MODEL, "champion"), registry.alias(MODEL, "challenger")) == (version, None)

        def alone() -> bool:
            with suppress(BackendError):  # Serve's controller may be on its way back
                return not any(is_challenger_of(one, self.name) for one in JoinedServe().read()["applications"])
            return False

        until(alone, 60)

    def check_counted(self, present: Users) -> None:
        """Every answer and every acknowledged outcome is kept, once; its users have gone."""
        records, generations = self.stores.records, list(range(1, self.document().generation + 1))
        folder, asked = self.context().folders.records, [seen.request_id for seen in present.answers]

        def counted() -> int:
            return sum(arm.requests for arm in records.counts(self.name, generations))

        def kept() -> pa.Table:
            archive(self.stores.outcomes, folder, endpoint=self.name, cutoff=time.time(), wait=86_400.0)
            return DeltaTable(str(folder / self.name)).to_pyarrow_table(columns=["request_id", "outcome"])

        until(lambda: counted() >= len(asked) and kept().num_rows >= len(asked), 30)
        assert counted() == len(asked)
        assert sorted(kept()["request_id"].to_pylist()) == sorted(asked)
        assert kept()["outcome"].drop_null().length() == present.told


@dataclass
class Going:
    """A rollout that a thread runs."""

    name: str
    context: Context
    future: Future[dict[str, Any]]

    @property
    def state(self) -> RolloutState:
        """By its journal; pending before it has begun."""
        stores = self.context.stores.rollouts
        return RolloutState() if stores.get(self.name) is None else Journal.open(stores, self.name).state

    def reaches(self, phase: Phase, *, step: int | None = None, seconds: float = 90) -> None:
        """Wait until it is somewhere."""

        def there() -> bool:
            assert not (self.future.done() and self.future.exception()), self.future.exception()
            state = self.state
            return state.phase is phase and step in (None, state.step)

        until(there, seconds)

    def ended(self, *, seconds: float = 120) -> dict[str, Any]:
        """How it ended, as a program is told."""
        outcome: dict[str, Any] = self.future.result(seconds)["rollout"]
        return outcome


def verdicts(outcome: dict[str, Any], step: int = -1) -> dict[str, tuple[str, str]]:
    """What the last look at a step said: status and line by metric."""
    return {one["metric"]: (one["status"], one["line"]) for one in outcome["steps"][step]["metrics"]}
