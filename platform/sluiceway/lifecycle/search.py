"""Search for better parameters than the configured ones, then train the best as a candidate like any other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import yaml

from sluiceway.catalog.claim import claim
from sluiceway.catalog.pipeline import FAILED
from sluiceway.config.search import SearchSection
from sluiceway.core.errors import InputError, SluicewayError
from sluiceway.core.references import TableVersion
from sluiceway.lifecycle.candidate import Candidate, candidate_key, candidate_step
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.incremental import base_of, first_trial, pin_base
from sluiceway.lifecycle.journal import Journal
from sluiceway.lifecycle.keys import content_key
from sluiceway.lifecycle.preflight import check_named_columns
from sluiceway.lifecycle.search_journal import SearchJournal
from sluiceway.lifecycle.search_runs import SearchInMlflow
from sluiceway.lifecycle.search_trials import has_budget, nothing_found, train_trials, trial_recipe
from sluiceway.training.params import maximised, metric_of
from sluiceway.training.recipe import Recipe
from sluiceway.training.search_space import check_space, with_params
from sluiceway.training.trials import Trial, ranked

# What a search may be given more of: it goes on with what it has found.
_BUDGET = {"trials", "minutes", "concurrent"}


@dataclass(frozen=True)
class SearchOutcome:
    """What a search found.

    Attributes:
        metric: XGBoost's name of the score.
        trials: all of them, the best first; those without a score last.
        trained: how many of them this process trained; the others were known.
        params: the best model's parameters, all of them.
        file: YAML with the model section of the best.
        run_id: of the search in MLflow.
        candidate: the best model, trained and stored.
    """

    metric: str
    trials: tuple[Trial, ...]
    trained: int
    params: dict[str, Any]
    file: str
    run_id: str
    candidate: Candidate

    def to_dict(self) -> dict[str, Any]:
        """JSON for programs."""
        return {**asdict(self), "candidate": self.candidate.to_dict()}


def search_key(context: Context, version: TableVersion, section: SearchSection) -> str:
    """Everything that the trials depend on; more of the same search is the same search."""
    return content_key("search", candidate_key(context, version), section.model_dump(mode="json", exclude=_BUDGET))


def search(context: Context, version: TableVersion, section: SearchSection) -> SearchOutcome:
    """Search, and train the best.

    A search that was interrupted goes on where it stopped, and one that has ended is only told again, unless it is
    given more trials or minutes: a trial that is done is not done again.

    Args:
        context: the configuration; its model is the first trial.
        version: whose rows are trained on.
        section: the space and the budget.

    Raises:
        ConfigError: the space cannot be searched.
        DataError: the rows cannot be trained on; where only reading all of them shows it, the search has ended.
        ConflictError: another living process runs the same search.
        BackendError: not one trial could be trained to its end; the search has ended.
    """
    check_space(section, context.model, context.training)
    context.registry.check()
    context = pin_base(context)
    context = replace(context, model=first_trial(section, context.model, base_of(context)))
    key = search_key(context, version, section)
    with context.reading(version), claim(context.stores.leases, f"search:{key[:16]}", clock=context.clock):
        journal = SearchJournal(context.stores.pipeline, key, clock=context.clock)
        return _search(context, version, section, journal)


def _search(context: Context, version: TableVersion, section: SearchSection, journal: SearchJournal) -> SearchOutcome:
    # Looked at first: what is refused leaves nothing behind, in the journal or in MLflow.
    check_named_columns(context.evaluation, context.serving, version)
    recipe = trial_recipe(context, version, section) if has_budget(section, journal) else None
    runs = SearchInMlflow(context, journal.key, metric=metric_of(context.model, context.training))
    journal.open(version, context.config_text)
    with _ended_by_bad_input(journal):
        return _opened(context, version, section, journal, runs, recipe=recipe)


@contextmanager
def _ended_by_bad_input(journal: SearchJournal) -> Iterator[None]:
    """Rows that are refused are refused again: the search has ended, and no vacuum waits a week for it."""
    try:
        yield
    except InputError:
        journal.close(status=FAILED)
        raise


def _opened(
    context: Context,
    version: TableVersion,
    section: SearchSection,
    journal: SearchJournal,
    runs: SearchInMlflow,
    *,
    recipe: Recipe | None,
) -> SearchOutcome:
    metric = metric_of(context.model, context.training)
    runs.open(version, section)
    for trial in journal.known:  # one that was kept when its process was killed may be missing in MLflow
        runs.write(trial)
    found: list[Trial] = []
    try:
        new = train_trials(context, version, recipe, section, journal, runs) if recipe else []
        found = ranked((*journal.known, *new), maximise=maximised(metric))
        if not found or found[0].status != "finished":
            journal.close(status=FAILED)
            raise nothing_found(found)
    except SluicewayError:
        kept = SearchJournal(context.stores.pipeline, journal.key, clock=context.clock).known
        runs.close(None, tuple(found) or kept, {})
        raise
    best = found[0]
    chosen = replace(context, model=with_params(context.model, best.params))
    text = _as_yaml(chosen, best, metric, len(found))
    runs.close(best, tuple(found), {"best.yaml": text.encode()})
    candidate = _train(chosen, version, journal.run_id)
    journal.close()
    file = _written(context, journal.key, text)
    return SearchOutcome(metric, tuple(found), len(new), dict(chosen.model.params), file, runs.run_id, candidate)


def _train(context: Context, version: TableVersion, run_id: str) -> Candidate:
    """The candidate; `sluiceway run` with the same parameters finds it in the journal and judges it."""
    journal = Journal(context.stores.pipeline, run_id, clock=context.clock, prepare=context.connect)
    return Candidate.from_dict(candidate_step(context, version, journal, name="candidate").result)


def _as_yaml(context: Context, best: Trial, metric: str, count: int) -> str:
    which = "the configured model" if best.number == 0 else f"trial {best.number}"
    head = f"# Best of {count} trials of {context.experiment.name}: {which}, {metric} {best.score:.6f}\n"
    return head + yaml.safe_dump({"model": context.model.model_dump(mode="json")}, sort_keys=False)


def _written(context: Context, key: str, text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", context.experiment.name)
    file = context.folders.reports / f"search-{name}-{key[:12]}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return str(file)
