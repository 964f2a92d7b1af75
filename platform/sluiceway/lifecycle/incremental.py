"""A model that goes on from one that is there: which, and on which rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sluiceway.config.experiment import DataSection, ModelSection
from sluiceway.config.search import SearchSection
from sluiceway.core.errors import ConfigError, DataError, ModelError
from sluiceway.core.references import TableVersion
from sluiceway.data.ray_read import key_columns, newest_tick, time_cuts
from sluiceway.data.tables import schema as table_schema
from sluiceway.data.time_order import gap_ticks
from sluiceway.features.schema import FeatureSchema
from sluiceway.lifecycle.context import Context
from sluiceway.registry.bundle import Bundle
from sluiceway.registry.mlflow_registry import CHAMPION
from sluiceway.training.final_model import objective_of
from sluiceway.training.recipe import Recipe
from sluiceway.training.search_space import with_params

# Parameters that hold for a whole model, and in which form two of them are the same. New trees alone do not make it
# monotone, another base_score would move what the base's trees add up to, XGBoost keeps the base's num_parallel_tree
# and says nothing.
_WHOLE: dict[str, Callable[[Any], Any]] = {
    "monotone_constraints": lambda given: {name: sign for name, sign in (given or {}).items() if sign},
    "interaction_constraints": lambda given: {frozenset(group) for group in given or ()},
    "base_score": lambda given: given,
    "num_parallel_tree": lambda given: given or 1,
}
# Those that are part of an objective, and say nothing with another one.
_OF_OBJECTIVE: dict[str, dict[str, Callable[[Any], Any]]] = {
    "reg:quantileerror": {"quantile_alpha": lambda given: given},
    "reg:tweedie": {"tweedie_variance_power": lambda given: given or 1.5},
    "reg:pseudohubererror": {"huber_slope": lambda given: given or 1.0},
}
# May change, but XGBoost goes on with the base's where none is given.
_KEPT = "scale_pos_weight"


@dataclass(frozen=True)
class Base:
    """The model that is gone on from.

    Attributes:
        version: in the registry.
        bundle: its files.
    """

    version: str
    bundle: Bundle


def base_of(context: Context) -> Base | None:
    """The model that the configuration goes on from; None where it begins anew, or nothing serves yet.

    Raises:
        ConfigError: ``training.incremental`` needs ``data.time``.
        ModelError: there is no such version.
    """
    wanted = context.training.incremental
    if wanted is None:
        return None
    if context.data.time is None:
        raise ConfigError(
            "the window of training.incremental cannot be found",
            problems=("data.time: has to name the column of a row's time",),
        )
    name = context.experiment.name
    if wanted.base == CHAMPION and context.registry.alias(name, CHAMPION) is None:
        context.progress.advance("nothing serves yet: training begins anew")
        return None
    version, bundle = context.registry.bundle(name, wanted.base)
    return Base(version, bundle)


def with_base(context: Context, version: str | None) -> Context:
    """The configuration with this version as its base, wherever an alias points by now; None: it begins anew."""
    wanted = context.training.incremental
    if wanted is None:
        return context
    fixed = None if version is None else wanted.model_copy(update={"base": version})
    return replace(context, training=context.training.model_copy(update={"incremental": fixed}))


def pin_base(context: Context) -> Context:
    """The configuration with the base that an alias points to now, for all that is done with it from here on."""
    base = base_of(context)
    return with_base(context, None if base is None else base.version)


def going_on(context: Context, recipe: Recipe, base: Base, version: TableVersion) -> Recipe:
    """The recipe with the base's trees, its encoding of the columns, and the rows of the window.

    Args:
        context: the configuration.
        recipe: as it would begin anew.
        base: to go on from.
        version: that is trained on.

    Raises:
        ModelError: the base has other features, classes or constraints, or knows rows that are to judge.
        DataError: there are no rows in the window, or the base's rows cannot be read any more.
    """
    schema = FeatureSchema.from_dict(base.bundle.schema)
    differs = _difference(recipe, schema, base.bundle, membership_of(recipe.data, recipe.seed, version))
    differs = differs or _seen(recipe.data, base.bundle, version)
    if differs:
        raise ModelError(
            f"{context.experiment.name}@{base.version} cannot be gone on from: {differs}",
            hint="leave training.incremental out for once: then training begins anew",
        )
    later_than = _start_of_window(context, base, version)
    newest = newest_tick(version, str(context.data.time))
    if newest <= later_than:
        raise DataError(
            f"no row of version {version.version} of {version.uri} is later than those that "
            f"{context.experiment.name}@{base.version} has seen",
            hint="ingest newer rows, or set training.incremental.window to a time such as 30d",
        )
    # The categories that the base knows keep their codes; values that came later are missing to its trees.
    return replace(recipe, schema=schema, base=base.bundle.model, later_than=later_than)


def _difference(recipe: Recipe, schema: FeatureSchema, bundle: Bundle, membership: dict[str, Any]) -> str:
    mine = [(feature.name, feature.kind) for feature in recipe.schema.features]
    theirs = [(feature.name, feature.kind) for feature in schema.features]
    if mine != theirs:
        return f"its features are {', '.join(name for name, _ in theirs)}"
    if bundle.decision["target"] != recipe.data.target:
        return f"its target is {bundle.decision['target']}"
    if bundle.decision["kind"] != recipe.target.kind:
        return f"it is of kind {bundle.decision['kind']}, and the rows are of kind {recipe.target.kind}"
    if recipe.target.kind == "multiclass" and tuple(bundle.decision["classes"]) != recipe.classes:
        return f"its classes are {', '.join(str(label) for label in bundle.decision['classes'])}"
    objective, mine_too = objective_of(bundle.model), recipe.loop_spec(threads=1).params["objective"]
    if objective != mine_too:
        return f"its objective is {objective}, and model.params say {mine_too}"
    if bundle.lineage.get("membership") != membership:
        # Else it may have been trained on rows that are test rows now, and the gates would flatter it.
        return "its rows were placed in training, validation and test by another seed, key, group or split"
    return _otherwise_as_a_whole(recipe.model.params, _params_of(bundle), objective)


def first_trial(search: SearchSection, model: ModelSection, base: Base | None) -> ModelSection:
    """The configured model as a search tries it: with a weight of 1 where the space draws it and nothing else says it.

    Else trial 0 would be trained with the base's weight and be compared, and written down, as one without.

    Args:
        search: the space.
        model: the configured model.
        base: to go on from, or None.
    """
    if base is None or _KEPT not in search.space or model.params.get(_KEPT) is not None:
        return model
    return model if (_params_of(base.bundle).get(_KEPT) or 1) == 1 else with_params(model, {_KEPT: 1})


def check_drawn(search: SearchSection, model: ModelSection, base: Base | None) -> None:
    """Refuse a search that may draw what the base forbids: its winner could not be trained.

    Args:
        search: the space.
        model: the configured model, which the draws change; the base allows it.
        base: to go on from, or None.

    Raises:
        ConfigError: something of the space has to be what it was in the base.
    """
    if base is None:
        return
    objective, theirs = objective_of(base.bundle.model), _params_of(base.bundle)
    told = {}
    for name, draw in search.space.items():
        for value in draw.choice or draw.ends or ():
            why = _otherwise_as_a_whole(with_params(model, {name: value}).params, theirs, objective)
            if name == "objective" and value != objective:
                why = f"its objective is {objective}"
            if why:
                told[name] = why
    problems = tuple(f"search.space.{name}: {why}" for name, why in told.items())
    if problems:
        raise ConfigError(
            f"the space of the search does not fit version {base.version}, which training is to go on from",
            problems=problems,
            hint="leave these names out of search.space, or training.incremental",
        )


def _params_of(bundle: Bundle) -> Mapping[str, Any]:
    found: Mapping[str, Any] = bundle.lineage.get("config", {}).get("params", {})
    return found


def _otherwise_as_a_whole(mine: Mapping[str, Any], theirs: Mapping[str, Any], objective: str) -> str:
    for name, read in (_WHOLE | _OF_OBJECTIVE.get(objective, {})).items():
        if read(mine.get(name)) != read(theirs.get(name)):
            told = [json.dumps(params[name]) if params.get(name) else "not given" for params in (theirs, mine)]
            return f"its {name} is {told[0]}, in model.params it is {told[1]}, and it has to hold for all trees"
    kept = theirs.get(_KEPT) or 1
    if mine.get(_KEPT) is None and kept != 1:
        return (
            f"its {_KEPT} is {json.dumps(kept)}, which would hold on; say in model.params which is wanted, 1 for none"
        )
    return ""


def _seen(data: DataSection, bundle: Bundle, version: TableVersion) -> str:
    """Whether the base has learnt from rows that choose the threshold or judge now, or "".

    By row and by group a row stays in its part. By time it does so while only later rows come: older ones that came
    since, or a version that was gone back to, begin validation and test earlier. What the base itself went on from has
    learnt from nothing later, either: this was asked of it.
    """
    if data.split.by != "time":
        return ""
    if time_cuts(version_of(bundle), data).validation <= time_cuts(version, data).validation:
        return ""
    return (
        f"it has learnt from rows that are validation or test rows of version {version.version} of {version.uri}, "
        "where data.split.by: time begins them earlier than in the version that it was trained on"
    )


def membership_of(data: DataSection, seed: int, version: TableVersion) -> dict[str, Any]:
    """What decides which rows are test rows, JSON-ready; it is written into a model's lineage."""
    key = key_columns(table_schema(version.uri, version.version), data)
    by = {"row": sorted(key), "group": sorted(data.group), "time": data.time}[data.split.by]
    return {"seed": seed, "columns": by, "split": data.split.model_dump(mode="json")}


def version_of(bundle: Bundle) -> TableVersion:
    """The version that a model was trained on, as its lineage has it."""
    seen = bundle.lineage["data"]
    return TableVersion(seen["uri"], seen["version"], seen["digest"], seen["rows"], str(seen["version"]))


def _start_of_window(context: Context, base: Base, version: TableVersion) -> int:
    wanted, name = context.training.incremental, str(context.data.time)
    window = "new" if wanted is None else wanted.window
    if window != "new":
        kind = table_schema(version.uri, version.version).field(name).type
        return newest_tick(version, name) - gap_ticks(window, kind, name, key="training.incremental.window")
    return newest_tick(version_of(base.bundle), name)
