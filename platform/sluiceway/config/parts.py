"""A configuration as far as it could be read, for those who know more of it than its types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sluiceway.config.base import Section
from sluiceway.config.explain import origin_of
from sluiceway.config.settings import Settings
from sluiceway.core.errors import ConfigError


@dataclass(frozen=True)
class Parts:
    """A configuration as far as it could be read.

    Attributes:
        path: the file.
        settings: all of it, or None where something is wrong.
        sections: by name those that are right in themselves.
        problems: one line each: file, key, what is wrong, what was probably meant.
        origins: key -> what set it in place of the file.
    """

    path: str
    settings: Settings | None
    sections: Mapping[str, Section]
    problems: tuple[str, ...]
    origins: Mapping[str, str]

    def origin(self, key: str) -> str:
        """What set a key: the file, ``--set ...`` or the name of an environment variable."""
        return origin_of(key, self.origins) or self.path

    def error(self, more: Iterable[str] = ()) -> ConfigError:
        """The error that tells all problems, and further ones, at once."""
        problems = (*self.problems, *more)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        return ConfigError(f"{self.path} cannot be run: {count}", problems=problems, path=self.path)
