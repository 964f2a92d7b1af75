"""Does a real replica give the answers that the other gates have judged, and within the budget?

Before any traffic the candidate is put into a real Serve replica with an endpoint's resources and an
endpoint's own code: a request comes as JSON, is checked, encoded and scored, and the answer goes as JSON.
It is asked test rows, drawn by the seed, and among them those with the smallest, the largest and a missing
value of each feature. Five ways to the same scores are compared: all test rows in one batch (what the other
gates judge), one row at a time, by the model after it was saved and loaded again, served one request a row,
and served together in one request.

  * LARGEST DIFFERENCE of each way from the batch: at most `tolerance` (1e-6); of predictions beyond 1 it is
    relative. A FAIL tells how many rows differ, the worst of them with its features, and whether the answers
    are those of two features that have changed places. A replica that refuses a row which the batch has
    scored FAILs with its reason.
  * DECISIONS THAT DIFFER: none. The served ones are what a client is told, by the model's own threshold.
  * LATENCY of single requests, by the replica's handle and so without HTTP: judged by the interval of the
    quantile against `p50_ms` and `p99_ms`. At least 300 requests, 1,000 where there is a budget for the 99th
    percentile; rows are asked again until there are as many. Other gates run meanwhile: what holds here
    holds on a quieter machine.
  * LOAD TIME from the bundle's files to the first score against `load_seconds`, the MEMORY that the loaded
    model adds to the replica against `memory_mb_more`, the SIZE of the bundle against `model_mb`.

Numbers without a budget are shown. Without a replica the gate is INCONCLUSIVE; one that does not come up is
an ERROR with Serve's reason.

Options (evaluation.serving): tolerance, rows, p50_ms, p99_ms, load_seconds, memory_mb_more, model_mb; the
resources and limits of the replica are those of platform.serving.

When it fails: a difference means that users would get other answers than those that were judged, so mend the
way that differs and not the tolerance; the row in the verdict is one to try by hand. Over the budget: fewer or
shallower trees, or a budget that the model deserves.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sluiceway.config.gates import ServingSection
from sluiceway.core.doors import Replica, ReplicaAnswers, ReplicaFacts, Scorer
from sluiceway.core.errors import RequestError
from sluiceway.core.verdict import Direction, Measurement, Status, Threshold, Verdict, judge
from sluiceway.gates.asked_rows import AskedRows, drawn_rows, plain_rows
from sluiceway.gates.context import Gate, GateContext, GateOutput
from sluiceway.gates.statistics.intervals import quantile, quantile_n_needed

Array = npt.NDArray[Any]

NAME = "serving"
ALONE, RELOADED = "one by one", "saved and loaded"
SERVED_ALONE, SERVED_TOGETHER = "served one by one", "served together"
# So few give the 99th percentile an upper bound, which is the slowest of them: a budget asks for more.
SHOWN_REQUESTS = 300
JUDGED_REQUESTS = 1000
# Of features that may have changed places: about a second of scoring.
MOST_PAIRS = 500
MIB = 1024**2


@dataclass(frozen=True)
class Way:
    """One way to the scores of the rows that are asked.

    Attributes:
        name: of it, for people.
        asked: so many rows were asked, from the first again behind the last.
        scores: shape (asked,) or (asked, classes), float64.
        decisions: of each score, or None where nothing is decided.
    """

    name: str
    asked: int
    scores: Array
    decisions: Sequence[float | int | str] | None


def run(context: GateContext) -> GateOutput:
    """Compare the five ways, and hold the replica against the budget."""
    section = context.section
    if not isinstance(section, ServingSection) or context.scorer is None:
        raise LookupError("the gate serving takes the section evaluation.serving and a model")
    rows = context.test_rows.select(list(context.features))
    places = drawn_rows(rows, count=section.rows, seed=context.seed)
    classes = context.classes if context.task == "multiclass" else ()
    threshold = context.threshold if context.task == "binary" else None
    asked = AskedRows(rows.take(pa.array(places)), places, context.scores[places], threshold, classes)
    ways = in_process_ways(asked, context.scorer)
    refused: list[Verdict] = []
    budget: list[Verdict] = []
    if context.replica is None:
        nobody = Measurement("replica", None, 0)
        refused.append(Verdict(NAME, Status.INCONCLUSIVE, nobody, reason="no replica could be asked"))
    elif len(places):
        served, refused, budget = ask_replica(context.replica, asked, section)
        ways += served
    compared = [compare(way, asked, section.tolerance, context.scorer) for way in ways]
    return GateOutput((*compared, *refused, *decided(ways, asked), *budget))


def in_process_ways(asked: AskedRows, scorer: Scorer) -> list[Way]:
    """The rows one at a time, and all of them by the model after it was saved and loaded again."""
    n = len(asked.places)
    if n == 0:
        return [Way(name, 0, asked.scores, None) for name in (ALONE, RELOADED)]
    alone = [np.asarray(scorer.score(asked.table.slice(place, 1)), dtype=np.float64) for place in range(n)]
    # A scorer pickles as the bytes of its bundle, and loads them where it arrives.
    loaded: Scorer = pickle.loads(pickle.dumps(scorer))
    reloaded = np.asarray(loaded.score(asked.table), dtype=np.float64)
    ways = [Way(ALONE, n, np.concatenate(alone), None), Way(RELOADED, n, reloaded, None)]
    return [replace(way, decisions=asked.decisions(way.scores)) if _fits(way, asked) else way for way in ways]


def ask_replica(
    replica: Replica, asked: AskedRows, section: ServingSection
) -> tuple[list[Way], list[Verdict], list[Verdict]]:
    """Ask a replica for the rows, one by one and together.

    Args:
        replica: the candidate's.
        asked: at least one row.
        section: the budget.

    Returns:
        the ways that it has answered, a FAIL for each that it has refused, and the verdicts of the budget.

    Raises:
        BackendError: it does not answer, or never came up.
    """
    facts, rows = replica.facts(), plain_rows(asked.table)
    singles = max(len(rows), JUDGED_REQUESTS if section.p99_ms else SHOWN_REQUESTS)
    ways: list[Way] = []
    refused: list[Verdict] = []
    seconds: list[float] = []
    for name, ask, count in ((SERVED_ALONE, replica.ask, singles), (SERVED_TOGETHER, replica.ask_together, len(rows))):
        try:
            answers = ask(list(itertools.islice(itertools.cycle(rows), count)))
        except RequestError as error:
            measurement = Measurement(_difference(name), None, len(rows))
            reason = f"the replica refuses what the batch has scored: {error.message}"
            refused.append(Verdict(NAME, Status.FAIL, measurement, reason=reason))
            continue
        ways.append(_served(name, count, answers, asked))
        seconds = answers.seconds if name == SERVED_ALONE else seconds
    return ways, refused, [*latencies(seconds, section), *footprint(facts, section)]


def compare(way: Way, asked: AskedRows, tolerance: float, scorer: Scorer) -> Verdict:
    """The largest difference of one way from the batch.

    Args:
        way: what is compared.
        asked: the rows, with the batch's scores.
        tolerance: the limit.
        scorer: the model, to find features that have changed places.
    """
    n = len(asked.places)
    limit = Threshold(tolerance, Direction.AT_MOST)
    if n == 0 or not _fits(way, asked):
        verdict = judge(NAME, Measurement(_difference(way.name), None, n), limit)
        told = f"scores of shape {way.scores.shape} for {asked.expected(way.asked).shape}"
        return replace(verdict, reason=told) if n else verdict
    expected = asked.expected(way.asked)
    differences = _differences(expected, way.scores)
    worst = int(differences.argmax())
    measurement = Measurement(_difference(way.name), float(differences[worst]), n)
    verdict = judge(NAME, measurement, limit)
    if verdict.status is Status.PASS:
        return verdict
    many = len(set((np.flatnonzero(differences > tolerance) % n).tolist()))
    detail = (
        f"{many:,} of {n:,} rows differ, most {asked.told(worst % n)}: "
        f"{_told(expected[worst])} in the batch, {_told(way.scores[worst])} {way.name}"
    )
    swapped = swapped_features(way.scores[:n], asked, tolerance, scorer)
    if swapped:
        detail += f"; these are the answers where {swapped[0]!r} and {swapped[1]!r} have changed places"
    return replace(verdict, measurement=replace(measurement, detail=detail))


def swapped_features(scores: Array, asked: AskedRows, tolerance: float, scorer: Scorer) -> tuple[str, str] | None:
    """Two features with whose values exchanged the model gives these scores; None where there are none.

    Args:
        scores: of the rows that are asked, as another way gave them.
        asked: the rows.
        tolerance: of equal scores.
        scorer: the model.
    """
    table = asked.table
    texts = [name for name in table.column_names if _is_text(table[name].type)]
    numbers = [name for name in table.column_names if name not in texts]
    pairs = itertools.chain(itertools.combinations(numbers, 2), itertools.combinations(texts, 2))
    for one, other in itertools.islice(pairs, MOST_PAIRS):
        columns = {name: table[name] for name in table.column_names} | {one: table[other], other: table[one]}
        exchanged = np.asarray(scorer.score(pa.table(columns)), dtype=np.float64)
        if (_differences(exchanged, scores) <= tolerance).all():
            return one, other
    return None


def decided(ways: Sequence[Way], asked: AskedRows) -> list[Verdict]:
    """One verdict for all ways: the rows that any of them decides otherwise than the batch; none for a regression."""
    n = len(asked.places)
    expected = asked.decisions(asked.scores) if n else None
    if expected is None:
        return []
    first: dict[int, str] = {}
    for way in ways:
        for place, decision in enumerate(way.decisions or ()):
            right = expected[place % n]
            if decision != right:
                first.setdefault(place % n, f"{way.name} {decision!r}, in the batch {right!r}")
    detail = f"first {asked.told(min(first))}: {first[min(first)]}" if first else ""
    measurement = Measurement("decisions that differ", len(first), n, detail=detail)
    return [judge(NAME, measurement, Threshold(0, Direction.AT_MOST))]


def latencies(seconds: Sequence[float], section: ServingSection) -> list[Verdict]:
    """The median and the 99th percentile of single requests, with bounds, against the budget.

    Args:
        seconds: of each request; none where there was no answer.
        section: the budget.
    """
    verdicts = []
    for name, q, limit in (("latency p50", 0.5, section.p50_ms), ("latency p99", 0.99, section.p99_ms)):
        value, low, high = quantile(np.asarray(seconds) * 1000, q)
        # Each bound errs in 5 % of all cases, so the interval of both is one of 90 %.
        measurement = Measurement(name, value, len(seconds), low, high, "ms", "90 % interval" if seconds else "")
        if seconds or limit is not None:
            verdicts.append(_held(measurement, limit, n_needed=quantile_n_needed(q), use_interval=True))
    return verdicts


def footprint(facts: ReplicaFacts, section: ServingSection) -> list[Verdict]:
    """Load time, memory and size against the budget; what nobody could measure is left out where it has none."""
    memory = None if facts.memory_bytes is None else facts.memory_bytes / MIB
    found = (
        ("load time", facts.load_seconds, "s", section.load_seconds),
        ("memory added", memory, "MiB", section.memory_mb_more),
        ("model size", facts.model_bytes / MIB, "MiB", section.model_mb),
    )
    return [
        _held(Measurement(name, value, 0 if value is None else 1, unit=unit), limit)
        for name, value, unit, limit in found
        if value is not None or limit is not None
    ]


def _served(name: str, count: int, answers: ReplicaAnswers, asked: AskedRows) -> Way:
    decides = bool(asked.classes) or asked.threshold is not None
    scores = np.asarray(answers.scores, dtype=np.float64)
    return Way(name, count, scores, answers.decisions if decides else None)


def _fits(way: Way, asked: AskedRows) -> bool:
    return way.scores.shape == asked.expected(way.asked).shape


def _difference(way: str) -> str:
    return f"{way}: largest difference"


def _differences(expected: Array, scores: Array) -> Array:
    """Shape (m,): of each row, relative where the expected score is beyond 1; infinite where one is no number."""
    off = np.abs(expected - scores) / np.maximum(1.0, np.abs(expected))
    off = np.where(np.isnan(off), np.inf, off)
    widest: Array = off.max(axis=1) if off.ndim == 2 else off
    return widest


def _held(measurement: Measurement, limit: float | None, *, n_needed: int = 1, use_interval: bool = False) -> Verdict:
    """Judged where there is a budget, shown where there is none."""
    if limit is None:
        return Verdict(NAME, Status.PASS, measurement, reason="reported, not judged")
    return judge(NAME, measurement, Threshold(limit, Direction.AT_MOST, n_needed, use_interval))


def _told(score: Any) -> str:
    """A score, or those of several classes, with enough digits to see what is rounded."""
    return f"{score:.9g}" if np.ndim(score) == 0 else f"[{', '.join(f'{value:.9g}' for value in score)}]"


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value))


GATE = Gate(
    NAME,
    "does a real replica give the same answers, within the budget?",
    run,
    frozenset({"test", "replica"}),
)
