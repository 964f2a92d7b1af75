"""Answers as columns: what a replica sends to the recorder, what the catalog keeps of it, and what the log does.

A batch holds the answers of one arm at one generation. What they have in common stands in the metadata of its schema:

    generation, arm, version     who answered
    champion                     version of the champion where it has scored the rows too, else null
    logged                       whether the features are there, for the log

Columns: ``request_id`` (where requests have several rows a dictionary, see ``row_ids``), ``time`` (UTC epoch seconds),
``score``, ``decision``, ``seconds``; ``key`` where an arm was drawn by one; ``champion_score`` and
``champion_decision`` where the champion has scored the rows too. For the log ``class`` and ``probabilities`` (in the
order of the model's classes) where it has several, and the features as the model saw them: ``numeric_<name>`` (float32,
null is missing) and ``category_<name>`` (text, null is missing, or not known to the model).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from sluiceway.features.schema import FeatureSchema

if TYPE_CHECKING:
    from sluiceway.serving.ledger import Answer
    from sluiceway.serving.scorer import BundleScorer

# An answer, whether it is logged, and the champion's scores of its rows where it has to have them.
Marked: TypeAlias = "tuple[Answer, bool, np.ndarray | None]"

ABOUT = b"sluiceway"
NUMERIC, CATEGORY, HASHED = "numeric_", "category_", "hashed_"
# Between the id of a request and the version of a shadow that scored it, too; no client's id holds it.
SHADOW_MARK = "#"
# About 1 MB of 20 features; more answers are more batches.
ROWS_PER_BATCH = 10_000
_HASHES = 2.0**64


@dataclass(frozen=True)
class LogPlan:
    """What of the answers is for the log.

    Attributes:
        sample: share of the requests, 0 to 1.
        drop: features that stay in the replica.
    """

    sample: float = 0.0
    drop: frozenset[str] = frozenset()

    def takes(self, request_id: str) -> bool:
        """Whether a request is logged: the same on every replica, whatever else happens to it."""
        if 0.0 < self.sample < 1.0:
            share: float = xxhash.xxh64_intdigest(request_id.partition(SHADOW_MARK)[0].encode()) / _HASHES
            return share < self.sample
        return self.sample >= 1.0


@dataclass(frozen=True)
class About:
    """What the rows of a batch have in common, as the module says."""

    generation: int
    arm: str
    version: str
    champion: str | None
    logged: bool

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> About:
        """Of a batch."""
        return cls(**json.loads(batch.schema.metadata[ABOUT]))


def record_batches(answers: Sequence[Answer], plan: LogPlan) -> Iterator[pa.RecordBatch]:
    """Answers as batches; the champion scores the rows that it has to score, all of them in one call.

    Args:
        answers: of one endpoint.
        plan: of its log.
    """
    champion_scores = _paired_scores(answers)
    # A batch has one model, and one champion whose features it has.
    groups: dict[tuple[int, int, int, bool], list[Marked]] = {}
    for position, answer in enumerate(answers):
        logged = plan.takes(answer.request_id)
        key = (answer.generation, id(answer.arm), id(answer.paired), logged)
        marked = (answer, logged, champion_scores.get(position))
        try:
            groups[key].append(marked)
        except KeyError:
            groups[key] = [marked]
    for group in groups.values():
        for some in _portions(group):
            yield _batch(some, plan)


def _portions(marked: list[Marked]) -> Iterator[list[Marked]]:
    some: list[Marked] = []
    rows = 0
    for one in marked:
        if some and rows + len(one[0].scores) > ROWS_PER_BATCH:
            yield some
            some, rows = [], 0
        some.append(one)
        rows += len(one[0].scores)
    yield some


def _batch(marked: list[Marked], plan: LogPlan) -> pa.RecordBatch:
    answers = [answer for answer, _, _ in marked]
    first, logged = answers[0], marked[0][1]
    arm, paired = first.arm, first.paired
    scores = np.concatenate([answer.scores for answer in answers])
    lengths = np.array([len(answer.scores) for answer in answers])
    columns: dict[str, pa.Array] = {
        "request_id": _ids([answer.request_id for answer in answers], lengths),
        "time": _repeated([answer.time for answer in answers], lengths),
        "score": pa.array(arm.scorer.kept(scores)),
        "decision": pa.array(np.concatenate([answer.decisions for answer in answers])),
        "seconds": _repeated([answer.seconds for answer in answers], lengths),
    }
    if any(answer.key is not None for answer in answers):
        columns["key"] = pa.array([answer.key for answer in answers], pa.string()).take(_places(lengths))
    if paired is not None:
        theirs = np.concatenate([theirs for _, _, theirs in marked if theirs is not None])
        columns["champion_score"] = pa.array(paired.scorer.kept(theirs))
        columns["champion_decision"] = pa.array(paired.scorer.decide(theirs))
    if logged:
        columns |= _of_classes(arm.scorer, scores)
        matrix = np.concatenate([answer.matrix for answer in answers])
        columns |= _features(matrix, (paired or arm).scorer.schema, plan.drop)
    champion = paired.arm.version if paired is not None else None
    about = About(first.generation, arm.name, arm.arm.version, champion, logged)
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return batch.replace_schema_metadata({ABOUT: json.dumps(about.__dict__).encode()})


def _places(lengths: np.ndarray) -> pa.Array:
    return pa.array(np.repeat(np.arange(len(lengths)), lengths))


def _repeated(values: list[float], lengths: np.ndarray) -> pa.Array:
    return pa.array(np.repeat(np.array(values, dtype=np.float64), lengths), from_pandas=True)


def _ids(request_ids: list[str], lengths: np.ndarray) -> pa.Array:
    """The id of each row's request; where some have several rows, each id once and each row's place among them."""
    ids = pa.array(request_ids, pa.string())
    return ids if (lengths == 1).all() else pa.DictionaryArray.from_arrays(_places(lengths).cast(pa.int32()), ids)


def row_ids(batch: pa.RecordBatch) -> pa.Array:
    """The ids of a batch's rows: the request's, with ``/<row>`` behind it where it has several.

    A shadow's mark stays the end.
    """
    column = batch.column("request_id")
    if not pa.types.is_dictionary(column.type):
        return column
    halves = [one.partition(SHADOW_MARK) for one in column.dictionary.to_pylist()]
    heads = pa.array([head for head, _, _ in halves], pa.string()).take(column.indices)
    tails = pa.array([mark + tail for _, mark, tail in halves], pa.string()).take(column.indices)
    lengths = row_counts(column)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    numbers = pa.array(np.arange(len(starts)) - starts).cast(pa.string())
    slashes = pa.array(["" if length == 1 else "/" for length in lengths.tolist()], pa.string()).take(column.indices)
    several = pc.not_equal(slashes, "")
    return pc.binary_join_element_wise(heads, slashes, pc.if_else(several, numbers, ""), tails, "")


def row_counts(request_ids: pa.DictionaryArray) -> np.ndarray:
    """How many rows each request has, in their order; shape (n_requests,)."""
    return np.bincount(request_ids.indices.to_numpy(), minlength=len(request_ids.dictionary))


def _of_classes(scorer: BundleScorer, scores: np.ndarray) -> dict[str, pa.Array]:
    if not scorer.classes:
        return {}
    names = pa.array([str(value) for value in scorer.classes], pa.string())
    ends = pa.array(np.arange(len(scores) + 1) * len(scorer.classes), pa.int32())
    return {
        "class": names.take(pa.array(scores.argmax(axis=1))),
        "probabilities": pa.ListArray.from_arrays(ends, pa.array(scores.ravel())),
    }


def _features(matrix: np.ndarray, schema: FeatureSchema, drop: Collection[str]) -> dict[str, pa.Array]:
    columns: dict[str, pa.Array] = {}
    for place, feature in enumerate(schema.features):
        if feature.name in drop:
            continue
        values = np.ascontiguousarray(matrix[:, place])
        if feature.kind == "numeric":
            columns[NUMERIC + feature.name] = pa.array(values, from_pandas=True)
            continue
        missing = np.isnan(values)
        codes = np.where(missing, 0, values).astype(np.int32)
        columns[CATEGORY + feature.name] = pa.array(feature.categories, pa.string()).take(pa.array(codes, mask=missing))
    return columns


def _paired_scores(answers: Sequence[Answer]) -> dict[int, np.ndarray]:
    by_champion: dict[BundleScorer, list[int]] = {}
    for position, answer in enumerate(answers):
        if answer.paired is not None:
            by_champion.setdefault(answer.paired.scorer, []).append(position)
    found: dict[int, np.ndarray] = {}
    for scorer, positions in by_champion.items():
        scores = scorer.score_matrix(np.concatenate([answers[position].matrix for position in positions]))
        ends = np.cumsum([len(answers[position].matrix) for position in positions])
        found |= dict(zip(positions, np.split(scores, ends[:-1]), strict=True))
    return found


def to_bytes(batch: pa.RecordBatch) -> bytes:
    """A batch as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def from_bytes(payload: bytes) -> pa.RecordBatch:
    """The inverse of :func:`to_bytes`."""
    with pa.ipc.open_stream(payload) as stream:
        return stream.read_next_batch()
