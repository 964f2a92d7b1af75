"""Asks a Prometheus, or what answers as one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sluiceway.config.metric_source import PrometheusSection
from sluiceway.core.errors import BackendError, InputError

if TYPE_CHECKING:
    import httpx

MAX_BYTES = 64 * 2**20
SAID = 300  # of an answer, for messages
# What Prometheus says of a query that it will not answer, however often it is asked.
REFUSED = {400: "bad_data", 422: "execution"}


@dataclass(frozen=True)
class Series:
    """One series of an answer: its labels, and (UTC epoch seconds, value) of each sample."""

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Answer:
    """What a query gave.

    Attributes:
        kind: ``vector``, ``scalar``, ``matrix`` or ``string``.
        series: of a scalar one without labels, of a string none.
    """

    kind: str
    series: tuple[Series, ...]


class PrometheusApi:
    """Its HTTP API; used by one thread at a time, a context manager that hangs up.

    Args:
        url: where it is, without ``/api/v1``.
        headers: of every question.
        timeout_seconds: for a whole answer.
    """

    def __init__(self, url: str, *, headers: Mapping[str, str], timeout_seconds: float) -> None:
        self._url = url.rstrip("/") + "/api/v1/query"
        self._headers, self._seconds = dict(headers), timeout_seconds
        self._client: httpx.Client | None = None

    def __enter__(self) -> PrometheusApi:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        if self._client is not None:
            self._client.close()

    def now(self) -> float:
        """Its time, UTC epoch seconds.

        Raises:
            BackendError: as :meth:`ask`.
        """
        answer = self.ask("time()")
        if answer.kind != "scalar":
            raise self._no_prometheus(f"time() gave {answer.kind}")
        return answer.series[0].samples[0][1]

    def ask(self, query: str, *, at: float | None = None) -> Answer:
        """Evaluate a query.

        Args:
            query: PromQL.
            at: when, by its clock; its present time if left out.

        Raises:
            InputError: it does not take the query; it would not take it later either.
            BackendError: it cannot be reached, takes too long, or does not answer as Prometheus does.
        """
        fields = {"query": query, "timeout": f"{max(1, int(self._seconds * 1000))}ms"}
        if at is not None:
            fields["time"] = f"{at:.3f}"
        status, text = self._post(fields)
        try:
            body = json.loads(text)
            if not isinstance(body, dict):
                raise ValueError("it is no object")
        except ValueError as error:
            raise self._no_prometheus(f"status {status}: {_start(text)}") from error
        kind = body.get("errorType")
        if status in REFUSED and kind == REFUSED[status]:
            raise InputError(f"Prometheus does not take the query {query!r}: {_start(str(body.get('error')))}")
        if status != 200 or body.get("status") != "success":
            raise BackendError(f"Prometheus answers with status {status}: {_start(str(body.get('error', text)))}")
        try:
            return _answer(body["data"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise self._no_prometheus(f"{type(error).__name__}: {error}") from error

    def _post(self, fields: Mapping[str, str]) -> tuple[int, str]:
        """Status and text, all of it within the time.

        Raises:
            BackendError: there is none.
        """
        import httpx  # noqa: PLC0415 (half a second that a rollout without Prometheus has no use for)

        if self._client is None:
            self._client = httpx.Client(timeout=self._seconds, headers=self._headers)
        ends, parts, size = time.monotonic() + self._seconds, [], 0
        try:
            with self._client.stream("POST", self._url, data=dict(fields)) as response:
                for part in response.iter_bytes():
                    parts.append(part)
                    size += len(part)
                    if time.monotonic() > ends:
                        raise httpx.ReadTimeout("the answer took too long")
                    if size > MAX_BYTES:
                        raise BackendError(f"an answer of Prometheus has more than {MAX_BYTES >> 20} MiB")
        except httpx.TimeoutException as error:
            raise BackendError(f"Prometheus has not answered within {self._seconds:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise BackendError(
                f"Prometheus cannot be asked: {type(error).__name__}: {error}", hint="see deployment.prometheus.url"
            ) from error
        text = b"".join(parts).decode(errors="replace")
        if response.status_code in (401, 403):
            raise BackendError(
                f"Prometheus lets nobody in who asks so (status {response.status_code})",
                hint="see deployment.prometheus.token_env and headers_env",
            )
        return response.status_code, text

    def _no_prometheus(self, why: str) -> BackendError:
        return BackendError(
            f"{self._url} does not answer as Prometheus does: {why}", hint="see deployment.prometheus.url"
        )


def open_prometheus(section: PrometheusSection, secret: Callable[[str], str]) -> PrometheusApi:
    """The Prometheus of a configuration.

    Args:
        section: where it is.
        secret: what an environment variable holds, for a header.

    Raises:
        InputError: no address is given, or a variable is missing or cannot be a header's value.
    """
    if section.url is None:
        raise InputError("the rollout asks Prometheus, and nobody says where it is", hint="deployment.prometheus.url")
    headers = {name: secret(variable) for name, variable in section.headers_env.items()}
    if section.token_env is not None:
        headers["Authorization"] = f"Bearer {secret(section.token_env)}"
    return PrometheusApi(section.url, headers=headers, timeout_seconds=section.timeout_seconds)


def _answer(data: Mapping[str, Any]) -> Answer:
    kind, result = str(data["resultType"]), data["result"]
    if kind == "scalar":
        return Answer(kind, (Series({}, (_sample(result),)),))
    if kind == "vector":
        return Answer(kind, tuple(Series(dict(one["metric"]), (_sample(one["value"]),)) for one in result))
    if kind == "matrix":
        return Answer(kind, tuple(Series(dict(one["metric"]), tuple(map(_sample, one["values"]))) for one in result))
    return Answer(kind, ())


def _sample(pair: Any) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


def _start(text: str) -> str:
    return " ".join(text.split())[:SAID]
