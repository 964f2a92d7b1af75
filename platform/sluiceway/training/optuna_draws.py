"""Which parameters a search tries next: Optuna's sampler, which draws the same whenever it knows the same."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from sluiceway.config.search import DrawSection, SearchSection
from sluiceway.training.search_space import is_inside
from sluiceway.training.trials import Trial

_STATES = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED}


def distribution(draw: DrawSection) -> BaseDistribution:
    """Optuna's form of a range or a choice."""
    if draw.whole is not None:
        return IntDistribution(*draw.whole, log=draw.log)
    if draw.real is not None:
        return FloatDistribution(*draw.real, log=draw.log)
    return CategoricalDistribution(draw.choice or ())


class Draws:
    """Draws sets of parameters and is told how they did.

    Each draw has a seed of its own, of the search's seed and its number: what it gives follows from these and from
    what it was told before, and not from which process told it. A search that is taken up again draws what the
    undisturbed one would have drawn, where one trial runs at a time.

    Args:
        search: the space.
        configured: the model's own parameters, which number 0 stands for.
        seed: of the search.
        maximise: whether more of the score is better.
        side_by_side: whether several draws are out at a time; they then keep away from each other.
    """

    def __init__(
        self,
        search: SearchSection,
        *,
        configured: Mapping[str, Any],
        seed: int,
        maximise: bool,
        side_by_side: bool,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._search, self._configured, self._seed, self._side_by_side = search, configured, seed, side_by_side
        self._space = {name: distribution(draw) for name, draw in search.space.items()}
        self._study = optuna.create_study(direction="maximize" if maximise else "minimize")
        self._asked: dict[int, optuna.Trial] = {}

    def draw(self, number: int) -> dict[str, Any]:
        """Parameters to try; number 0 changes nothing."""
        if number == 0:
            return {}
        self._study.sampler = _sampler([self._seed, number], self._side_by_side)
        self._asked[number] = self._study.ask(self._space)
        return dict(self._asked[number].params)

    def told(self, trial: Trial) -> None:
        """Learn from a trial, of this process or of an earlier one."""
        state = _STATES.get(trial.status, TrialState.FAIL)
        means = {fold + 1: float(np.mean(trial.scores[: fold + 1])) for fold in range(len(trial.scores))}
        asked = self._asked.pop(trial.number, None)
        if asked is not None:
            for step, mean in means.items():
                asked.report(mean, step)
            self._study.tell(asked, trial.score if state == TrialState.COMPLETE else None, state=state)
            return
        params = {**self._configured, **trial.params}
        if state == TrialState.FAIL or not is_inside(self._search, params):
            return  # the configured model may lie outside of the space
        self._study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=trial.score,
                params={name: params[name] for name in self._space},
                distributions=self._space,
                intermediate_values=means,
            )
        )


def _sampler(seed: list[int], side_by_side: bool) -> optuna.samplers.BaseSampler:
    state = int(np.random.SeedSequence(seed).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # constant_liar is one since 2021
        return optuna.samplers.TPESampler(seed=state, constant_liar=side_by_side)
