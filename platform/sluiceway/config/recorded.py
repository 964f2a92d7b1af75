"""The configuration of an earlier run, read again as it was written down: no environment and no override changes it."""

from __future__ import annotations

import yaml
from pydantic import ValidationError

from sluiceway.config.explain import explain
from sluiceway.config.platform import PlatformSection
from sluiceway.config.settings import Settings
from sluiceway.core.errors import ConfigError


def recorded_settings(text: str, *, run: str, platform: PlatformSection, metric: str) -> Settings:
    """Read the configuration that a run recorded.

    Every key is in it. One that has its default is read as if nobody had given it: some checks ask only what was given.

    Args:
        text: YAML with every key, as a run writes it.
        run: what the run is called, for errors.
        platform: where things live now; the recorded places are of another time and maybe of another machine.
        metric: that the run watched; it may have followed from the type of the model.

    Raises:
        ConfigError: this release does not understand it.
    """
    origin = f"the configuration of run {run}"
    try:
        document = yaml.safe_load(text)
        training = {**document["training"], "eval_metric": metric}
        here = {**document, "training": training, "platform": platform.model_dump(mode="json")}
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise ConfigError(f"{origin} cannot be read: {error}", hint="its artifact config.yaml was changed") from error
    try:
        whole = Settings.model_validate(here)
        return Settings.model_validate(whole.model_dump(mode="json", exclude_defaults=True))
    except ValidationError as error:
        problems = tuple(explain(error.errors(), root=Settings, path="config.yaml", origins={}))
        hint = "use the release that logged the run; its tag code_commit names it"
        raise ConfigError(f"{origin} is not one of this release", problems=problems, hint=hint) from error
