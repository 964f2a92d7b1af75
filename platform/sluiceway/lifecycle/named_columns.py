"""The columns that sections name: a misspelt one would be found after the training, or never."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence

from sluiceway.config.evaluation import EvaluationSection
from sluiceway.config.serving import ServingSection


def column_problems(evaluation: EvaluationSection, known: Sequence[str]) -> tuple[str, ...]:
    """Columns of the gates' sections that a table does not have.

    Args:
        evaluation: names them.
        known: columns of the table.

    Returns:
        One line each, beginning with the key, with the nearest name that there is.
    """
    return _missing(_named(evaluation), known)


def unlogged_problems(serving: ServingSection, known: Sequence[str]) -> tuple[str, ...]:
    """Columns that the prediction log is to leave out or hash and that a table does not have.

    Args:
        serving: names them; also of a feature that only older models have, which is still answered for.
        known: columns of the table.

    Returns:
        As :func:`column_problems`.
    """
    lists = (("drop", serving.log.drop), ("hash", serving.log.hash))
    return _missing(
        ((f"platform.serving.log.{key}[{i}]", name) for key, names in lists for i, name in enumerate(names)), known
    )


def range_problems(serving: ServingSection, features: Sequence[str]) -> tuple[str, ...]:
    """Ranges of what is no feature: no request would ever be held against them.

    Args:
        serving: names them.
        features: of the model.

    Returns:
        As :func:`column_problems`.
    """
    return tuple(
        f"platform.serving.input.ranges.{name}: {name!r} is no feature; {_nearest(name, features)}"
        for name in serving.input.ranges
        if name not in features
    )


def _named(evaluation: EvaluationSection) -> Iterator[tuple[str, str]]:
    """(key, column); of own gates none: one that the table lacks is theirs to miss."""
    lists = {
        "fairness.protected_attributes": evaluation.fairness.protected_attributes,
        **{f"fairness.intersections[{i}]": names for i, names in enumerate(evaluation.fairness.intersections)},
        "data_quality.allow_null": evaluation.data_quality.allow_null,
        "leakage.allow": evaluation.leakage.allow,
    }
    for key, names in lists.items():
        yield from ((f"evaluation.{key}[{i}]", name) for i, name in enumerate(names))
    for i, chosen in enumerate(evaluation.slices.declared):
        yield from ((f"evaluation.slices.declared[{i}].where", name) for name in chosen.where)


def _missing(named: Iterable[tuple[str, str]], known: Sequence[str]) -> tuple[str, ...]:
    there = set(known)
    return tuple(
        f"{key}: {name!r} is no column of the table; {_nearest(name, known)}"
        for key, name in named
        if name not in there
    )


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
