"""How a model reaches its users: the section ``deployment``."""

from __future__ import annotations

import re
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_serializer, field_validator, model_validator

from sluiceway.config.base import Section
from sluiceway.config.metric_source import PrometheusSection
from sluiceway.config.stages import AbSection, LinearSection, ShadowSection, Stage, StageSection, StepSection
from sluiceway.core.traffic import LATENCY_QUANTILES

Moment = Literal["before_start", "before_increase", "before_promotion", "step", "paused", "promoted", "rolled_back"]
METRICS = ("error_rate", *LATENCY_QUANTILES, "accuracy", "score_shift", "loss", "business")
TRIGGER = re.compile(r"^\s*(accuracy_drop)\s*>\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*$")


class LimitsSection(Section):
    """Fixed limits of the challenger's own numbers in a step, whatever the champion does; none where left out.

    A limit is broken where the number itself, not only its interval, is beyond it, on ``min_requests`` or more.
    """

    error_rate: float | None = Field(default=None, ge=0, lt=1)
    """Share of the challenger's requests that fail."""
    latency_p50: float | None = Field(default=None, gt=0)
    """The challenger's median, seconds."""
    latency_p95: float | None = Field(default=None, gt=0)
    """The challenger's 95th percentile, seconds."""
    latency_p99: float | None = Field(default=None, gt=0)
    """The challenger's 99th percentile, seconds."""
    accuracy: float | None = Field(default=None, gt=0, le=1)
    """Share of its decisions that are right, at least."""
    min_requests: int = Field(default=100, ge=1)
    """On fewer requests, or pairs with an outcome, no limit is held against anything."""
    total_errors: int | None = Field(default=None, ge=0)
    """More failed requests of the challenger than this over the whole rollout send it back, however many there are."""
    consecutive_errors: int | None = Field(default=None, ge=1)
    """More failures of the challenger than this one after the other, in a replica, send it back. Below
    ``platform.serving.breaker.errors_in_row`` it comes before the breaker does."""


class BusinessSection(Section):
    """How much less a challenger's answers may be worth: the ``value`` that feedback gives, more is better."""

    low: float
    """Smallest value that can be; smaller ones count as this, and are counted."""
    high: float
    """Largest value that can be; larger ones count as this, and are counted."""
    absolute: float | None = Field(default=None, gt=0)
    """How far below the champion's the mean may be, in the unit of the values."""
    relative: float | None = Field(default=None, gt=0, lt=1)
    """The same as a share of the champion's mean; one of the two is given."""
    min_values: int = Field(default=100, ge=2)
    """Fewest values of each arm that a step is judged on."""

    @model_validator(mode="after")
    def _one_margin(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if (self.absolute is None) == (self.relative is None):
            raise ValueError("business has one of absolute and relative")
        if self.relative is not None and self.low < 0:
            raise ValueError("relative needs values of 0 or more: give low: 0, or an absolute margin")
        if self.absolute is not None and self.absolute >= self.high - self.low:
            raise ValueError(f"the margin {self.absolute:g} allows everything from {self.low:g} to {self.high:g}")
        return self


class MarginsSection(Section):
    """How much worse a challenger may be and still be promoted, and at which certainty that is judged."""

    error_rate: float = Field(default=0.02, gt=0, le=1)
    """Difference of the error rates, absolute."""
    latency_p50_ratio: float | None = Field(default=None, ge=1)
    """The challenger's median may be so many times the champion's ...; left out, it is not judged."""
    latency_p50_seconds: float | None = Field(default=None, ge=0)
    """... plus so much; left out, as much as ``latency_p99_seconds``."""
    latency_p95_ratio: float | None = Field(default=None, ge=1)
    """The challenger's 95th percentile may be so many times the champion's ...; left out, it is not judged."""
    latency_p95_seconds: float | None = Field(default=None, ge=0)
    """... plus so much; left out, as much as ``latency_p99_seconds``."""
    latency_p99_ratio: float = Field(default=1.5, ge=1)
    """The challenger's p99 may be so many times the champion's ..."""
    latency_p99_seconds: float = Field(default=0.05, ge=0)
    """... plus so much: the hop to its own deployment is part of it."""
    accuracy: float = Field(default=0.02, gt=0, le=1)
    """Difference of the accuracy on pairs, absolute."""
    score_shift: float | None = Field(default=None, gt=0, lt=4)
    """Mean distance of the two models' scores on pairs; left out, a new model may say what it likes."""
    loss: float | None = Field(default=None, gt=0, lt=4)
    """Difference of the mean loss on pairs; left out, it is not judged. Of a regression it stands for the accuracy."""
    scale: float | None = Field(default=None, gt=0)
    """Of a regression: the distance of two scores, or of two errors, that counts as 1 in these two. Left out, the
    standard deviation of the champion's scores."""
    business: BusinessSection | None = None
    """What the answers are worth; left out, it is not judged."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """One-sided error of the non-inferiority test that promotion needs."""
    rollback_alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """Chance that the anytime-valid test rolls back a challenger that is no worse, over the whole rollout."""
    min_pairs: int = Field(default=100, ge=2)
    """Fewest pairs, for accuracy and loss with an outcome, that a step is judged on, whatever their spread."""

    @model_validator(mode="after")
    def _whole_latencies(self) -> Self:
        for name in LATENCY_QUANTILES:
            if self.of_latency(name) is None and getattr(self, f"{name}_seconds") is not None:
                raise ValueError(f"{name}_seconds says nothing without {name}_ratio: give both, or none")
        return self

    def of_latency(self, metric: str) -> tuple[float, float] | None:
        """(ratio, seconds) of a metric of ``LATENCY_QUANTILES``; None where it is not judged."""
        ratio, seconds = getattr(self, f"{metric}_ratio"), getattr(self, f"{metric}_seconds")
        return None if ratio is None else (ratio, self.latency_p99_seconds if seconds is None else seconds)


class RollbackSection(Section):
    """When the champion takes over again."""

    enabled: bool = True
    """False: nothing goes back by itself; what fails holds, and on probation waits for a person."""
    trigger: str = "accuracy_drop > 5%"
    """A fall of the challenger's accuracy below the champion's on the same requests, relative to the champion's."""

    @field_validator("trigger")
    @classmethod
    def _known_form(cls, value: str) -> str:
        if not TRIGGER.match(value):
            raise ValueError(f"{value!r} is not of the form 'accuracy_drop > 5%'")
        if not 0 < _fraction(value) < 1:
            raise ValueError(f"{value!r}: give more than 0% and less than 100%, e.g. 'accuracy_drop > 5%'")
        return value

    @property
    def accuracy_drop(self) -> float:
        """The trigger's fraction, e.g. 0.05."""
        return _fraction(self.trigger)


def _fraction(trigger: str) -> float:
    match = TRIGGER.match(trigger)
    assert match is not None  # the validator has seen to it
    return float(match[2]) / 100


class RolloutHookSection(Section):
    """Something that is asked before a rollout moves, or told after it has."""

    on: tuple[Moment, ...] = Field(min_length=1)
    """When: what is ``before_`` something is asked, and keeps the rollout where it is unless it says yes."""
    command: str | None = None
    """A shell command; the event is JSON on its standard input, exit code 0 says yes."""
    url: str | None = None
    """A webhook: the event is posted as JSON, a status of 2xx says yes."""
    timeout_seconds: float = Field(default=30, gt=0)
    """Whoever takes longer does not say yes."""
    retries: int = Field(default=2, ge=0, le=10)
    """It is asked so many times more before that counts."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("a hook has one of command and url")
        if self.url is not None:
            _check_address(self.url)
        return self


class ProbationSection(Section):
    """The time after a promotion in which it is undone by itself when it turns out bad."""

    seconds: float = Field(default=0, ge=0)
    """How long; 0 is none. The old champion stays in memory, and outcomes that come late are judged on."""


class ReplaySection(Section):
    """Requests for an environment without users: rows of a table replayed over HTTP, their outcomes sent back."""

    path: str | None = None
    """Table whose rows are sent; the training table's test rows when left out."""
    version: str | int | None = None
    """Its version; the newest when left out."""
    where: dict[str, int | str] = Field(default_factory=dict)
    """Only rows with these values, e.g. ``{month: 10}``."""
    connections: int = Field(default=8, ge=1, le=64)
    """Requests under way at once."""
    max_requests: int = Field(default=200_000, ge=1)
    """The replay starts again from the first row when rows run out, and ends after so many requests."""


class PolicySection(Section):
    """How a version comes to the users of an environment."""

    strategy: Literal["canary", "linear", "blue_green", "ab"] = "canary"
    """``canary``: the steps below, judged; ``linear``: steps of one size, judged, each of a shortest time;
    ``blue_green``: the version is brought up beside the champion and then gets all requests at once; ``ab``: one or
    more versions get fixed weights, and the best one wins, or the champion stays."""
    shadow: ShadowSection | None = None
    """A stage before the first step in which it answers nobody and sees a copy of the requests; none when left out."""
    steps: tuple[StepSection, ...] = Field(
        default=tuple(StepSection(weight=w) for w in (0.05, 0.25, 0.5, 1.0)), min_length=1
    )
    """Weights of the canary; the last one is 1."""
    linear: LinearSection = LinearSection()
    """Of the strategy ``linear``."""
    blue_green: StageSection = StageSection()
    """Of the strategy ``blue_green``: the time after the switch in which all requests are the new version's."""
    ab: AbSection = AbSection()
    """Of the strategy ``ab``."""
    baseline: Literal["champion", "fresh"] = "champion"
    """Whom a version is judged against: ``champion``: its requests of the same step; ``fresh``: a second deployment of
    the champion's version, begun with the challenger and with as many requests."""
    margins: MarginsSection = MarginsSection()
    """What is still good enough."""
    limits: LimitsSection = LimitsSection()
    """What is too bad whatever the champion does."""
    source: Literal["counters", "prometheus", "both"] = "counters"
    """Where requests, errors and latencies are read: the replicas' counters, Prometheus, or both, which must agree."""
    prometheus: PrometheusSection = PrometheusSection()
    """Of the sources ``prometheus`` and ``both``, and of queries of one's own, which go with any source."""
    dry_run: tuple[str, ...] = ()
    """Metrics, and queries of one's own, that are measured and told and decide nothing."""
    rollback: RollbackSection = RollbackSection()
    """When to go back."""
    on_inconclusive: Literal["rollback", "pause", "hold", "continue"] = "rollback"
    """What a step's deadline without enough evidence leads to; ``hold`` waits on, ``continue`` takes the next step."""
    probation: ProbationSection = ProbationSection()
    """What a promotion is watched for afterwards."""
    hooks: tuple[RolloutHookSection, ...] = ()
    """Who is asked before a rollout moves, and told after it has."""
    notify: tuple[str, ...] = ()
    """Addresses that get ``{"text": ...}`` by POST, as Slack takes it, when a rollout moves, pauses or ends."""
    replay: ReplaySection | None = None
    """Traffic for environments that have no users, such as a laptop."""

    @field_validator("steps")
    @classmethod
    def _rising_to_one(cls, value: tuple[StepSection, ...]) -> tuple[StepSection, ...]:
        weights = [step.weight for step in value]
        if weights != sorted(set(weights)) or weights[-1] != 1:
            raise ValueError(f"the weights {weights} have to rise and end with 1")
        if weights[0] == 1:
            raise ValueError("a canary that begins with 1 leaves the champion no requests to compare with: begin lower")
        return value

    @model_validator(mode="after")
    def _judged_at_all(self) -> Self:
        queries = [query.name for query in self.prometheus.queries]
        # Here and not where a query is read: a plan that an earlier release has written is still to be read.
        taken = sorted({"champion_requests", "consecutive_errors"} & set(queries))
        if taken:
            raise ValueError(f"prometheus.queries: rollouts have a {taken[0]} of their own; rename the query")
        for name in ("score_shift", "loss", "business"):
            judged = getattr(self.margins, name) is not None
            if name in self.dry_run and not judged:
                raise ValueError(f"dry_run names {name}, which is not measured without margins.{name}")
            if judged and name in queries:
                raise ValueError(f"prometheus.queries: margins.{name} judges a {name}; rename the query")
        for name in LATENCY_QUANTILES:
            judged = self.margins.of_latency(name) is not None
            if name in self.dry_run and name not in queries and not judged:
                raise ValueError(f"dry_run names {name}, which is not measured without margins.{name}_ratio")
            if judged and name in queries:
                raise ValueError(f"prometheus.queries: margins.{name}_ratio judges a {name}; rename the query")
        return self

    @field_validator("notify")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for place in value:
            _check_address(place)
        return value

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        own = tuple(query.name for query in self.prometheus.queries)
        unknown = sorted(set(self.dry_run) - {*METRICS, *own})
        if unknown:
            raise ValueError(f"dry_run: there is no metric {unknown[0]}; there are {', '.join((*METRICS, *own))}")
        if self.asks_prometheus and self.prometheus.url is None:
            raise ValueError("prometheus.url: say where Prometheus is, e.g. http://127.0.0.1:9090")
        shortest = min(step.max_seconds for step in self.planned_steps)
        if self.source == "both" and shortest <= 8 * self.prometheus.settle_seconds:
            raise ValueError(
                f"a step of {shortest:g} s is over before both sources are compared, which takes eight times "
                f"prometheus.settle_seconds ({self.prometheus.settle_seconds:g} s)"
            )
        return self

    @model_validator(mode="after")
    def _told_by_prometheus(self) -> Self:
        plain = self.strategy in ("canary", "linear") and self.shadow is None
        if self.source != "counters" and not (plain and self.baseline == "champion"):
            raise ValueError(
                f"source {self.source} goes with the steps of canary and linear against the champion: without shadow, "
                "and with baseline champion; use source counters"
            )
        if self.prometheus.queries and (self.strategy == "ab" or self.baseline == "fresh"):
            other = "strategy ab has several" if self.strategy == "ab" else "baseline fresh is a second one"
            raise ValueError(f"prometheus.queries ask about one challenger, and {other}: leave one of them out")
        return self

    @property
    def asks_prometheus(self) -> bool:
        """True where Prometheus is asked anything."""
        return self.source != "counters" or bool(self.prometheus.queries)

    @property
    def planned_steps(self) -> tuple[Stage, ...]:
        """The stages of the strategy, the shadow before them."""
        if self.strategy == "ab":
            return (self.ab,)
        first = () if self.shadow is None else (self.shadow,)
        if self.strategy == "blue_green":
            # Before the switch it is loaded, and the champion's numbers are gathered that it is judged against.
            return (*(first or (ShadowSection(share=0),)), StepSection(weight=1.0, **self.blue_green.model_dump()))
        return (*first, *(self.linear.steps if self.strategy == "linear" else self.steps))

    @model_validator(mode="after")
    def _ends_some_time(self) -> Self:
        if self.max_failures is not None and self.on_inconclusive in ("hold", "continue"):
            raise ValueError(
                f"linear.max_failures says when it goes back or pauses; on_inconclusive {self.on_inconclusive} does not"
            )
        return self

    @model_validator(mode="after")
    def _test_of_something(self) -> Self:
        if self.strategy != "ab":
            return self
        total = self.ab.weight * (1 + len(self.ab.others))
        if total >= 1:
            raise ValueError(f"the versions of ab have {total:g} of the requests together; the champion needs some")
        if not (self.ab.min_seconds or self.ab.min_requests):
            raise ValueError("ab lasts for min_seconds, or until each version has min_requests: give one of them")
        if self.shadow is not None or self.on_inconclusive == "continue" or self.ab.manual:
            raise ValueError(
                "ab has no shadow before it and ends by its evidence: neither continue nor manual go with it"
            )
        return self

    @model_validator(mode="after")
    def _beside_a_challenger(self) -> Self:
        if self.baseline == "fresh" and self.strategy not in ("canary", "linear"):
            raise ValueError(
                f"baseline fresh stands beside the steps of canary and linear, and {self.strategy} has none"
            )
        return self

    @property
    def max_failures(self) -> int | None:
        """``linear.max_failures`` where that is the strategy; None: each step has its own longest time."""
        return self.linear.max_failures if self.strategy == "linear" else None


class DeploymentSection(PolicySection):
    """From the registry to all users."""

    environments: tuple[str, ...] = Field(default=("production",), min_length=1)
    """In this order; the next one begins when the one before ended well."""
    per_environment: dict[str, PolicySection] = Field(default_factory=dict)
    """What is other in an environment, by its name: any key of ``deployment`` but the one above and this one.
    Sections are merged key by key, lists are replaced."""

    @field_serializer("per_environment")
    def _as_given(self, value: dict[str, PolicySection]) -> dict[str, Any]:
        # What is not said there is not other: a configuration that is written down and read again has to know.
        return {name: policy.model_dump(mode="json", exclude_unset=True) for name, policy in value.items()}

    @model_validator(mode="after")
    def _known_environments(self) -> Self:
        unknown = [name for name in self.per_environment if name not in self.environments]
        if unknown:
            raise ValueError(f"per_environment.{unknown[0]}: environments are {', '.join(self.environments)}")
        for name in self.per_environment:
            try:
                self.of(name)
            except ValidationError as error:
                told = error.errors()[0]
                place = ".".join(str(part) for part in ("per_environment", name, *told["loc"]))
                raise ValueError(f"{place}: {told['msg'].removeprefix('Value error, ')}") from error
        return self

    def of(self, environment: str) -> PolicySection:
        """What counts in an environment."""
        own = self.per_environment.get(environment)
        if own is None:
            return self
        given = self.model_dump(exclude_unset=True, exclude={"environments", "per_environment"})
        return PolicySection.model_validate(_merged(given, own.model_dump(exclude_unset=True)))


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def _check_address(place: str) -> None:
    parts = urlsplit(place)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{parts.scheme or place[:20]!r} is no address of http or https")
