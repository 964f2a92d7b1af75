"""A candidate in a real replica before it gets any traffic: deployed, asked through a door, taken away again."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatus

from sluiceway.config.serving import ServingSection
from sluiceway.core.doors import Replica, ReplicaAnswers, ReplicaFacts
from sluiceway.core.errors import BackendError, RequestError
from sluiceway.serving.deploy import DEPLOY_SECONDS, deploy_application
from sluiceway.serving.handles import driver_handle
from sluiceway.serving.instance import last_line, serve_address, start_serve, stop_serve
from sluiceway.serving.preflight_replica import PREFLIGHT_DEPLOYMENT, PreflightSpec, preflight_application

logger = logging.getLogger(__name__)

# A replica that has answered once and then takes so long for one request is not fit for users.
ANSWER_SECONDS = 30.0
# How long Serve's controller may take to note that an application has to go.
REMOVE_SECONDS = 10.0
POLL_SECONDS = 0.05
# Around the rows of a request: {"rows":[ and ]}.
_AROUND = 10

_FAILURES = (RayError, RayServeException, TimeoutError, RuntimeError)


@contextmanager
def preflight(spec: PreflightSpec, *, seconds: float = DEPLOY_SECONDS) -> Iterator[Replica]:
    """A candidate in a real replica, for as long as the context is open.

    Starts Serve where none runs, as a deployment would, and leaves it running. Other applications are not touched; what
    drivers of this model that are gone have left behind is removed.

    Args:
        spec: the candidate.
        seconds: how long its replica may take to come up.

    Yields:
        The door to it, which pickles. Where it does not come up nothing is raised here: whoever asks the door gets a
        ``BackendError`` with the reason.
    """
    with ExitStack() as undoing:
        yield _deployed(spec, seconds, undoing)


class ServedReplica:
    """A candidate behind a Serve handle (``core.doors.Replica``); pickles, and opens its handle where it is used.

    Args:
        application: its Serve application.
        serving: the endpoint's limits.
    """

    def __init__(self, application: str, serving: ServingSection) -> None:
        self._application, self._serving = application, serving
        self._opened: Any = None

    def ask(self, rows: Sequence[Mapping[str, Any]]) -> ReplicaAnswers:
        """Ask for rows, one request each, one after the other.

        Raises:
            RequestError: the replica refuses a row.
            BackendError: it does not answer.
        """
        return self._answers([_body([_encoded(row)]) for row in rows])

    def ask_together(self, rows: Sequence[Mapping[str, Any]]) -> ReplicaAnswers:
        """Ask for all rows in as few requests as the limits allow; errors as of :meth:`ask`."""
        return self._answers(
            list(
                packed(
                    [_encoded(row) for row in rows],
                    max_rows=self._serving.max_rows,
                    max_bytes=self._serving.max_body_bytes,
                )
            )
        )

    def facts(self) -> ReplicaFacts:
        """Load time, memory and size.

        Raises:
            BackendError: it does not answer.
        """
        try:
            facts: ReplicaFacts = self._handle().facts.remote().result(timeout_s=ANSWER_SECONDS)
        except _FAILURES as error:
            raise self._silent(error) from error
        return facts

    def __reduce__(self) -> tuple[Any, ...]:
        return ServedReplica, (self._application, self._serving)

    def _answers(self, bodies: Sequence[bytes]) -> ReplicaAnswers:
        answers = ReplicaAnswers([], [], [])
        for body in bodies:
            status, content, seconds = self._request(body)
            document = json.loads(content)
            if status != 200:
                raise _refusal(status, document)
            for prediction in document["predictions"]:
                answers.scores.append(prediction.get("probabilities", prediction["score"]))
                answers.decisions.append(prediction["decision"])
            answers.seconds.append(seconds)
        return answers

    def _request(self, body: bytes) -> tuple[int, bytes, float]:
        try:
            handle = self._handle()
            begun = time.perf_counter()
            status, content = handle.predict.remote(body).result(timeout_s=ANSWER_SECONDS)
            seconds = time.perf_counter() - begun
        except _FAILURES as error:
            raise self._silent(error) from error
        return status, content, seconds

    def _handle(self) -> Any:
        if self._opened is None:
            handle = driver_handle(PREFLIGHT_DEPLOYMENT, application=self._application)
            # The first call learns where the replica is; no request's latency is to tell of it.
            handle.facts.remote().result(timeout_s=ANSWER_SECONDS)
            self._opened = handle
        return self._opened

    def _silent(self, error: Exception) -> BackendError:
        why = last_line(error)
        return BackendError(f"the candidate's replica does not answer: {why}", application=self._application)


class AbsentReplica:
    """A candidate that did not come up (``core.doors.Replica``): whoever asks hears why.

    Args:
        reason: why not.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def ask(self, rows: Sequence[Mapping[str, Any]]) -> ReplicaAnswers:
        """Say why not.

        Raises:
            BackendError: always.
        """
        raise self._error()

    def ask_together(self, rows: Sequence[Mapping[str, Any]]) -> ReplicaAnswers:
        """Say why not, as :meth:`ask`."""
        raise self._error()

    def facts(self) -> ReplicaFacts:
        """Say why not, as :meth:`ask`."""
        raise self._error()

    def _error(self) -> BackendError:
        return BackendError(f"the candidate's replica could not be asked: {self.reason}")


def packed(rows: Sequence[str], *, max_rows: int, max_bytes: int) -> Iterator[bytes]:
    """The bodies of as few requests as limits allow, in the order of the rows.

    Args:
        rows: each a JSON object.
        max_rows: in one request.
        max_bytes: of one request; a row that is larger by itself comes alone.
    """
    waiting: list[str] = []
    size = _AROUND
    for row in rows:
        more = len(row.encode()) + 1
        if waiting and (len(waiting) == max_rows or size + more > max_bytes):
            yield _body(waiting)
            waiting, size = [], _AROUND
        waiting.append(row)
        size += more
    if waiting:
        yield _body(waiting)


def _encoded(row: Mapping[str, Any]) -> str:
    return json.dumps(row, separators=(",", ":"), allow_nan=False)


def _body(rows: Sequence[str]) -> bytes:
    return ('{"rows":[' + ",".join(rows) + "]}").encode()


def _refusal(status: int, document: Mapping[str, Any]) -> BackendError | RequestError:
    """The error of an answer that is no 200."""
    problems = document.get("problems") or [{}]
    first = " ".join(str(problems[0][key]) for key in ("path", "problem") if key in problems[0])
    text = f"{document.get('error', 'no reason given')}" + (f": {first}" if first else "")
    if 400 <= status < 500:
        return RequestError(text, status=status, problems=tuple(document.get("problems", ())))
    return BackendError(f"the candidate's replica answered {status}: {text}")


def _deployed(spec: PreflightSpec, seconds: float, undoing: ExitStack) -> Replica:
    """The door to a replica that runs, or to the reason why none does; what has to be undone goes on the stack."""
    application = _name(spec.model)
    try:
        _start_serve(spec.serving, undoing)
        _remove_leftovers(spec.model)
        undoing.callback(_remove, application)
        candidate = preflight_application(spec, cpus=_reserved_cpus(spec.serving.replica_cpus))
        deploy_application(candidate, name=application, route_prefix=None, seconds=seconds)
    except (BackendError, *_FAILURES) as error:
        return AbsentReplica(error.message if isinstance(error, BackendError) else last_line(error))
    return ServedReplica(application, spec.serving)


def _reserved_cpus(asked: float) -> float:
    """An endpoint's, unless the gates, whose tasks take a whole CPU, would then wait for it for ever."""
    there = float(ray.cluster_resources().get("CPU", 0.0))
    return 0.0 if asked <= there < asked + 1 else asked


def _start_serve(serving: ServingSection, undoing: ExitStack) -> None:
    """Start Serve where none runs.

    Where somebody has the port, a running endpoint of another Ray most likely, the candidate can be asked all the same:
    it needs none. Serve then takes a free port, and is stopped afterwards, or a deployment would follow it there.
    """
    try:
        start_serve(serving)
    except BackendError:
        if serve_address() is not None or not serving.port:
            raise
        undoing.callback(_stop_if_empty)
        start_serve(serving.model_copy(update={"port": 0}))


def _stop_if_empty() -> None:
    left = [name for name, state in serve.status().applications.items() if state.status != ApplicationStatus.DELETING]
    if not left:
        stop_serve()


def _name(model: str) -> str:
    """Name of a new application; it tells which Ray job it belongs to, which ends with its driver."""
    return f"{_prefix(model)}{ray.get_runtime_context().get_job_id()}-{uuid.uuid4().hex[:8]}"


def _prefix(model: str) -> str:
    return f"{model}-preflight-"


def _remove_leftovers(model: str) -> None:
    """Remove what drivers of this model have left behind; what one that lives has deployed stays."""
    pattern = re.compile(re.escape(_prefix(model)) + "([0-9a-f]+)-[0-9a-f]{8}")
    found = {name: match[1] for name in serve.status().applications if (match := pattern.fullmatch(name))}
    if not found:
        return
    living = ray.get(ray.remote(_living_jobs).options(num_cpus=0).remote())
    for name, job in found.items():
        if job not in living:
            logger.warning("removes the candidate's replica of a driver that is gone: %s", name)
            _remove(name)


def _living_jobs() -> set[str]:
    """Hex ids of the jobs whose driver lives; in a task, because a Ray Client cannot ask."""
    return {job["JobID"] for job in ray._private.state.jobs() if not job["IsDead"]}


def _remove(application: str) -> None:
    """Have Serve take an application away; returns when its controller has noted it, and never raises."""
    try:
        serve.delete(application, _blocking=False)
        deadline = time.monotonic() + REMOVE_SECONDS
        while time.monotonic() < deadline:
            state = serve.status().applications.get(application)
            if state is None or state.status is ApplicationStatus.DELETING:
                return
            time.sleep(POLL_SECONDS)
        logger.warning("Serve has not removed %s", application)
    except (*_FAILURES, KeyError) as error:
        logger.warning("the application %s may be left behind: %s", application, last_line(error))
