"""The columns that the gates' sections name: a misspelt one would only be found after the training."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from sluiceway.config.evaluation import EvaluationSection


def column_problems(evaluation: EvaluationSection, known: Sequence[str]) -> tuple[str, ...]:
    """Columns that a table does not have.

    Args:
        evaluation: names them.
        known: columns of the table.

    Returns:
        One line each, beginning with the key, with the nearest name that there is.
    """
    there = set(known)
    return tuple(
        f"{key}: {name!r} is no column of the table; {_nearest(name, known)}"
        for key, name in _named(evaluation)
        if name not in there
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


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(known)}"
