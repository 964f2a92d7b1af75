"""What Prometheus tells of a rollout, beside what another observer counts; asked in a thread of its own.

No look waits for Prometheus: a version that fails by the replicas' counters goes back while Prometheus is hung.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from sluiceway.config.stages import ShadowSection
from sluiceway.core.clock import Clock
from sluiceway.core.errors import SluicewayError
from sluiceway.rollout.evidence import Observations, StepSeen
from sluiceway.rollout.journal import Journal, Rollouts
from sluiceway.rollout.own_queries import Subject, ask
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.prometheus_api import PrometheusApi
from sluiceway.rollout.prometheus_counters import CounterReader, Window
from sluiceway.rollout.source_comparison import Comparison, Counts, counts_of
from sluiceway.rollout.state import Phase, RolloutState
from sluiceway.rollout.told import QuerySeen, Told

Observe = Callable[[RolloutPlan, RolloutState], Observations]
# Between a step's entry in the journal and the last replica that follows its weights.
FOLLOW_SECONDS = 2.0


@dataclass(frozen=True)
class _Question:
    plan: RolloutPlan
    state: RolloutState
    # When each step began, and when the promotion was, by the clock of whoever asks.
    begins: tuple[float, ...]
    requests: int
    at: float


@dataclass(frozen=True)
class _Answer:
    at: float
    generation: int
    steps: tuple[StepSeen, ...]
    queries: tuple[QuerySeen, ...]
    totals: Counts
    processes: object
    stale: str


class PrometheusObserver:
    """Adds what Prometheus tells to what another observer sees; a context manager that ends its thread.

    Args:
        observe: sees the replicas' counters.
        api: who is asked.
        labels: further labels of the platform's series there.
        every_seconds: between two questions.
        rollouts: the catalog's; the journal says when each step began.
        clock: the time.
    """

    def __init__(
        self,
        observe: Observe,
        api: PrometheusApi,
        *,
        labels: dict[str, str],
        every_seconds: float,
        rollouts: Rollouts,
        clock: Clock,
    ) -> None:
        self._observe, self._api, self._labels, self._every = observe, api, labels, every_seconds
        self._rollouts, self._clock = rollouts, clock
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="prometheus")
        self._future: Future[_Answer] | None = None
        self._asked = -math.inf
        self._reader: CounterReader | None = None
        self._comparison: Comparison | None = None
        self._told: Told | None = None
        self._generation = -1
        self._judged_since: float | None = None

    def __enter__(self) -> PrometheusObserver:
        return self

    def __exit__(self, *_: object) -> None:
        self._asking.shutdown(wait=True, cancel_futures=True)
        self._api.__exit__(None, None, None)

    def __call__(self, plan: RolloutPlan, state: RolloutState) -> Observations:
        """What the other observer sees, and the newest that Prometheus has told."""
        seen = self._observe(plan, state)
        if not plan.asks_prometheus or not state.generations:
            return seen
        now = self._clock.now().timestamp()
        self._turn_to(state)
        if self._comparison is None:
            self._comparison = Comparison(plan.prometheus.settle_seconds)
        self._comparison.counted(now, counts_of(seen))
        self._take(plan, state)
        if self._told is not None and plan.source == "both":
            self._told = replace(self._told, compared=self._comparison.compared(now))
        if self._future is None and now - self._asked >= self._every:
            self._asked = now
            requests = (seen.promoted if state.phase is Phase.PROBATION else seen.steps[-1].challenger).requests
            question = _Question(plan, state, self._begins(plan, state), requests, now)
            self._future = self._asking.submit(self._answer, question)
        return replace(seen, told=self._told)

    def _turn_to(self, state: RolloutState) -> None:
        if state.generation != self._generation:
            # Other weights: what was told of those before is no evidence for these.
            self._generation, self._told = state.generation, None
        if state.since != self._judged_since:
            # Another step, or one that was resumed: who did not answer then may answer now.
            self._judged_since = state.since
            self._told = None if self._told is None else replace(self._told, errors=0)

    def _take(self, plan: RolloutPlan, state: RolloutState) -> None:
        """The answer that has come meanwhile, if one has."""
        if self._future is None or not self._future.done():
            return
        future, self._future = self._future, None
        try:
            answer = future.result()
        except Exception as error:  # noqa: BLE001 (whatever it is, the source has told nothing, and the rollout goes on)
            why = error.message if isinstance(error, SluicewayError) else f"{type(error).__name__}: {error}"
            before = self._told or Told()
            self._told = replace(before, errors=before.errors + 1, error=why)
            return
        if plan.source == "both" and self._comparison is not None:
            self._comparison.told(answer.at, answer.totals, answer.processes)
        if answer.generation == state.generation:
            self._told = Told(answer.steps, answer.queries, stale=answer.stale)

    def _begins(self, plan: RolloutPlan, state: RolloutState) -> tuple[float, ...]:
        began: dict[int, float] = {}
        for entry in Journal.open(self._rollouts, plan.rollout_id).entries:
            began.setdefault(entry.state.generation, entry.time)
        generations = [*state.generations, *([state.generation] if state.phase is Phase.PROBATION else [])]
        return tuple(began.get(generation, state.since) for generation in generations)

    # From here on in the thread.

    def _answer(self, question: _Question) -> _Answer:
        """Ask everything.

        Raises:
            BackendError: Prometheus does not answer.
        """
        plan, state = question.plan, question.state
        now, ahead = self._time()
        # Not beyond the question: by the time of the answer the weights may be others.
        now = min(now, question.at + ahead)
        begins = [begin + ahead for begin in question.begins]
        steps: tuple[StepSeen, ...] = ()
        totals: Counts = {}
        processes: object = None
        stale = ""
        if plan.source != "counters" and state.phase is not Phase.PROBATION:
            reader = self._read(plan, begins, now)
            found = reader.steps(len(begins))
            steps = tuple(StepSeen(plan.steps[i].weight, *arms) for i, arms in enumerate(found))
            settle = plan.prometheus.settle_seconds
            totals, processes = reader.totals(), reader.processes(alive_since=now - settle)
            stale = _stale(reader.newest, now - settle, plan.endpoint)
        challenger, champion = _subjects(plan, state, begins, now)
        queries = tuple(
            ask(self._api, plan, query, challenger=challenger, champion=champion, requests=question.requests)
            for query in plan.prometheus.queries
        )
        return _Answer(question.at, state.generation, steps, queries, totals, processes, stale)

    def _time(self) -> tuple[float, float]:
        """Prometheus's time, and how far its clock is ahead of this one; 0 where that may be the question's time."""
        before = self._clock.now().timestamp()
        now = self._api.now()
        after = self._clock.now().timestamp()
        ahead = now - (before + after) / 2
        return now, ahead if abs(ahead) > max(1.0, after - before) else 0.0

    def _read(self, plan: RolloutPlan, begins: Sequence[float], now: float) -> CounterReader:
        if self._reader is None:
            self._reader = CounterReader(self._api, endpoint=plan.endpoint, version=plan.version, labels=self._labels)
        ends = [*begins[1:], math.inf]
        windows = [Window(begin + FOLLOW_SECONDS, end) for begin, end in zip(begins, ends, strict=True)]
        self._reader.read(windows, now)
        return self._reader


def _stale(newest: float | None, wanted: float, endpoint: str) -> str:
    if newest is None:
        return f"Prometheus has no series of endpoint {endpoint}: see `sluiceway monitor discovery`, and the labels"
    if newest < wanted:
        return f"Prometheus has scraped no process of endpoint {endpoint} lately: see its targets"
    return ""


def _subjects(
    plan: RolloutPlan, state: RolloutState, begins: Sequence[float], now: float
) -> tuple[Subject, Subject | None]:
    """The challenger, and the champion beside it: at full weight the champion of the earlier steps."""
    if state.phase is Phase.PROBATION:
        return Subject(plan.version, "champion", now - begins[-1], now), None
    arm = "shadow" if isinstance(plan.steps[state.step], ShadowSection) else "challenger"
    challenger = Subject(plan.version, arm, now - begins[-1], now)
    if plan.champion is None:
        return challenger, None
    if plan.steps[state.step].weight < 1:
        return challenger, Subject(plan.champion.version, "champion", now - begins[-1], now)
    if len(begins) < 2:
        return challenger, None
    return challenger, Subject(plan.champion.version, "champion", begins[-1] - begins[0], begins[-1])
