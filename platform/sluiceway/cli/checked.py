"""Settings that were checked by everybody who can say something about them, all problems told at once."""

from __future__ import annotations

from collections.abc import Iterable

from sluiceway.config.experiment import DataSection, ModelSection
from sluiceway.config.load import load_parts
from sluiceway.config.parts import Parts
from sluiceway.config.platform import PlatformSection
from sluiceway.config.settings import Settings
from sluiceway.core.errors import DataError
from sluiceway.core.references import TableVersion
from sluiceway.data.profile import check_schema
from sluiceway.data.references import resolve
from sluiceway.data.tables import schema, table_uri
from sluiceway.lifecycle.preflight import check_named_columns, section_problems
from sluiceway.wiring.stores import read_stores


def checked_settings(config: str, overrides: Iterable[str]) -> Settings:
    """Read a configuration and check keys, types, parameters and metrics; with the first problem, the table, too.

    Raises:
        ConfigError: all problems at once.
    """
    parts = load_parts(config, overrides=overrides)
    problems = section_problems(parts)
    if parts.settings is None or problems:
        raise parts.error([*problems, *_table_problems(parts)])
    return parts.settings


def check_version(settings: Settings, version: TableVersion, *, named: bool = True) -> None:
    """Refuse a version whose columns do not fit; no row is read, and no Ray is needed.

    Args:
        settings: name the columns.
        version: of the table.
        named: False leaves out the columns that gates and prediction log name: rows to come may bring them.

    Raises:
        DataError: a column of the data section is not there, or the target cannot be one.
        ConfigError: another section names a column that is not there.
    """
    regressor = settings.model.type == "XGBRegressor"
    check_schema(schema(version.uri, version.version), settings.data, number=regressor)
    if named:
        check_named_columns(settings.evaluation, settings.platform.serving, version)


def _table_problems(parts: Parts) -> list[str]:
    """What of a table that is there does not fit; one that is missing may be made by the run."""
    data, platform = parts.sections.get("data"), parts.sections.get("platform")
    if not isinstance(data, DataSection) or not isinstance(platform, PlatformSection):
        return []
    model = parts.sections.get("model")
    regressor = isinstance(model, ModelSection) and model.type == "XGBRegressor"
    uri = table_uri(data.path, platform.aliases)
    try:
        stores = read_stores(platform)
        version = resolve(uri, data.version, tags=stores.tags, repository=stores.repository)
    except DataError:
        return []
    try:
        check_schema(schema(version.uri, version.version), data, number=regressor)
    except DataError as error:
        return [f"{parts.origin('data')}: data: {error.message}{f'; {error.hint}' if error.hint else ''}"]
    return []
