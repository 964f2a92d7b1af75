"""Where a rollout's numbers come from besides the replicas' counters: ``deployment.prometheus``."""

from __future__ import annotations

import re
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from sluiceway.config.base import Section
from sluiceway.core.errors import InputError
from sluiceway.core.promql import names_in

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# What the rollout's own metrics and limits are called.
TAKEN = ("error_rate", "latency_p99", "accuracy", "total_errors", "breaker", "prometheus")


class OwnQuerySection(Section):
    """A metric of one's own: one number by PromQL, held against a limit at each look.

    Placeholders: ``$endpoint``, ``$model``, ``$version``, ``$arm`` and ``$rollout`` within quotes, and ``$window``, the
    time since the step began, e.g. ``[$window]``. The platform's series have the endpoint's name in their label
    ``model``.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)
    """What it is called in verdicts, and in ``deployment.dry_run``."""
    query: str = Field(min_length=1)
    """PromQL that gives one number: aggregate with ``sum(...)`` where there are several series."""
    at_most: float | None = None
    """The highest value that is good. One of ``at_most`` and ``at_least`` is given."""
    at_least: float | None = None
    """The lowest value that is good."""
    compare: Literal["value", "difference", "ratio"] = "value"
    """What is held against the limit: the challenger's value, its difference to the champion's, or their ratio."""
    samples: str | None = None
    """PromQL that gives how many samples are behind the value; left out, the challenger's requests in the step."""
    min_samples: int = Field(default=1, ge=1)
    """On fewer samples nothing is held against the limit."""

    @field_validator("name")
    @classmethod
    def _not_taken(cls, value: str) -> str:
        if value in TAKEN or value.endswith("_limit"):
            raise ValueError(f"{value} is the name of a metric that every rollout has; choose another")
        return value

    @field_validator("query", "samples")
    @classmethod
    def _placeholders(cls, value: str | None) -> str | None:
        try:
            names_in(value or "")
        except InputError as error:
            raise ValueError(f"{error.message}; {error.hint}" if error.hint else error.message) from error
        return value

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"query {self.name} has one of at_most and at_least")
        if self.compare != "value" and not names_in(self.query) & {"arm", "version"}:
            raise ValueError(f"query {self.name} compares the arms, so it has to name $arm or $version")
        return self


class PrometheusSection(Section):
    """A Prometheus, or what answers as one, and what is asked of it."""

    url: str | None = None
    """Its address, without ``/api/v1``; e.g. ``http://prometheus:9090``."""
    token_env: str | None = None
    """Name of the environment variable that holds a bearer token."""
    headers_env: dict[str, str] = Field(default_factory=dict)
    """Further headers, each with the name of the environment variable that holds its value."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of this platform's series, e.g. ``{cluster: eu}``, where Prometheus has those of several platforms."""
    timeout_seconds: float = Field(default=5, gt=0, le=120)
    """An answer that takes longer is none."""
    every_seconds: float = Field(default=5, gt=0)
    """Time between two questions; more often than it scrapes nothing is new."""
    settle_seconds: float = Field(default=15, gt=0)
    """The longest that either source may be behind the other: a scrape's interval and its time, and some more."""
    tolerance: float = Field(default=0.02, ge=0, lt=1)
    """Relative difference at which the two sources' counts still agree."""
    max_errors: int = Field(default=12, ge=1)
    """So many questions in a row without an answer, and ``on_inconclusive`` says what happens: a pause at the least."""
    queries: tuple[OwnQuerySection, ...] = ()
    """Metrics of one's own."""

    @field_validator("url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "http://none")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("it is no address of http or https")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("it holds more than a place: put secrets into token_env or headers_env")
        return value

    @field_validator("token_env")
    @classmethod
    def _token(cls, value: str | None) -> str | None:
        _check_variable(value)
        return value

    @field_validator("headers_env")
    @classmethod
    def _headers(cls, value: dict[str, str]) -> dict[str, str]:
        for variable in value.values():
            _check_variable(variable)
        return value

    @field_validator("labels")
    @classmethod
    def _label_names(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not _LABEL.match(name) or name in ("model", "version", "arm", "le"):
                raise ValueError(f"{name!r} is no label to choose by")
        return value

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        names = [query.name for query in self.queries]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two queries are called {twice[0]}")
        return self

    @property
    def judging(self) -> PrometheusSection:
        """Without where it is and how one is let in: what a plan keeps."""
        return self.model_copy(update={"url": None, "token_env": None, "headers_env": {}})


def _check_variable(name: str | None) -> None:
    # The value is not told: it may be the secret itself.
    if name is not None and not _VARIABLE.match(name):
        raise ValueError("it is the NAME of an environment variable: letters, digits and _")
