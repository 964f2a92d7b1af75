"""What a user's configuration names by ``module:name``, loaded."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from sluiceway.core.errors import ConfigError


def load_named(place: str) -> Any:
    """What a module of the user holds under a name.

    Args:
        place: ``module:name``.

    Raises:
        ConfigError: the module cannot be imported, or does not have it.
    """
    module, _, name = place.partition(":")
    return loaded(place, lambda: getattr(importlib.import_module(module), name))


def loaded(place: str, load: Callable[[], Any]) -> Any:
    """What a foreign module gives, whatever it does when it is imported.

    Args:
        place: for people.
        load: imports it.

    Raises:
        ConfigError: with what went wrong; also where the module ends the process, as a script without a guard does.
    """
    try:
        return load()
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{place!r} cannot be loaded: {type(error).__name__}: {error}") from error
