"""The gates' own sections: what each asks for, and what comes of its answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from sluiceway.config.base import Section


class GateSection(Section):
    """What every gate has."""

    severity: Literal["block", "warn", "info"] = "block"
    """What comes of a FAIL or INCONCLUSIVE: the model goes no further, or the verdict is only printed and kept.
    An ERROR has judged nothing and always blocks."""
    on_inconclusive: Literal["block", "warn"] = "block"
    """What comes of too few rows for the question asked."""
    dry_run: bool = False
    """A new gate, to be watched first: it runs, is printed and kept, and blocks nothing, not even by an ERROR."""
    timeout_seconds: float | None = Field(default=None, gt=0)
    """Of this gate; ``evaluation.timeout_seconds`` otherwise."""
    memory_mb: int | None = Field(default=None, ge=1)
    """Memory that Ray reserves for each of its tasks."""
    retries: int = Field(default=1, ge=0, le=10)
    """How often a task is tried again whose worker has died."""


class PerformanceSection(GateSection):
    """Gate: the thresholds of ``evaluation.thresholds``."""

    judge_by: Literal["point", "interval"] = "point"
    """``interval``: PASS only where all of the 95 % interval is on the good side, FAIL where none of it is."""


class ChampionSection(GateSection):
    """Gate: no worse than the model that serves, on the same rows."""

    margins: dict[str, float] = Field(default_factory=dict)
    """How much worse each metric may be, in its own unit, e.g. ``{auc_roc: 0.01}``. Without any: 0.01 of ``auc_roc``
    for a classifier, 2 % of the champion's ``rmse`` for a regression."""
    require: Literal["non_inferiority", "superiority"] = "non_inferiority"
    """``superiority``: the lower bound of the gain has to be above 0."""
    max_gain: dict[str, float] = Field(default_factory=dict)
    """Gains that nobody believes: a metric that is better by more than this is taken for a leak. Without any: 0.1 of
    ``auc_roc`` for a classifier, half of the champion's ``rmse`` for a regression."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """One-sided error of the test."""
    resamples: int = Field(default=500, ge=100, le=10_000)
    """Paired bootstrap draws, for metrics that have no formula."""

    @field_validator("margins", "max_gain")
    @classmethod
    def _above_zero(cls, value: dict[str, float]) -> dict[str, float]:
        for name, number in value.items():
            if number <= 0:
                raise ValueError(f"{name}: {number:g} is not above 0")
        return value


class FairnessSection(GateSection):
    """Gate: groups are served alike."""

    protected_attributes: tuple[str, ...] = ()
    """Columns that define the groups; they need not be features."""
    intersections: tuple[tuple[str, ...], ...] = ()
    """Attributes that are also taken together, e.g. ``[[age_group, gender]]``."""
    groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Groups that the test rows have to hold, by attribute. Large groups of the training rows have to be there, too."""
    max_disparity: float = Field(default=0.1, gt=0, le=1)
    """Largest difference of AUC between two groups of one attribute; of accuracy where there are several classes."""
    max_demographic_parity: float | None = Field(default=None, gt=0, le=1)
    """Largest difference of the selection rate (share of positive decisions); shown only where left out."""
    max_equal_opportunity: float | None = Field(default=None, gt=0, le=1)
    """Largest difference of the true positive rate; shown only where left out."""
    max_equalized_odds: float | None = Field(default=None, gt=0, le=1)
    """Largest difference of true or false positive rate, whichever is larger; shown only where left out."""
    max_gap_increase: float = Field(default=0.05, gt=0, le=1)
    """How much larger the gap of ``max_disparity`` may be than the champion's on the same rows."""
    min_group_rows: int = Field(default=100, ge=1)
    """Smaller groups are listed and not judged."""
    min_group_positives: int = Field(default=30, ge=1)
    """Groups with fewer positive (or negative) rows are listed and not judged; of several classes it is not asked."""

    @property
    def attributes(self) -> tuple[tuple[str, ...], ...]:
        """The columns of each attribute that is judged: single ones first, then those that are taken together."""
        return (*((name,) for name in self.protected_attributes), *self.intersections)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that it needs of the test and of the training rows."""
        return tuple(dict.fromkeys(name for attribute in self.attributes for name in attribute))

    @field_validator("protected_attributes")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        twice = [name for place, name in enumerate(value) if name in value[:place]]
        if twice:
            raise ValueError(f"{twice[0]!r} stands there twice")
        return value

    @field_validator("intersections")
    @classmethod
    def _of_several(cls, value: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        for columns in value:
            if len(set(columns)) < max(2, len(columns)):
                raise ValueError(f"[{', '.join(columns)}]: an intersection is of two or more different columns")
        sets = [frozenset(columns) for columns in value]
        twice = [columns for place, columns in enumerate(value) if sets[place] in sets[:place]]
        if twice:
            raise ValueError(f"[{', '.join(twice[0])}] stands there twice")
        return value

    @model_validator(mode="after")
    def _groups_of_attributes(self) -> FairnessSection:
        known = [" & ".join(columns) for columns in self.attributes]
        for name in self.groups:
            if name not in known:
                raise ValueError(f"groups.{name}: it may be: {', '.join(known) or 'nothing, no attribute is declared'}")
        return self


class RobustnessSection(GateSection):
    """Gate: small changes of the input must not matter."""

    noise_stds: tuple[float, ...] = (0.001, 0.01, 0.1)
    """Noise added to numeric features, all at once and each alone, in standard deviations of that feature."""
    missing_share: float = Field(default=0.01, ge=0, le=1)
    """Share of values of each feature that go missing in the missing-value test."""
    max_metric_loss: float = Field(default=0.05, gt=0, le=1)
    """Largest loss of the main metric under noise and missing values, relative to the undisturbed one. A candidate may
    lose as much as the champion loses under the same disturbance where that is more."""
    max_flips: float | None = Field(default=None, gt=0, le=1)
    """Largest share of decisions that change under noise and missing values; shown only where left out."""
    max_unseen_loss: float | None = Field(default=None, gt=0)
    """Largest loss where categories have never been seen; shown only where left out."""
    max_range_loss: float | None = Field(default=None, gt=0)
    """Largest loss where numbers lie beyond all that the test rows hold; shown only where left out."""
    max_unit_loss: float | None = Field(default=None, gt=0)
    """Largest loss where one feature comes a thousand times too large; shown only where left out."""
    rows: int = Field(default=50_000, ge=100)
    """Test rows that are disturbed at most, drawn by the seed; a loss of 5 % of an AUC is seen on far fewer. Each
    feature alone is tried on 10,000 of them at most."""

    @field_validator("noise_stds")
    @classmethod
    def _above_zero(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(each <= 0 for each in value):
            raise ValueError(f"{list(value)}: each has to be above 0")
        return value

    @model_validator(mode="after")
    def _something_is_judged(self) -> RobustnessSection:
        judged = (self.noise_stds, self.missing_share, self.max_unseen_loss, self.max_range_loss, self.max_unit_loss)
        if not any(judged):
            raise ValueError(
                "nothing is asked for: give noise_stds, missing_share, max_unseen_loss, max_range_loss or "
                "max_unit_loss; severity: info lets the gate block nothing"
            )
        return self


class DataQualitySection(GateSection):
    """Gate: what the training rows must be like."""

    max_null_share: float = Field(default=0.05, ge=0, le=1)
    """Largest share of missing values of a feature."""
    allow_null: tuple[str, ...] = ()
    """Features that are missing more often by nature; an all-null column fails all the same."""
    min_variance: float = Field(default=1e-6, ge=0)
    """Smallest variance of a numeric feature."""
    min_class_rows: int = Field(default=100, ge=1)
    """Fewest rows of a class."""
    class_balance: tuple[float, float] | None = None
    """Opt-in band of the positive share, e.g. [0.2, 0.8]; of every class's share where there are several."""
    max_duplicate_share: float | None = Field(default=None, ge=0, le=1)
    """Largest share of training rows that are copies of another one (by ``data.key``, else in features and target).
    Without it: none where there is a key, shown only where there is none."""
    max_overlap: float | None = Field(default=None, ge=0, le=1)
    """Largest share of test rows whose key (else features and target) is also among the training rows. Without it:
    none where there is a key, shown only where there is none."""
    max_age_days: float | None = Field(default=None, gt=0)
    """The newest row (by ``data.time``, else the table's version) may be this old at most."""
    contract: Literal["enforce", "ignore"] = "enforce"
    """Hold the table's version against the contract that was declared for it, where there is one."""
    max_drift: float = Field(default=0.25, gt=0)
    """Largest population stability index of a feature against the champion's training version."""
    max_production_drift: float | None = Field(default=None, gt=0)
    """The same against recent requests in production, where they are recorded; shown only where left out."""
    production_days: float = Field(default=7.0, gt=0)
    """How far back requests in production are recent; the newest 100,000 rows of them are looked at."""
    max_association_loss: float = Field(default=0.05, gt=0, le=1)
    """Largest fall of a feature's own AUC for the target against the champion's training version: a column whose
    values no longer belong to their rows keeps its distribution and loses this."""

    @field_validator("class_balance")
    @classmethod
    def _band_of_shares(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 <= value[0] < value[1] <= 1:
            raise ValueError(f"[{value[0]:g}, {value[1]:g}] is no band of shares: 0 <= from < to <= 1, e.g. [0.2, 0.8]")
        return value


class LeakageSection(GateSection):
    """Gate: the features do not know the answer."""

    max_single_feature: float = Field(default=0.98, gt=0.5, le=1)
    """Largest AUC of one feature alone (of a regression: of its upper half); 1 turns it off."""
    allow: tuple[str, ...] = ()
    """Features that may say so much by nature, or that are meant to be an identifier or a date."""
    max_shuffled: float = Field(default=0.05, gt=0, le=0.5)
    """How far above chance (AUC 0.5) a small model may come that is trained on labels which mean nothing."""
    max_time_gain: float = Field(default=0.05, gt=0, le=0.5)
    """How much better a small model may be on later rows when it has seen their time than when it has not, where
    ``data.time`` is declared (AUC; for a regression the relative error)."""
    rows: int = Field(default=50_000, ge=1000)
    """Rows that the small models are trained on at most."""


class CalibrationSection(GateSection):
    """Gate: a probability of 0.2 comes true in one of five."""

    max_error: float = Field(default=0.1, gt=0, le=1)
    """Largest expected calibration error (average distance of the predicted from the observed share)."""
    bins: int = Field(default=15, ge=5, le=100)
    """Bins of equally many rows."""
    calibrator: Literal["none", "isotonic", "sigmoid"] = "none"
    """Fitted on the validation rows and shipped with the model as a table; scores are passed through it."""


class SliceSection(Section):
    """Rows that are looked at by themselves."""

    name: str = Field(min_length=1)
    """For people."""
    where: dict[str, str | bool | int | float | tuple[float | None, float | None]] = Field(min_length=1)
    """Column: value, or ``[from, below]`` with null for an open end; all of them have to hold."""

    @field_validator("where")
    @classmethod
    def _not_empty(cls, value: dict[str, Any]) -> dict[str, Any]:
        for column, wanted in value.items():
            if isinstance(wanted, tuple):
                start, below = wanted
                if start is None and below is None:
                    raise ValueError(f"{column}: a range has one end at least")
                if start is not None and below is not None and start >= below:
                    raise ValueError(f"{column}: nothing is from {start:g} and below {below:g}")
        return value


class SlicesSection(GateSection):
    """Gate: no part of the rows is served far worse than the whole."""

    declared: tuple[SliceSection, ...] = ()
    """Slices that somebody cares about."""
    discover: bool = True
    """Look for bad slices: an error tree on one half of the test rows, confirmed on the other."""
    max_loss: float = Field(default=0.15, gt=0, le=1)
    """How much lower a slice's main metric may be than that of all rows (of a regression: relative)."""
    min_rows: int = Field(default=200, ge=30)
    """Rows that a slice has to have: discovered ones are never smaller, a declared one that is is INCONCLUSIVE."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that the declared slices need of the test rows."""
        return tuple(dict.fromkeys(column for chosen in self.declared for column in chosen.where))

    @field_validator("declared")
    @classmethod
    def _named_once(cls, value: tuple[SliceSection, ...]) -> tuple[SliceSection, ...]:
        names = [chosen.name for chosen in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two slices are called {twice[0]!r}")
        return value


class ServingSection(GateSection):
    """Gate: a real replica gives the same answers, within the budget."""

    tolerance: float = Field(default=1e-6, gt=0)
    """Largest difference of two answers to the same row; of predictions beyond 1 it is relative."""
    rows: int = Field(default=256, ge=1, le=100_000)
    """Test rows that are asked."""
    p50_ms: float | None = Field(default=None, gt=0)
    """Budget of the median latency of one row, by the replica's handle."""
    p99_ms: float | None = Field(default=None, gt=0)
    """Budget of the 99th percentile."""
    load_seconds: float | None = Field(default=None, gt=0)
    """Budget of the time from the bundle's files to the first score."""
    memory_mb_more: float | None = Field(default=None, gt=0)
    """Budget of the memory that the loaded model adds to a replica, MiB."""
    model_mb: float | None = Field(default=None, gt=0)
    """Budget of the bundle's size, MiB."""


class OwnGateSection(GateSection):
    """A gate of your own."""

    function: str = Field(pattern=r"^[A-Za-z_][\w.]*(:[A-Za-z_]\w*)?$")
    """``module:function`` that the workers can import, or the name of an entry point of the group
    ``sluiceway.gates``."""
    needs: tuple[Literal["test", "train", "champion"], ...] = ("test",)
    """What the function gets; each is sent to its task only where asked for."""
    columns: tuple[str, ...] = ()
    """Columns that it looks at beside features, target and key; one that the table lacks is not there."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Given to the function as ``context.options``."""
