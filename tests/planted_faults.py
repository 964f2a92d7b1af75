"""Faults that somebody could have made without noticing, planted into clean loans; each is a case for the gates."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from loan_models import DAY, KEY, KINDS, NOW, ROWS, TARGET, TIME, Case, Parts, clean, facts_of, trained, with_column

NUMBERS = tuple(name for name, kind in KINDS.items() if kind == "numeric")
Change = Callable[[pa.Table, np.random.Generator], pa.Table]


def planted(seed: int, change: Change, *names: str, kinds: Mapping[str, str] = KINDS, **params: float) -> Case:
    """A candidate of changed rows, against the champion of clean ones.

    Args:
        seed: of the rows and of the change.
        change: of one part of the rows.
        names: of the parts that are changed; without any all of them.
        kinds: of the candidate's features.
        params: of its training.
    """
    random, before = np.random.default_rng([seed, 2]), clean(seed)
    parts = before.parts.changed(lambda rows: change(rows, random), *names)
    return replace(before, parts=parts, candidate=trained(parts, kinds=kinds, **params), kinds=kinds)


def leaked_label(seed: int) -> Case:
    """Reminders that were sent after the default are a feature."""

    def change(rows: pa.Table, random: np.random.Generator) -> pa.Table:
        sent = np.where(_labels(rows) == 1, 1 + random.poisson(4, rows.num_rows), random.random(rows.num_rows) < 0.02)
        return with_column(rows, "reminders", sent.astype(np.int64))

    return planted(seed, change, kinds=KINDS | {"reminders": "numeric"})


def noisy_group(seed: int, *, attribute: str, group: str) -> Case:
    """One outcome in three of one group was written down wrong."""
    return planted(seed, lambda rows, random: _flipped(rows, random, _is(rows, attribute, group), 1 / 3))


def mislabelled_group(seed: int) -> Case:
    """Most outcomes of one region are the wrong way round, but not those of the test rows."""

    def change(rows: pa.Table, random: np.random.Generator) -> pa.Table:
        return _flipped(rows, random, _is(rows, "region", "north"), 0.9)

    return planted(seed, change, "train", "validation", max_depth=5)


def brittle_feature(seed: int) -> Case:
    """The third decimal of a quote comes from a system that knows three in five of the outcomes."""

    def change(rows: pa.Table, random: np.random.Generator) -> pa.Table:
        told = np.where(random.random(rows.num_rows) < 0.6, _labels(rows) == 1, random.random(rows.num_rows) < 0.5)
        return with_column(rows, "quote", random.integers(1, 10, rows.num_rows) + np.where(told, 0.002, 0.001))

    return planted(seed, change, kinds=KINDS | {"quote": "numeric"})


def weighted_positives(seed: int) -> Case:
    """Scores are no probabilities any more: each default counts for twenty."""
    return planted(seed, lambda rows, _: rows, scale_pos_weight=20)


def overlap(seed: int, *, share: float, same_key: bool) -> Case:
    """Training rows are copies of test rows, under the same key or under new ones."""
    before, random = clean(seed), np.random.default_rng([seed, 3])
    n = round(share * ROWS["test"])
    copies = before.parts.test.slice(0, n)
    if not same_key:
        copies = with_column(copies, KEY, random.integers(0, 2**63, n).astype(np.uint64))
    train = pa.concat_tables([before.parts.train.slice(n), copies.select(before.parts.train.column_names)])
    parts = replace(before.parts, train=train)
    return replace(before, parts=parts, candidate=trained(parts))


def swapped_columns(seed: int, *, first: str, second: str) -> Case:
    """Two columns have changed places in the new version of the table, for training and test alike."""

    def change(rows: pa.Table, _: np.random.Generator) -> pa.Table:
        return with_column(
            with_column(rows, first, rows[second].combine_chunks()), second, rows[first].combine_chunks()
        )

    return planted(seed, change)


def flipped_labels(seed: int, *, share: float, parts: tuple[str, ...] = ("train", "validation")) -> Case:
    """A share of the outcomes is the wrong way round."""
    return planted(seed, lambda rows, random: _flipped(rows, random, np.ones(rows.num_rows, np.bool_), share), *parts)


def stale(seed: int) -> Case:
    """Nobody has written a row for 90 days."""
    return replace(clean(seed), now=NOW + 90 * DAY)


def broken_feed(seed: int) -> Case:
    """Since training, the numbers of car loans come from other customers' rows."""

    def change(rows: pa.Table, random: np.random.Generator) -> pa.Table:
        inside = _is(rows, "purpose", "car")
        for name in NUMBERS:
            values = rows[name].to_numpy().copy()
            values[inside] = random.permutation(values[inside])
            rows = with_column(rows, name, pa.array(values, from_pandas=True))
        return rows

    return planted(seed, change, "test")


def known_week(seed: int) -> Case:
    """There are good weeks and bad ones, and a campaign's name says which week it is; the champion knows no names."""
    moods = np.where(np.random.default_rng([seed, 4]).permutation(53) % 2, 0.02, 0.85)

    def change(rows: pa.Table, random: np.random.Generator) -> pa.Table:
        week = ((NOW - rows[TIME].cast(pa.int64()).to_numpy() / 1e6) / (7 * DAY)).astype(np.int64)
        swept, mood = random.random(rows.num_rows) < 0.6, random.random(rows.num_rows) < moods[week]
        rows = with_column(rows, TARGET, np.where(swept, mood, _labels(rows)).astype(np.int8))
        return with_column(rows, "campaign", [f"campaign {each * 17 % 53}" for each in week])

    case = planted(seed, change, kinds=KINDS | {"campaign": "category"})
    return replace(case, champion=trained(case.parts, eta=0.17, seed=1), facts=facts_of(case.parts.train))


def identifier(seed: int) -> Case:
    """The number of the account is a feature."""
    numbers = iter(np.split(10**6 + np.random.default_rng(seed).permutation(20_000), 4))

    def change(rows: pa.Table, _: np.random.Generator) -> pa.Table:
        return with_column(rows, "account", next(numbers)[: rows.num_rows])

    return planted(seed, change, kinds=KINDS | {"account": "numeric"})


def follows_time(seed: int) -> Case:
    """Days since a fixed date are a feature."""

    def change(rows: pa.Table, _: np.random.Generator) -> pa.Table:
        return with_column(rows, "day", rows[TIME].cast(pa.int64()).to_numpy() // (DAY * 10**6))

    return planted(seed, change, kinds=KINDS | {"day": "numeric"})


@functools.cache
def lost_feature(seed: int, rows: int) -> tuple[Case, Case]:
    """About one decision in a hundred is worse than the champion's, because ``utilisation`` is left out; and no loss.

    Args:
        seed: of everything.
        rows: of the test part.

    Returns:
        the worse candidate, and one as good as the champion.
    """
    parts = Parts.drawn(seed, ROWS | {"validation": 10_000, "test": rows})
    champion = trained(parts)
    left = {name: kind for name, kind in KINDS.items() if name != "utilisation"}
    same = Case(parts, trained(parts, eta=0.17, seed=1), champion, facts_of(parts.train), KINDS)
    return replace(same, candidate=trained(parts, kinds=left), kinds=left), same


def _labels(rows: pa.Table) -> np.ndarray:
    return rows[TARGET].to_numpy()


def _is(rows: pa.Table, column: str, value: str) -> np.ndarray:
    return np.array(rows[column].to_pylist()) == value


def _flipped(rows: pa.Table, random: np.random.Generator, inside: np.ndarray, share: float) -> pa.Table:
    wrong = inside & (random.random(rows.num_rows) < share)
    return with_column(rows, TARGET, np.where(wrong, 1 - _labels(rows), _labels(rows)).astype(np.int8))
