"""Doors between rooms that may not know each other; :mod:`sluiceway.wiring` joins them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class Scorer(Protocol):
    """Gives scores for rows, in process or served; gates know models only by this."""

    def score(self, rows: pa.Table) -> np.ndarray:
        """Score rows.

        Args:
            rows: one column a feature, under the names of the model's schema; further columns are ignored.

        Returns:
            shape (n_rows,), float64: probability of the positive class, or the predicted value for regression; shape
            (n_rows, classes) of several classes.
        """


@dataclass(frozen=True)
class ReplicaFacts:
    """What a replica tells of itself.

    Attributes:
        load_seconds: from the bundle's files to the first score, or None where nobody measured it.
        memory_bytes: what the loaded model added to the replica's resident memory, or None.
        model_bytes: of the bundle.
    """

    load_seconds: float | None
    memory_bytes: int | None
    model_bytes: int


@dataclass(frozen=True)
class ReplicaAnswers:
    """What a replica answered.

    Attributes:
        scores: one a row; of several classes a list each.
        decisions: one a row, as clients are told: 1.0 or 0.0 by the model's own threshold, one of several classes, or
            the score of a model that decides nothing.
        seconds: that each request took, seen by the one who asked; as many as there were requests.
    """

    scores: list[float] | list[list[float]]
    decisions: list[float | int | str]
    seconds: list[float]


class Replica(Protocol):
    """A model in a real replica that gets no traffic yet."""

    def ask(self, rows: Sequence[Mapping[str, Any]]) -> ReplicaAnswers:
        """Ask for rows, one request each, one after the other.

        Args:
            rows: plain values by feature; None is missing.

        Raises:
            RequestError: the replica refuses a row; the message has the first reason.
            BackendError: it does not answer, or never came up.
        """

    def ask_together(self, rows: Sequence[Mapping[str, Any]]) -> ReplicaAnswers:
        """Ask for all rows in as few requests as the endpoint's limits allow; errors as of :meth:`ask`."""

    def facts(self) -> ReplicaFacts:
        """Load time, memory and size.

        Raises:
            BackendError: it does not answer, or never came up.
        """


class Traffic(Protocol):
    """Moves the weights between the arms of one endpoint."""

    def current(self) -> Any:
        """The traffic document that the catalog holds now, or None before the first rollout."""

    def apply(self, document: Any) -> None:
        """Make replicas follow a document that is already in the catalog; idempotent by generation."""


class Hook(Protocol):
    """Runs before or after a change to the repository of tables."""

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Look at a change; raise to say no.

        Args:
            event: plain values that JSON has: ``point``, ``kind``, ``branch`` (what moves or is made), ``source``,
                ``commit``, ``message``, ``author``, ``metadata``, and ``tables``: URI to ``{"uri", "version",
                "digest"}`` of what comes in. A merge also has ``merge`` (its id: whoever hears of one twice knows it
                by that), ``base`` (the commit where the change begins that comes in) and ``strategy``.
        """


class Progress(Protocol):
    """Shows a person how far long work is; the CLI draws it, a log writes it, tests count it."""

    def stage(self, name: str, detail: str = "") -> None:
        """A new stage of the work begins."""

    def advance(self, text: str, fraction: float | None = None) -> None:
        """The present stage moved on.

        Args:
            text: one short line, e.g. ``fold 2/5 round 80 auc 0.913``.
            fraction: share of the stage that is done, 0 to 1, or None where nobody knows.
        """


class SilentProgress:
    """Shows nothing: for library use and tests."""

    def stage(self, name: str, detail: str = "") -> None:
        """Ignore."""

    def advance(self, text: str, fraction: float | None = None) -> None:
        """Ignore."""
