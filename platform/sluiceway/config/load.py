"""Reads configuration files and the environment; nothing else in the package does."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sluiceway.config.base import Section
from sluiceway.config.explain import explain
from sluiceway.config.parts import Parts
from sluiceway.config.platform import PlatformSection, RaySection
from sluiceway.config.settings import Settings
from sluiceway.config.strict_yaml import StrictLoader, one_line
from sluiceway.core.errors import ConfigError, InputError

ENVIRONMENT_PREFIX = "SLUICEWAY_"


def load_settings(path: str | Path, *, overrides: Iterable[str] = ()) -> Settings:
    """Read a configuration file.

    Args:
        path: the YAML file.
        overrides: ``section.key=value`` each, the value in YAML; they win over the environment, which wins over
            the file. The environment says ``SLUICEWAY_SECTION__KEY=value``.

    Raises:
        ConfigError: all problems at once, each with file, key and hint.
    """
    parts = load_parts(path, overrides=overrides)
    if parts.settings is None:
        raise parts.error()
    return parts.settings


def load_parts(path: str | Path, *, overrides: Iterable[str] = ()) -> Parts:
    """Read a configuration file as far as it is right, so that whoever knows more can add what else is wrong.

    Args:
        path: the YAML file.
        overrides: as for :func:`load_settings`.

    Raises:
        ConfigError: the file cannot be read, or is no mapping of sections.
    """
    document = _read(Path(path))
    problems: list[str] = []
    origins: dict[str, str] = {}
    for key, value, origin in [*_environment(os.environ, problems), *_overrides(overrides, problems)]:
        _set(document, key, value, origin, problems)
        origins[key] = origin
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        problems += explain(error.errors(), root=Settings, path=str(path), origins=origins)
    return Parts(str(path), None if problems else settings, _sections(document), tuple(problems), origins)


def _sections(document: Mapping[str, Any]) -> dict[str, Section]:
    """The sections of a configuration that are right in themselves."""
    found: dict[str, Section] = {}
    for name, fields in Settings.model_fields.items():
        kind = fields.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            with suppress(ValidationError):
                found[name] = kind.model_validate(document.get(name, {}))
    return found


def load_platform(path: str | Path | None = None) -> PlatformSection:
    """Only where things live: of a configuration file, or the defaults with what the environment says.

    Raises:
        ConfigError: all problems at once.
    """
    if path is not None:
        return load_settings(path).platform
    problems: list[str] = []
    document: dict[str, Any] = {}
    for key, value, origin in _environment(os.environ, problems):
        if key.startswith("platform."):
            _set(document, key, value, origin, problems)
    try:
        section = PlatformSection.model_validate(document.get("platform", {}))
    except ValidationError as error:
        problems += explain(error.errors(), root=PlatformSection, path="environment", origins={})
    if problems:
        raise ConfigError("the environment cannot be used", problems=tuple(problems))
    return section


# Idle workers keep what they have freed, unless large pieces go back at once (docs/decisions/0032).
MEMORY_DEFAULTS = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


def set_environment_defaults(values: Mapping[str, str]) -> None:
    """Set variables that engines read once, when they are imported, where nobody has set them.

    Ray's core library takes the authentication mode when it is loaded: set later, a local cluster would start with
    tokens and its own driver without. A cluster that ``RAY_ADDRESS`` names has its own mode.

    Args:
        values: of the engines of the floors above.
    """
    own = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
        # Ray's default of 15 lets any ordinary process on the machine starve training and serving.
        "RAY_worker_niceness": "0",
        # Who reserves no GPU sees none: XGBoost takes 0.5 GB of the first one that it sees, even to score on a CPU.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
        **MEMORY_DEFAULTS,
        # MLflow prints addresses into stdout, draws bars, calls home, and repeats itself for minutes, unless told.
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        # Tune draws tables, takes ctrl-C for itself, and writes each result thrice; its trials may have no score.
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    }
    if "RAY_ADDRESS" not in os.environ:
        own["RAY_AUTH_MODE"] = "token"
    for name, value in {**own, **values}.items():
        os.environ.setdefault(name, value)


def ray_address(section: RaySection) -> str | None:
    """The Ray that a section or the environment names; None where a local one is meant."""
    return section.address or os.environ.get("RAY_ADDRESS") or None


def header_secret(variable: str) -> str:
    """What an environment variable holds, as the value of a header of HTTP.

    Raises:
        InputError: it is not set, or holds what no header can; the value is not told.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise InputError(f"the environment variable {variable} is not set", hint="deployment.prometheus names it")
    # Here, because whoever sends it would put it into the message.
    if not (value.isascii() and value.isprintable()):
        raise InputError(f"the environment variable {variable} holds what no header can: more lines, or beyond ASCII")
    return value


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}",
            hint="`sluiceway init --table PATH --target COL` drafts a configuration",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    try:
        document = yaml.load(text, Loader=StrictLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {one_line(error)}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path} holds no mapping of sections", hint="see jobs/configs/flights.yaml")
    return document


def _environment(environ: Mapping[str, str], problems: list[str]) -> Iterator[tuple[str, Any, str]]:
    for name in sorted(environ):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            key = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
            yield from _parsed(key, environ[name], name, problems)


def _overrides(overrides: Iterable[str], problems: list[str]) -> Iterator[tuple[str, Any, str]]:
    for text in overrides:
        key, equals, value = text.partition("=")
        if equals and key.strip():
            yield from _parsed(key.strip(), value, f"--set {text}", problems)
        else:
            problems.append(f"--set {text}: not KEY=VALUE; for example --set data.path=data/fraud")


def _parsed(key: str, value: str, origin: str, problems: list[str]) -> Iterator[tuple[str, Any, str]]:
    try:
        yield key, yaml.load(value, Loader=StrictLoader), origin
    except yaml.YAMLError as error:
        problems.append(f"{origin}: the value is not YAML: {one_line(error)}")


def _set(document: dict[str, Any], key: str, value: Any, origin: str, problems: list[str]) -> None:
    *parents, last = key.split(".")
    section: Any = document
    for parent in parents:
        section = section.setdefault(parent, {}) if isinstance(section, dict) else None
    if isinstance(section, dict):
        section[last] = value
    else:
        problems.append(f"{origin}: {key} is not below a section")
