"""What the gates judge: a model, a version of the table, and the model that serves now."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sluiceway.core.errors import ConfigError
from sluiceway.core.references import ModelReference, TableVersion
from sluiceway.gates.column_facts import ColumnFacts
from sluiceway.gates.ray_tasks import ChampionModel
from sluiceway.lifecycle.candidate import Candidate
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.incremental import membership_of
from sluiceway.lifecycle.preflight import check_evaluation
from sluiceway.registry.bundle import Bundle
from sluiceway.registry.mlflow_registry import CHAMPION
from sluiceway.serving.scorer import BundleScorer

FACTS_ARTIFACT = "column_facts.json"


@dataclass(frozen=True)
class ServingModel:
    """The model that serves now.

    Attributes:
        version: in the registry.
        bundle: its files.
        facts: of the columns that it was trained on; None of an imported one, whose rows nobody here has seen.
    """

    version: str
    bundle: Bundle
    facts: tuple[ColumnFacts, ...] | None


@dataclass(frozen=True)
class Subject:
    """A model to be judged on the test rows of a version.

    Attributes:
        name: of the model.
        version: of the table.
        bundle: of the model.
        uri: of the bundle in the bundle store, for a replica to load.
        champion: what it is compared with, or None before anything serves.
        production: facts of recent requests that an earlier try was judged by; None: they are read when needed.
    """

    name: str
    version: TableVersion
    bundle: Bundle
    uri: str
    champion: ServingModel | None
    production: tuple[ColumnFacts, ...] | None = None

    @property
    def kind(self) -> str:
        """``binary``, ``multiclass`` or ``regression``."""
        return str(self.bundle.decision["kind"])

    @cached_property
    def compared(self) -> ChampionModel | None:
        """The champion as the gates take it."""
        if self.champion is None:
            return None
        theirs, mine = self.champion.bundle, self.bundle
        unfit = _unfit(mine, theirs)
        return ChampionModel(
            self.champion.version,
            BundleScorer(theirs),
            theirs.decision.get("threshold"),
            note="" if unfit else _note(mine, theirs),
            unfit=unfit,
        )


def present_champion(context: Context, name: str | None = None) -> str | None:
    """The version that serves now, or None before there is one."""
    return context.registry.alias(name or context.experiment.name, CHAMPION)


def subject_of(
    context: Context,
    candidate: Candidate,
    *,
    champion: str | None,
    production: Sequence[Mapping[str, Any]] | None = None,
) -> Subject:
    """A candidate that was just trained.

    Args:
        context: what to work with.
        candidate: the trained model.
        champion: the version to compare with (:func:`present_champion`).
        production: facts of requests, JSON-ready, where an earlier try of the run was judged by them.
    """
    bundle = context.bundles.get(candidate.uri, candidate.digest)
    name = context.experiment.name
    known = None if production is None else tuple(ColumnFacts.from_dict(fact) for fact in production)
    return Subject(name, candidate.version, bundle, candidate.uri, _serving(context, name, champion), known)


def registered_subject(context: Context, model: ModelReference, version: TableVersion) -> Subject:
    """A registered model on any version of the table.

    Raises:
        ModelError: there is no such version of the model.
        ConfigError: the evaluation names metrics that its kind does not have, or the configuration makes rows that
            the model was trained on test rows.
    """
    _, bundle = context.registry.bundle(model.name, model.version)
    check_evaluation(context.evaluation, bundle.decision["kind"])
    _check_membership(context, bundle, version)
    champion = _serving(context, model.name, present_champion(context, model.name))
    return Subject(model.name, version, bundle, context.bundles.put(bundle), champion)


def _serving(context: Context, name: str, version: str | None) -> ServingModel | None:
    if version is None:
        return None
    number, bundle = context.registry.bundle(name, version)
    if "imported" in bundle.lineage:
        return ServingModel(number, bundle, None)
    content = context.registry.artifact(name, version, FACTS_ARTIFACT)
    return ServingModel(number, bundle, tuple(ColumnFacts.from_dict(fact) for fact in json.loads(content)))


def _check_membership(context: Context, bundle: Bundle, version: TableVersion) -> None:
    then = bundle.lineage.get("membership")
    if then is None:
        return
    now = membership_of(context.data, context.experiment.seed, version)
    # Another table has other keys, of which the model's may have none.
    judged = [part for part in now if part != "columns" or bundle.lineage["data"]["uri"] == version.uri]
    other = [f"{part} {now[part]}, trained with {then[part]}" for part in judged if now[part] != then[part]]
    if other:
        raise ConfigError(
            "the configuration places rows otherwise than the training did, so that rows which the model learned "
            f"from would be test rows: {'; '.join(other)}",
            hint="take experiment.seed, data.key, data.group and data.split of the training; without -c they are",
        )


def _unfit(mine: Bundle, theirs: Bundle) -> str:
    """Why two models cannot be compared on the same rows, or ""."""
    for name, told in (("kind", "is a {} model"), ("target", "predicts {}")):
        if mine.decision[name] != theirs.decision[name]:
            return f"{told.format(theirs.decision[name])}; this one {told.format(mine.decision[name])}"
    if mine.decision["kind"] == "multiclass" and mine.decision["classes"] != theirs.decision["classes"]:
        return "knows other classes"
    return ""


def _note(mine: Bundle, theirs: Bundle) -> str:
    if mine.lineage.get("membership") == theirs.lineage.get("membership"):
        return ""
    return "the champion's rows were placed by another seed, key or split: it may have been trained on some of these"
