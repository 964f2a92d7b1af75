"""The space of a search against what the model's parameters may be. No engine is spoken here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sluiceway.config.experiment import ModelSection, TrainingSection
from sluiceway.config.search import DrawSection, SearchSection
from sluiceway.core.errors import ConfigError
from sluiceway.training.params import booster_params


def space_problems(
    search: SearchSection, model: ModelSection, training: TrainingSection, *, classes: int | None = None
) -> tuple[str, ...]:
    """What cannot be tried: parameters that do not exist, ends or choices that they cannot take.

    Args:
        search: the space.
        model: the configured model, which the draws change.
        training: folds and metric.
        classes: of the target, for a classifier; None where nobody has looked at the rows yet.

    Returns:
        One line a problem, beginning with the key and a colon.
    """
    found = [
        problem for name, draw in search.space.items() for problem in _of_one(name, draw, model, training, classes)
    ]
    if search.space and search.grace_folds > training.folds:
        found.append(
            f"search.grace_folds: a trial has training.folds = {training.folds} folds, not {search.grace_folds}"
        )
    return tuple(found)


def check_space(
    search: SearchSection, model: ModelSection, training: TrainingSection, *, classes: int | None = None
) -> None:
    """Refuse a search that cannot be run; the arguments are those of :func:`space_problems`.

    Raises:
        ConfigError: no space is declared, or something of it cannot be tried.
    """
    if not search.space:
        raise ConfigError(
            "nothing is declared to search over",
            hint="give search.space and search.trials, e.g. --set 'search.space={max_depth: {whole: [3, 10]}}'",
        )
    problems = space_problems(search, model, training, classes=classes)
    if problems:
        raise ConfigError("the space of the search cannot be tried", problems=problems)


def with_params(model: ModelSection, params: dict[str, Any]) -> ModelSection:
    """The model with a trial's parameters in place of its own; what was not drawn stays as configured."""
    return model.model_copy(update={"params": {**model.params, **params}})


def is_inside(search: SearchSection, params: dict[str, Any]) -> bool:
    """Whether each name of the space has a value in ``params`` that could have been drawn."""
    return all(name in params and _contains(draw, params[name]) for name, draw in search.space.items())


def _contains(draw: DrawSection, value: Any) -> bool:
    if draw.choice is not None:
        return value in draw.choice
    if draw.ends is None or isinstance(value, bool) or not isinstance(value, int if draw.whole else (int, float)):
        return False
    low, high = draw.ends
    return bool(low <= value <= high)


def _of_one(
    name: str, draw: DrawSection, model: ModelSection, training: TrainingSection, classes: int | None
) -> Iterator[str]:
    key = f"model.params.{name}: "
    told = set()
    for value in draw.choice or draw.ends or ():
        try:
            booster_params(with_params(model, {name: value}), training, seed=0, nthread=1, classes=classes)
        except ConfigError as error:  # problems of other keys are told by those who look at the model itself
            told |= {problem.removeprefix(key) for problem in error.problems if problem.startswith(key)}
    yield from (f"search.space.{name}: {problem}" for problem in sorted(told))
