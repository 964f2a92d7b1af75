"""Queries of one's own: asked with the rollout's names filled in, and held against their limits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sluiceway.config.metric_source import OwnQuerySection
from sluiceway.core.errors import InputError
from sluiceway.core.promql import filled
from sluiceway.core.verdict import Direction, Measurement, Status, Threshold, Verdict, judge
from sluiceway.rollout.evidence import CHECK, Observations
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.prometheus_api import Answer, PrometheusApi
from sluiceway.rollout.told import QuerySeen, Told

NUMBERS = ("vector", "scalar")


@dataclass(frozen=True)
class Subject:
    """An arm in a time.

    Attributes:
        version: of the model.
        arm: as the series have it: ``champion``, ``challenger``, or ``shadow``.
        seconds: of ``$window``.
        at: where the window ends, by Prometheus's clock; None is its present time.
    """

    version: str
    arm: str
    seconds: float
    at: float | None = None


class _Unusable(Exception):
    """A query gave no number: what it gave, and what that makes of its verdict."""

    def __init__(self, status: Status, problem: str) -> None:
        super().__init__(problem)
        self.status = status


def ask(
    api: PrometheusApi,
    plan: RolloutPlan,
    query: OwnQuerySection,
    *,
    challenger: Subject,
    champion: Subject | None,
    requests: int,
) -> QuerySeen:
    """One query's numbers.

    Args:
        api: who is asked.
        plan: of the rollout.
        query: what is asked.
        challenger: whose value it is.
        champion: whom a query that compares compares it with; None where there is none.
        requests: of the challenger, the number of samples of a query that has no ``samples`` of its own.

    Raises:
        BackendError: Prometheus does not answer.
    """
    try:
        value = _number(api, plan, query.query, challenger)
        other = None
        if query.compare != "value":
            if champion is None:
                raise _Unusable(Status.INCONCLUSIVE, "there is no champion beside it to compare with")
            other = _number(api, plan, query.query, champion)
        n = requests if query.samples is None else max(0, int(_number(api, plan, query.samples, challenger)))
    except _Unusable as error:
        return QuerySeen(query.name, status=error.status, problem=str(error))
    except InputError as error:
        return QuerySeen(query.name, status=Status.ERROR, problem=error.message)
    return QuerySeen(query.name, value, other, n)


def texts_of(plan: RolloutPlan, *, version: str, arm: str) -> dict[str, str]:
    """What is filled into a query that asks for an arm."""
    return {
        "endpoint": plan.endpoint,
        "model": plan.model,
        "version": version,
        "arm": arm,
        "rollout": plan.rollout_id,
    }


def check(api: PrometheusApi, queries: Sequence[OwnQuerySection], texts: Mapping[str, str]) -> None:
    """Ask every query once, before anything moves.

    Args:
        api: who is asked.
        queries: of the configuration.
        texts: what is filled in.

    Raises:
        InputError: Prometheus does not take one, or it can never give one number.
        BackendError: Prometheus does not answer.
    """
    for query in queries:
        for what, text in (("query", query.query), ("samples", query.samples)):
            if text is None:
                continue
            where = f"deployment.prometheus.queries, {query.name}: {what}"
            try:
                answer = api.ask(filled(text, texts, seconds=60))
            except InputError as error:
                raise InputError(f"{where}: {error.message}", hint=error.hint or "try it in Prometheus") from error
            if answer.kind not in NUMBERS:
                raise InputError(
                    f"{where} gives a {answer.kind}, not a number", hint="for example sum(increase(...[$window]))"
                )


def judge_queries(plan: RolloutPlan, seen: Observations, *, comparing: bool = True) -> tuple[Verdict, ...]:
    """One verdict for each query of the plan.

    Args:
        plan: has the queries.
        seen: has what they gave.
        comparing: False leaves out those that compare with the champion.
    """
    told = seen.told or Told(error="Prometheus has not been asked yet")
    answers = {one.name: one for one in told.queries}
    return tuple(
        _judged(plan, query, answers.get(query.name), told)
        for query in plan.prometheus.queries
        if comparing or query.compare == "value"
    )


def _judged(plan: RolloutPlan, query: OwnQuerySection, answer: QuerySeen | None, told: Told) -> Verdict:
    threshold = _threshold(query)
    if told.error or answer is None:
        why = told.error or "it was not asked then"
        return Verdict(CHECK, Status.INCONCLUSIVE, Measurement(query.name, None, 0), threshold, why)
    if answer.status is not Status.PASS:
        measurement = Measurement(query.name, None, answer.n)
        return Verdict(CHECK, answer.status, measurement, threshold, answer.problem)
    value, detail = _held(query, answer)
    measurement = Measurement(query.name, value, answer.n, detail=detail)
    if value is None:
        why = "the champion's value is 0, so there is no ratio"
        return Verdict(CHECK, Status.INCONCLUSIVE, measurement, threshold, why)
    return judge(CHECK, measurement, threshold)


def _held(query: OwnQuerySection, answer: QuerySeen) -> tuple[float | None, str]:
    if query.compare == "value" or answer.value is None or answer.champion is None:
        return answer.value, ""
    detail = f"challenger {answer.value:.4g}, champion {answer.champion:.4g}"
    if query.compare == "difference":
        return answer.value - answer.champion, f"difference, {detail}"
    return (answer.value / answer.champion if answer.champion else None), f"ratio, {detail}"


def _threshold(query: OwnQuerySection) -> Threshold:
    if query.at_most is not None:
        return Threshold(query.at_most, Direction.AT_MOST, n_needed=query.min_samples)
    assert query.at_least is not None  # the section has seen to it
    return Threshold(query.at_least, Direction.AT_LEAST, n_needed=query.min_samples)


def _number(api: PrometheusApi, plan: RolloutPlan, query: str, subject: Subject) -> float:
    """Raises _Unusable where a query gives something else."""
    text = filled(query, texts_of(plan, version=subject.version, arm=subject.arm), seconds=subject.seconds)
    answer = api.ask(text, at=subject.at)
    values = list(_values(answer))
    if answer.kind not in NUMBERS:
        raise _Unusable(Status.ERROR, f"it gives a {answer.kind}, not a number: aggregate it")
    if not values:
        raise _Unusable(Status.INCONCLUSIVE, f"it gives nothing for the {subject.arm}: no such series yet, or ever")
    if len(values) > 1:
        raise _Unusable(Status.ERROR, f"it gives {len(values)} series for the {subject.arm}: aggregate with sum(...)")
    if not math.isfinite(values[0]):
        why = f"it gives {values[0]} for the {subject.arm}, as a division by 0 does: nothing to divide by yet"
        raise _Unusable(Status.INCONCLUSIVE, why)
    return values[0]


def _values(answer: Answer) -> Iterator[float]:
    for series in answer.series:
        for _, value in series.samples:
            yield value
