"""What can be known to fail is said before anything is changed."""

from __future__ import annotations

from collections.abc import Callable

from sluiceway.config.evaluation import EvaluationSection, WaiverSection
from sluiceway.config.experiment import DataSection, ModelSection, TrainingSection
from sluiceway.config.lifecycle import ReleaseStep
from sluiceway.config.parts import Parts
from sluiceway.config.platform import PlatformSection
from sluiceway.config.search import SearchSection
from sluiceway.config.serving import ServingSection
from sluiceway.core.errors import ConfigError
from sluiceway.core.references import TableVersion
from sluiceway.core.traffic import endpoint_name
from sluiceway.data.tables import schema
from sluiceway.gates.catalogue import gate_problems
from sluiceway.gates.metric_limits import limit_problems, width_problems
from sluiceway.gates.metrics import Task, check_names
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.metric_source import check_configured
from sluiceway.lifecycle.named_columns import column_problems, range_problems, unlogged_problems
from sluiceway.rollout.regression import refuse_accuracy
from sluiceway.serving.instance import serve_address
from sluiceway.serving.ports import check_port
from sluiceway.training.params import booster_params
from sluiceway.training.search_space import space_problems


def section_problems(parts: Parts) -> tuple[str, ...]:
    """Parameters and metrics that do not exist; the sections themselves know only their types.

    Args:
        parts: of a configuration; sections that are wrong in themselves are left out.

    Returns:
        One line a problem: what set the key, the key, what is wrong.
    """
    names = ("model", "training", "evaluation", "search")
    model, training, evaluation, search = (parts.sections.get(name) for name in names)
    found: list[str] = []
    if isinstance(model, ModelSection) and isinstance(training, TrainingSection):
        found += _collect(lambda: booster_params(model, training, seed=0, nthread=1))
        if isinstance(search, SearchSection):
            found += space_problems(search, model, training)
    data, platform = parts.sections.get("data"), parts.sections.get("platform")
    if isinstance(data, DataSection) and isinstance(platform, PlatformSection):
        found += range_problems(platform.serving, data.features)
    if isinstance(evaluation, EvaluationSection):
        kinds = _kinds(model) if isinstance(model, ModelSection) else ()
        found += _collect(lambda: check_evaluation(evaluation, *kinds))
        found += gate_problems(evaluation, *_step_waivers(parts))
    return tuple(f"{parts.origin(problem.partition(':')[0])}: {problem}" for problem in found)


def _step_waivers(parts: Parts) -> list[tuple[str, tuple[WaiverSection, ...]]]:
    steps = parts.settings.lifecycle if parts.settings else ()
    return [(f"lifecycle[{i}].waivers", step.waivers) for i, step in enumerate(steps) if isinstance(step, ReleaseStep)]


def check_evaluation(evaluation: EvaluationSection, *kinds: Task) -> None:
    """Refuse metrics, limits and a calibrator that no kind of model has which this may be.

    The metrics that are reported where nobody has named any are those of a binary model: they are not asked for.

    Args:
        evaluation: names them.
        kinds: what the model may be: one kind when the rows are known. None given: any.

    Raises:
        ConfigError: all names that cannot be used, with those that can; else all limits that no value can reach.
    """
    wanted = evaluation.calibration.calibrator
    if wanted != "none" and kinds and "binary" not in kinds:
        told = f"{wanted!r} is for a binary model, and this is a {' or '.join(kinds)} one; leave it out"
        raise ConfigError("there is nothing to calibrate", problems=(f"evaluation.calibration.calibrator: {told}",))
    named = evaluation.metrics if "metrics" in evaluation.model_fields_set else ()
    champion = evaluation.champion
    check_names([*named, *evaluation.thresholds, *champion.margins, *champion.max_gain], kinds)
    beyond = limit_problems("evaluation.thresholds", evaluation.thresholds)
    beyond += width_problems("evaluation.champion.margins", champion.margins)
    beyond += width_problems("evaluation.champion.max_gain", champion.max_gain)
    if beyond:
        raise ConfigError("a limit is outside of what its metric can be", problems=tuple(beyond))


def check_named_columns(evaluation: EvaluationSection, serving: ServingSection, version: TableVersion) -> None:
    """Refuse columns of the gates' sections, and of the prediction log, that a version of the table does not have.

    Raises:
        ConfigError: all of them at once, each with the nearest name.
    """
    names = schema(version.uri, version.version).names
    _refuse(version, column_problems(evaluation, names) + unlogged_problems(serving, names))


def check_gate_columns(evaluation: EvaluationSection, version: TableVersion) -> None:
    """Refuse columns of the gates' sections that a version of the table does not have.

    Raises:
        ConfigError: all of them at once, each with the nearest name.
    """
    _refuse(version, column_problems(evaluation, schema(version.uri, version.version).names))


def _refuse(version: TableVersion, problems: tuple[str, ...]) -> None:
    if problems:
        raise ConfigError(
            f"the configuration names columns that {version.uri}@{version.ref} does not have", problems=problems
        )


def _kinds(model: ModelSection) -> tuple[Task, ...]:
    return ("regression",) if model.type == "XGBRegressor" else ("binary", "multiclass")


def open_services(context: Context) -> None:
    """Connect to Ray; refuse to begin where the registry does not answer or somebody else has the port.

    Raises:
        InputError: a query of ``deployment.prometheus`` cannot be used, or a regression would be judged by an accuracy.
        BackendError: names the service, and what to do.
    """
    context.registry.check()
    check_configured(context)
    _check_regression(context)
    context.connect()
    if context.serving.port and serve_address() is None:
        check_port(context.serving.host, context.serving.port)


def _check_regression(context: Context) -> None:
    """An endpoint's first model is judged by nobody; the next one is."""
    if context.model.type != "XGBRegressor":
        return
    for environment in context.deployment.environments:
        endpoint = endpoint_name(context.experiment.name, environment)
        if context.stores.traffic.newest(endpoint) is not None:
            refuse_accuracy(context.deployment.of(environment), endpoint)


def _collect(check: Callable[[], object]) -> tuple[str, ...]:
    try:
        check()
    except ConfigError as error:
        return error.problems
    return ()
