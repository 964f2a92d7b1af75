"""Runs the steps of a configuration, in order, resuming what an earlier process left unfinished."""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Iterator
from typing import Any

from sluiceway.catalog.claim import claim
from sluiceway.catalog.pipeline import DONE, FAILED
from sluiceway.config.lifecycle import IngestStep, ReleaseStep, RestoreStep
from sluiceway.core.verdict import Status
from sluiceway.data.repository import Repository
from sluiceway.data.tables import absolute
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.ingest import go_back, ingest
from sluiceway.lifecycle.journal import Journal
from sluiceway.lifecycle.keys import content_key
from sluiceway.lifecycle.preflight import open_services
from sluiceway.lifecycle.release import release
from sluiceway.lifecycle.summary import RunSummary, StepSummary


def steps_of(context: Context) -> tuple[IngestStep | RestoreStep | ReleaseStep, ...]:
    """The configuration's steps; without a ``lifecycle`` section: one release of ``data.version``."""
    return context.steps or (ReleaseStep(step="release", name=context.experiment.name),)


def run_digest(context: Context) -> str:
    """What makes two runs the same one: the configuration and, where it brings no data of its own, the data.

    Raises:
        DataError: the table or the version is not there.
    """
    if context.steps:
        return context.config_digest
    return content_key("run", context.config_digest, context.version().digest)


def run_lifecycle(context: Context) -> RunSummary:
    """Run a configuration.

    A run that was interrupted is taken up where it stopped, and one that is done is only told again: a step that is
    done is not done again. One whose rollout has paused has not ended, and goes on with it. A run that ended without
    coming true is followed by a new one.

    Raises:
        BackendError: the registry does not answer, or the port of the endpoints is taken.
        ConflictError: another living process runs the same configuration.
        SluicewayError: what the steps raise; the step is written down as failed, a repeated run tries it again.
    """
    began = time.monotonic()
    digest = run_digest(context)
    with claim(context.stores.leases, f"run:{digest[:16]}", clock=context.clock):
        journal = _open(context, digest)
        steps = tuple(_until_unexpected(_perform(context, journal)))
        summary = RunSummary(journal.run_id, steps, time.monotonic() - began)
        if not any(step.waits for step in steps):
            status = DONE if summary.exit_code == 0 else FAILED
            context.stores.pipeline.finish(journal.run_id, status=status, now=context.now())
    return summary


def _until_unexpected(steps: Iterator[StepSummary]) -> Iterator[StepSummary]:
    """A step that did not end as expected is the last one: what follows was planned on it."""
    for step in steps:
        yield step
        if step.status is not Status.PASS:
            return


def _open(context: Context, digest: str) -> Journal:
    store = context.stores.pipeline
    last = store.newest(digest)
    if last is not None and last.status != FAILED:
        done = sum(1 for step in store.steps(last.run_id) if step.status == DONE)
        context.progress.stage("resume", f"run {last.run_id}, {done} steps are done")
        return _journal(context, last.run_id)
    run_id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(context.now()))}-{uuid.uuid4().hex[:6]}"
    store.create(run_id, config_digest=digest, config=context.config_text, now=context.now())
    return _journal(context, run_id)


def _journal(context: Context, run_id: str) -> Journal:
    return Journal(
        context.stores.pipeline, run_id, clock=context.clock, prepare=functools.partial(open_services, context)
    )


def _perform(context: Context, journal: Journal) -> Iterator[StepSummary]:
    for number, step in enumerate(steps_of(context), start=1):
        if isinstance(step, ReleaseStep):
            yield from release(context, journal, step, number=number)
            continue
        name = f"{number:02d} {step.step}"
        work = functools.partial(_change_table, context, step, name)
        outcome = journal.perform(name, work, key=content_key(step.step, number, step))
        yield StepSummary(
            name,
            Status(outcome.result["status"]),
            outcome.result["headline"],
            tuple(outcome.result["details"]),
            outcome.seconds,
            outcome.reused,
        )


def _change_table(context: Context, step: IngestStep | RestoreStep, name: str) -> dict[str, Any]:
    Repository(context.stores.repository, context.clock).refuse_closed(absolute(context.table()))
    context.progress.stage(name, _subject(step))
    change = ingest(context, step) if isinstance(step, IngestStep) else go_back(context, step)
    return change.to_result()


def _subject(step: IngestStep | RestoreStep) -> str:
    return step.ref if isinstance(step, RestoreStep) else f"{step.source}, months {', '.join(map(str, step.months))}"
