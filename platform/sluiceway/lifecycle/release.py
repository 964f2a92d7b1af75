"""A release: train on a version, judge, register, roll out; each part written down and skipped when done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sluiceway.config.lifecycle import ReleaseStep
from sluiceway.core.references import TableVersion
from sluiceway.core.verdict import GateResult, Status, Verdict
from sluiceway.lifecycle.candidate import Candidate, candidate_step
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.deployment import roll_out
from sluiceway.lifecycle.evaluation import Evaluation, bench_of, ended_in_error, evaluate, settle
from sluiceway.lifecycle.gate_report import write_report
from sluiceway.lifecycle.incremental import pin_base, with_base
from sluiceway.lifecycle.journal import Journal, Outcome
from sluiceway.lifecycle.keys import content_key
from sluiceway.lifecycle.registration import register, said
from sluiceway.lifecycle.subject import present_champion, subject_of
from sluiceway.lifecycle.summary import StepSummary


def release(context: Context, journal: Journal, step: ReleaseStep, *, number: int) -> Iterator[StepSummary]:
    """Perform a release; ends early where the gates block it or an environment goes back.

    Args:
        context: what to work with.
        journal: of the run.
        step: what the configuration says.
        number: position in the lifecycle; part of the names of the steps.

    Yields:
        One summary each for training, gates and every environment.
    """
    name = f"{number:02d} {step.name}"
    version = context.version(step.data)
    with context.reading(version):
        yield from _parts(context, journal, step, version, name=name)


def _parts(
    context: Context, journal: Journal, step: ReleaseStep, version: TableVersion, *, name: str
) -> Iterator[StepSummary]:
    # A run that is gone on with, or told again, keeps the base of its first try: its own model may serve by now.
    done = journal.recorded(f"{name}: train")
    context = with_base(context, done["training"].get("base")) if done else pin_base(context)
    trained = candidate_step(context, version, journal, name=f"{name}: train")
    candidate = Candidate.from_dict(trained.result)
    yield _train_summary(f"{name}: train", candidate, trained)

    # A run that is gone on with compares with the champion and the requests of its first try, whatever has come since.
    before = journal.recorded(f"{name}: gates")
    champion = before["champion"] if before else present_champion(context)
    asked = before.get("production") if before else None
    subject = subject_of(context, candidate, champion=champion, production=asked)
    bench = bench_of(context, subject)
    judged = journal.perform(
        f"{name}: gates",
        lambda: evaluate(context, subject, bench).to_dict(),
        key=bench.key,
        across_runs=True,
        again=ended_in_error,
    )
    evaluation = Evaluation.from_dict(judged.result)
    results = settle(context, evaluation, step.waivers)
    report = write_report(context, subject, evaluation, results, candidate.training)
    # A blocked candidate is in MLflow, too, before anybody hears of it: the run ends with what is told next.
    # One that this run has made a version stays that version, whatever a gate that had ended in ERROR says now: it may
    # have requests by then.
    held = _version_of(journal.recorded(f"{name}: register"), candidate)
    registered = journal.perform(
        f"{name}: register",
        lambda: held or register(context, step, candidate, evaluation, results, report),
        key=content_key("register", candidate.digest, [r.to_dict() for r in results], journal.run_id, name),
    )
    yield _gates_summary(f"{name}: gates", step, results, report, judged)
    model_version = registered.result["version"]
    yield StepSummary(
        f"{name}: register",
        Status.PASS,
        _registered(context, registered.result),
        seconds=registered.seconds,
        reused=registered.reused,
    )
    if any(result.blocks for result in results) or step.expect == "blocked":
        return
    for environment in context.deployment.environments:
        summary = roll_out(
            context, journal, step, candidate, model_version, environment=environment, name=f"{name}: {environment}"
        )
        yield summary.step
        if not summary.promoted:
            return


def _version_of(registered: dict[str, Any] | None, candidate: Candidate) -> dict[str, Any] | None:
    """What was registered, where it is a version of this candidate."""
    if registered is None or registered["version"] is None or registered.get("digest") != candidate.digest:
        return None
    return registered


def _train_summary(name: str, candidate: Candidate, outcome: Outcome) -> StepSummary:
    training = candidate.training
    values = [fold["metric"] for fold in training["folds"]]
    mean = sum(values) / len(values)
    seconds: dict[str, Any] = training["seconds"]
    return StepSummary(
        name,
        Status.PASS,
        f"{candidate.version.rows:,} rows of {candidate.version.ref} (version {candidate.version.version}), "
        f"{len(values)}-fold {training['metric']} {mean:.4f} [{min(values):.4f}, {max(values):.4f}], "
        f"{training['rounds']} rounds",
        (
            f"data digest {candidate.version.digest[:16]}, bundle {candidate.digest[:16]}; {training['why']}",
            "seconds: " + ", ".join(f"{part} {took:.1f}" for part, took in seconds.items()),
            f"out-of-fold predictions: {training['oof_uri']}@{training.get('oof_version')}",
        ),
        outcome.seconds,
        outcome.reused,
    )


def _gates_summary(
    name: str, step: ReleaseStep, results: tuple[GateResult, ...], report: Path, outcome: Outcome
) -> StepSummary:
    blocking = [result for result in results if result.blocks]
    details = [verdict.line() for result in results for verdict in result.verdicts if _worth_telling(verdict)]
    details.append(f"report: {report}")
    told = ", ".join(f"{result.gate} {said(result)}" for result in results)
    return StepSummary(name, _gates_status(step, blocking), told, tuple(details), outcome.seconds, outcome.reused)


def _gates_status(step: ReleaseStep, blocking: list[GateResult]) -> Status:
    if step.expect == "blocked":
        stopped = any(step.because in (None, result.gate) for result in blocking)
        return Status.PASS if stopped else Status.FAIL
    statuses = {result.status for result in blocking}
    for status in (Status.FAIL, Status.ERROR, Status.INCONCLUSIVE):
        if status in statuses:
            return status
    return Status.PASS


def _worth_telling(verdict: Verdict) -> bool:
    nothing_asked = verdict.measurement.value == 0 and verdict.threshold is None and bool(verdict.reason)
    return verdict.threshold is not None or verdict.status is not Status.PASS or nothing_asked


def _registered(context: Context, result: dict[str, Any]) -> str:
    if result["version"] is None:
        return f"run {result['run_id'][:8]} logged; not registered, the gates block it"
    return f"{context.experiment.name} version {result['version']}, run {result['run_id'][:8]}"
