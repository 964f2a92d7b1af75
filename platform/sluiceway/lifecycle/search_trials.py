"""The trials of a search that nobody has trained yet."""

from __future__ import annotations

import math
import time

from sluiceway.catalog.pipeline import FAILED
from sluiceway.config.search import SearchSection
from sluiceway.core.errors import BackendError
from sluiceway.core.references import TableVersion
from sluiceway.lifecycle.candidate import recipe_of
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.incremental import base_of, check_drawn
from sluiceway.lifecycle.search_journal import SearchJournal
from sluiceway.lifecycle.search_runs import SearchInMlflow
from sluiceway.training.optuna_draws import Draws
from sluiceway.training.ray_run import prepare
from sluiceway.training.ray_search import plan_trials, run_trials
from sluiceway.training.recipe import Recipe
from sluiceway.training.search_space import check_space
from sluiceway.training.trainer import rows_of
from sluiceway.training.trials import Trial, ranked

# So many trials that failed, and none that did not: the next ones would fail as well.
HOPELESS = 10


def has_budget(section: SearchSection, journal: SearchJournal) -> bool:
    """Whether the search may train one more trial."""
    return _seconds_left(section, journal) > 0 and (section.trials is None or len(journal.known) < section.trials)


def _seconds_left(section: SearchSection, journal: SearchJournal) -> float:
    return math.inf if section.minutes is None else section.minutes * 60 - journal.seconds


def trial_recipe(context: Context, version: TableVersion, section: SearchSection) -> Recipe:
    """Look at the rows, and at the space again with the classes of the target.

    Raises:
        ConfigError: something of the space cannot be, now that the classes and the base are known.
        DataError: the rows cannot be trained on.
    """
    context.connect()
    base = base_of(context)
    recipe = recipe_of(context, version, base)
    check_space(section, context.model, context.training, classes=len(recipe.classes))
    check_drawn(section, context.model, base)
    return recipe


def train_trials(
    context: Context,
    version: TableVersion,
    recipe: Recipe,
    section: SearchSection,
    journal: SearchJournal,
    runs: SearchInMlflow,
) -> list[Trial]:
    """Try parameters until the budget is used; each trial is written down when it is over.

    Args:
        context: the configuration.
        version: whose rows are trained on.
        recipe: of the configured model, as :func:`trial_recipe` gave it.
        section: the space and the budget.
        journal: knows the trials of earlier tries.
        runs: in MLflow.

    Raises:
        DataError: the rows cannot be trained on.
        BackendError: Ray cannot run the trials; or no node has room for one, or all of them fail: then the search has
            ended.
    """
    deadline = time.time() + _seconds_left(section, journal)
    context.progress.stage("search", _budget(section, known=len(journal.known)))
    prepared = prepare(rows_of(version, recipe), recipe, progress=context.progress)
    try:
        job, plan = plan_trials(prepared, recipe, section, deadline=deadline)
    except BackendError:  # only another cluster or configuration mends it, and no vacuum is to wait for that
        journal.close(status=FAILED)
        raise
    shown = _Shown(
        context, section, journal, metric=job.job.spec.metric, folds=job.folds, maximise=job.job.spec.maximise
    )
    over: list[Trial] = []

    def heard(trial: Trial) -> None:
        if trial.status != "running":
            journal.keep(trial)
            runs.write(trial)
            over.append(trial)
            if _is_hopeless(over, journal):
                journal.close(status=FAILED)
                raise nothing_found(over[-HOPELESS:])
        shown.tell(trial, over)

    draws = Draws(
        section,
        configured=context.model.params,
        seed=context.experiment.seed,
        maximise=job.job.spec.maximise,
        side_by_side=job.concurrent > 1,
    )
    run_trials(prepared.blocks, job, plan, search=section, draws=draws, known=journal.known, heard=heard)
    return over


def _is_hopeless(over: list[Trial], journal: SearchJournal) -> bool:
    """Whether nothing but failures is to be expected: of all trials, or by now of the machine."""
    newest = over[-HOPELESS:]
    if len(newest) < HOPELESS or any(one.status != "failed" for one in newest):
        return False
    return all(one.lost for one in newest) or (len(over) == HOPELESS and not journal.known)


def nothing_found(trials: list[Trial]) -> BackendError:
    """What to say of a search without one trial that was trained to its end."""
    failed = [trial for trial in trials if trial.error]
    lost = [trial for trial in failed if trial.lost]
    if lost:
        return BackendError(
            f"the machine failed {len(lost)} of {len(trials)} trials; trial {lost[0].number}: {lost[0].error}",
            hint="mend that, and give the same command again: it tries them again",
        )
    if failed:
        return BackendError(
            f"none of {len(trials)} trials could be trained to its end; trial {failed[0].number}: {failed[0].error}",
            hint="narrow search.space to parameters that go together",
        )
    return BackendError(
        "the time was over before one trial was trained to its end",
        hint="give more search.minutes; the same search goes on with what it has",
    )


class _Shown:
    """A line for each fold: which trial, its score so far, and the best one."""

    def __init__(
        self,
        context: Context,
        section: SearchSection,
        journal: SearchJournal,
        *,
        metric: str,
        folds: int,
        maximise: bool,
    ) -> None:
        self._progress, self._section, self._journal = context.progress, section, journal
        self._metric, self._folds, self._maximise = metric, folds, maximise

    def tell(self, trial: Trial, over: list[Trial]) -> None:
        """Show a fold, or the end of a trial."""
        best = ranked((*self._journal.known, *over), maximise=self._maximise)
        done = len(self._journal.known) + len(over)
        text = f"trial {trial.number}: "
        text += (
            trial.error if trial.error else f"fold {len(trial.scores)}/{self._folds} {self._metric} {trial.score:.4f}"
        )
        if trial.status == "stopped":
            text += ", stopped"
        if best and best[0].status == "finished":
            text += f"; best {best[0].score:.4f} of trial {best[0].number}"
        self._progress.advance(text, self._share(done))

    def _share(self, done: int) -> float:
        trials, minutes = self._section.trials, self._section.minutes
        by_number = done / trials if trials else 0.0
        by_time = self._journal.seconds / (60 * minutes) if minutes else 0.0
        return min(1.0, max(by_number, by_time))


def _budget(section: SearchSection, *, known: int) -> str:
    limits = [
        f"{section.trials} trials" if section.trials else "",
        f"{section.minutes:g} minutes" if section.minutes else "",
    ]
    told = " or ".join(limit for limit in limits if limit)
    return f"{told} over {', '.join(section.space)}" + (f"; {known} trials are known" if known else "")
