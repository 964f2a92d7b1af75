"""Runs of the lifecycle and their steps: what was begun, what is done, and with which result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from sluiceway.catalog.schema import pipeline_runs, pipeline_steps

RUNNING, DONE, FAILED = "running", "done", "failed"


@dataclass(frozen=True)
class PipelineRun:
    """One run of a configuration; times are UTC epoch seconds."""

    run_id: str
    config_digest: str
    config: str
    status: str
    started: float
    ended: float | None


@dataclass(frozen=True)
class PipelineStep:
    """One step of a run; ``key`` is the digest of everything that its result depends on."""

    run_id: str
    name: str
    key: str
    status: str
    result: dict[str, Any]
    started: float
    ended: float | None

    @property
    def seconds(self) -> float:
        """Wall time, 0 while it runs."""
        return (self.ended or self.started) - self.started


class PipelineStore:
    """Reads and writes runs and steps. One process writes a run at a time; its lease is held elsewhere."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def create(self, run_id: str, *, config_digest: str, config: str, now: float) -> PipelineRun:
        """Begin a run."""
        run = PipelineRun(run_id, config_digest, config, RUNNING, now, None)
        with self._engine.begin() as connection:
            connection.execute(pipeline_runs.insert().values(**run.__dict__))
        return run

    def newest(self, config_digest: str | None = None) -> PipelineRun | None:
        """The run that began last, of one configuration or of any."""
        query = sa.select(pipeline_runs).order_by(pipeline_runs.c.started.desc()).limit(1)
        if config_digest is not None:
            query = query.where(pipeline_runs.c.config_digest == config_digest)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        return PipelineRun(**row) if row else None

    def unfinished(self) -> list[PipelineRun]:
        """The runs that have not ended: those that run, and those that were interrupted and can be taken up."""
        query = sa.select(pipeline_runs).where(pipeline_runs.c.status == RUNNING).order_by(pipeline_runs.c.started)
        with self._engine.connect() as connection:
            return [PipelineRun(**row) for row in connection.execute(query).mappings()]

    def finish(self, run_id: str, *, status: str, now: float) -> None:
        """End a run."""
        with self._engine.begin() as connection:
            connection.execute(
                pipeline_runs.update().where(pipeline_runs.c.run_id == run_id).values(status=status, ended=now)
            )

    def reopen(self, run_id: str) -> None:
        """A run that had ended goes on."""
        with self._engine.begin() as connection:
            connection.execute(
                pipeline_runs.update().where(pipeline_runs.c.run_id == run_id).values(status=RUNNING, ended=None)
            )

    def begin_step(self, run_id: str, name: str, *, key: str, now: float) -> None:
        """Write down that a step starts; an earlier try of the same step is overwritten."""
        where = (pipeline_steps.c.run_id == run_id) & (pipeline_steps.c.name == name)
        with self._engine.begin() as connection:
            connection.execute(pipeline_steps.delete().where(where))
            connection.execute(
                pipeline_steps.insert().values(
                    run_id=run_id, name=name, key=key, status=RUNNING, result="{}", started=now, ended=None
                )
            )

    def end_step(self, run_id: str, name: str, *, status: str, result: Mapping[str, Any], now: float) -> None:
        """Write down a step's result; from here on a repeated run skips it when ``status`` is done."""
        where = (pipeline_steps.c.run_id == run_id) & (pipeline_steps.c.name == name)
        with self._engine.begin() as connection:
            connection.execute(
                pipeline_steps.update().where(where).values(status=status, result=json.dumps(result), ended=now)
            )

    def done(self, key: str) -> PipelineStep | None:
        """The newest finished step, of any run, that had this content key."""
        query = (
            sa.select(pipeline_steps)
            .where((pipeline_steps.c.key == key) & (pipeline_steps.c.status == DONE))
            .order_by(pipeline_steps.c.started.desc())
            .limit(1)
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        return _step(dict(row)) if row else None

    def step(self, run_id: str, name: str) -> PipelineStep | None:
        """One step of one run."""
        query = sa.select(pipeline_steps).where((pipeline_steps.c.run_id == run_id) & (pipeline_steps.c.name == name))
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        return _step(dict(row)) if row else None

    def steps(self, run_id: str) -> list[PipelineStep]:
        """All steps of a run, in the order in which they began."""
        query = sa.select(pipeline_steps).where(pipeline_steps.c.run_id == run_id).order_by(pipeline_steps.c.started)
        with self._engine.connect() as connection:
            return [_step(dict(row)) for row in connection.execute(query).mappings()]


def _step(row: Mapping[str, Any]) -> PipelineStep:
    return PipelineStep(**{**row, "result": json.loads(row["result"])})
