"""What a search leaves in MLflow: one run of its own, and one below it for each trial."""

from __future__ import annotations

from typing import Any

from sluiceway.config.search import DrawSection, SearchSection
from sluiceway.core.references import TableVersion
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.keys import content_key
from sluiceway.registry.runs import RunRecord
from sluiceway.registry.search_runs import Ended, SearchRuns
from sluiceway.training.search_space import with_params
from sluiceway.training.trials import Trial


class SearchInMlflow:
    """Writes the runs of one search.

    Args:
        context: names the experiment and the store.
        key: of the search.
        metric: XGBoost's name of the score.
    """

    def __init__(self, context: Context, key: str, *, metric: str) -> None:
        self._context, self._key, self._metric = context, key, metric
        self._runs: SearchRuns = context.registry.search_runs(context.experiment.name)
        self.run_id = ""

    def open(self, version: TableVersion, search: SearchSection) -> None:
        """Open the search's own run, or open it again."""
        context = self._context
        self.run_id = self._runs.open(
            RunRecord(
                experiment=context.experiment.name,
                name=self._name,
                params={f"space.{name}": _told(draw) for name, draw in search.space.items()}
                | {"reduction": search.reduction, "grace_folds": search.grace_folds},
                tags={
                    "data_uri": version.uri,
                    "data_version": str(version.version),
                    "data_digest": version.digest,
                    "code_commit": context.code.commit,
                    "code_dirty": str(context.code.dirty).lower(),
                },
                artifacts={"config.yaml": context.config_text.encode()},
                key=content_key("search run", self._key),
            )
        )

    def write(self, trial: Trial) -> None:
        """Write a trial that is over, unless it is there."""
        tags: dict[str, Any] = {"trial": trial.number, "trial_status": trial.status}
        if trial.status in ("stopped", "cut"):
            tags["stopped_after_folds"] = len(trial.scores)
        if trial.error:
            tags["error"] = trial.error
        self._runs.write_trial(
            self.run_id,
            RunRecord(
                experiment=self._context.experiment.name,
                name=f"trial {trial.number}",
                params=with_params(self._context.model, trial.params).params,
                metrics={f"cv_{self._metric}": trial.score if trial.scores else None, "seconds": trial.seconds},
                fold_metrics=tuple({self._metric: score} for score in trial.scores),
                tags=tags,
                key=content_key("trial", self._key, trial.number, trial.params),
            ),
            status=_ended(trial),
        )

    def close(self, best: Trial | None, trials: tuple[Trial, ...], artifacts: dict[str, bytes]) -> None:
        """End the search's own run; without a best trial it has failed."""
        counts = {f"trials_{status}": sum(t.status == status for t in trials) for status in ("stopped", "failed")}
        found = {f"cv_{self._metric}": best.score} if best else {}
        self._runs.close(
            self.run_id,
            RunRecord(
                experiment=self._context.experiment.name,
                name=self._name,
                metrics={"trials": float(len(trials)), **{k: float(v) for k, v in counts.items()}, **found},
                tags={"best_trial": best.number} if best else {},
                artifacts=artifacts,
            ),
            status="FINISHED" if best else "FAILED",
        )

    @property
    def _name(self) -> str:
        return f"{self._context.experiment.name} search"


def _ended(trial: Trial) -> Ended:
    if not trial.is_settled:
        return "KILLED"
    return "FAILED" if trial.status == "failed" else "FINISHED"


def _told(draw: DrawSection) -> str:
    if draw.choice is not None:
        return f"one of {', '.join(map(str, draw.choice))}"
    low, high = draw.ends or (0, 0)
    return f"{low} to {high}{', log' if draw.log else ''}{', whole' if draw.whole else ''}"
