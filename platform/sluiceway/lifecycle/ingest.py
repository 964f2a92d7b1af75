"""Ingest and restore: the steps that change the table."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from sluiceway.config.lifecycle import IngestStep, RestoreStep
from sluiceway.core.verdict import Status
from sluiceway.data.commit import CommitResult, append, overwrite, restore
from sluiceway.data.digest import version_digest
from sluiceway.data.references import resolve
from sluiceway.data.source_flights import corrupt, flights_month
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.summary import StepSummary


def ingest(context: Context, step: IngestStep) -> StepSummary:
    """Write the months of a step, one commit each (one for all with ``overwrite``), and tag the result.

    Repeating it changes nothing: each commit carries a batch id that a second one with the same id finds.
    """
    uri = context.table(step.table)
    commits = list(_overwrite(context, step, uri) if step.mode == "overwrite" else _append(context, step, uri))
    last = commits[-1]
    details = [f"version {c.version}: {c.rows:,} rows{' (was there already)' if c.skipped else ''}" for c in commits]
    if step.tag:
        context.stores.tags.set(
            uri,
            step.tag,
            version=last.version,
            digest=version_digest(uri, last.version),
            message=f"after {step.source} {_months(step)}",
            now=context.now(),
        )
        details.append(f"tag {step.tag} -> version {last.version}")
    rows = sum(c.rows for c in commits)
    broken = f", {step.corrupt.share:.0%} of {step.corrupt.column} corrupted (drill)" if step.corrupt else ""
    headline = f"{rows:,} rows of {step.source} {_months(step)} in {len(commits)} commit(s){broken}"
    return StepSummary("", Status.PASS, headline, tuple(details))


def go_back(context: Context, step: RestoreStep) -> StepSummary:
    """Make the newest version equal an earlier one, as a new commit."""
    uri = context.table()
    target = resolve(uri, step.ref, tags=context.stores.tags, lost=context.stores.lost_versions)
    newest = resolve(uri, None, tags=context.stores.tags)
    if newest.digest == target.digest:
        return StepSummary("", Status.PASS, f"the table is at {step.ref} already (version {newest.version})")
    with context.reading(target):
        result = restore(uri, target.version, message=f"back to {step.ref}")
    return StepSummary(
        "", Status.PASS, f"version {result.version} is again what {step.ref} (version {target.version}) was"
    )


def _append(context: Context, step: IngestStep, uri: str) -> Iterator[CommitResult]:
    for number, month in enumerate(step.months):
        context.progress.advance(f"{step.source} 2013-{month:02d}", number / len(step.months))
        rows = _month(context, step, month)
        yield append(
            uri,
            rows,
            message=f"{step.source} 2013-{month:02d}: {rows.num_rows:,} flights",
            source=f"{step.source}/2013-{month:02d}",
            batch_id=f"{step.source}/2013-{month:02d}",
        )


def _overwrite(context: Context, step: IngestStep, uri: str) -> Iterator[CommitResult]:
    rows = pa.concat_tables([_month(context, step, month) for month in step.months])
    drill = f"/{step.corrupt.column}-{step.corrupt.share:g}" if step.corrupt else ""
    yield overwrite(
        uri,
        rows,
        message=f"{step.source} {_months(step)}: {rows.num_rows:,} flights, replacing the table",
        source=f"{step.source}/{_months(step)}",
        batch_id=f"{step.source}/{_months(step)}{drill}",
    )


def _month(context: Context, step: IngestStep, month: int) -> pa.Table:
    rows = flights_month(month)
    if step.corrupt is None:
        return rows
    seed = context.experiment.seed + month
    return corrupt(rows, column=step.corrupt.column, share=step.corrupt.share, seed=seed)


def _months(step: IngestStep) -> str:
    return (
        f"2013-{min(step.months):02d}..{max(step.months):02d}" if len(step.months) > 1 else f"2013-{step.months[0]:02d}"
    )
