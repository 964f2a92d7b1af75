"""Two ways to a Serve: through the Ray that this process has joined, and over HTTP by the dashboard's REST API."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any, Protocol

import httpx
import ray
from ray import serve
from ray._private.authentication.http_token_authentication import get_auth_headers_if_auth_enabled
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ServeDeploySchema

from sluiceway.core.errors import BackendError, ConfigError
from sluiceway.serving.instance import last_line

APPLICATIONS = "/api/serve/applications/"
READ_SECONDS = 30.0
# The first write starts Serve's controller and its proxies.
WRITE_SECONDS = 120.0
DELETE_SECONDS = 60.0


class ServeDoor(Protocol):
    """What is asked of a Serve."""

    def read(self) -> dict[str, Any]:
        """What it says of itself, as ``GET /api/serve/applications/`` answers; no applications where none runs.

        Raises:
            BackendError: it does not answer.
        """

    def write(self, config: dict[str, Any]) -> None:
        """Put a Serve config, as ``serve deploy`` does: declared applications that do not stand in it go.

        Raises:
            BackendError: it does not answer, or refuses.
        """

    def refuse_delete(self, names: Collection[str]) -> None:
        """Change nothing, and raise where :meth:`delete` cannot be done.

        Raises:
            ConfigError: that cannot be done this way.
        """

    def delete(self, names: Collection[str]) -> None:
        """Take applications away that are not declared.

        Raises:
            ConfigError: that cannot be done this way.
            BackendError: it does not answer.
        """

    def nodes(self) -> int:
        """How many nodes the cluster has."""


class JoinedServe:
    """The Serve of the Ray that this process has joined."""

    def read(self) -> dict[str, Any]:
        """As :meth:`ServeDoor.read`."""
        client = serve.context._get_global_client(raise_if_no_controller_running=False)
        if client is None:
            return {"applications": {}}
        try:
            told: dict[str, Any] = client.get_serve_details()
        except (RayError, RayServeException) as error:
            raise _silent("the Serve of this Ray", error) from error
        return told

    def write(self, config: dict[str, Any]) -> None:
        """As :meth:`ServeDoor.write`."""
        try:
            serve.context._get_global_client().deploy_apps(ServeDeploySchema.model_validate(config))
        except (RayError, RayServeException, ValueError) as error:
            raise _silent("the Serve of this Ray", error) from error

    def refuse_delete(self, names: Collection[str]) -> None:
        """As :meth:`ServeDoor.refuse_delete`; it can."""

    def delete(self, names: Collection[str]) -> None:
        """As :meth:`ServeDoor.delete`."""
        for name in names:
            serve.delete(name, _blocking=False)

    def nodes(self) -> int:
        """As :meth:`ServeDoor.nodes`."""
        return sum(1 for node in ray.nodes() if node["Alive"])


class RestServe:
    """The Serve of a cluster whose dashboard is reached over HTTP.

    Args:
        url: of the dashboard, e.g. ``http://127.0.0.1:8265``. The cluster's token is found as Ray's own commands find
            it: ``RAY_AUTH_TOKEN``, ``RAY_AUTH_TOKEN_PATH``, ``~/.ray/auth_token``.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def read(self) -> dict[str, Any]:
        """As :meth:`ServeDoor.read`."""
        told: dict[str, Any] = self._ask("GET", APPLICATIONS, seconds=READ_SECONDS).json()
        return told

    def write(self, config: dict[str, Any]) -> None:
        """As :meth:`ServeDoor.write`."""
        self._ask("PUT", APPLICATIONS, seconds=WRITE_SECONDS, json=config)

    def delete(self, names: Collection[str]) -> None:
        """As :meth:`ServeDoor.delete`."""
        self.refuse_delete(names)

    def refuse_delete(self, names: Collection[str]) -> None:
        """Refuses: the REST API takes all applications of a cluster away, or none."""
        raise ConfigError(
            f"{', '.join(sorted(names))} were deployed by a program and do not stand in the Serve config: the REST API "
            "cannot take them away alone",
            hint="say --address auto on a node of the cluster, or --address ray://HEAD:10001",
        )

    def nodes(self) -> int:
        """As :meth:`ServeDoor.nodes`."""
        told = self._ask("GET", "/nodes?view=summary", seconds=READ_SECONDS).json()
        return sum(1 for node in told["data"]["summary"] if node.get("raylet", {}).get("state") == "ALIVE")

    def _ask(self, method: str, path: str, *, seconds: float, **content: Any) -> httpx.Response:
        try:
            headers = get_auth_headers_if_auth_enabled({})
            answer = httpx.request(method, f"{self.url}{path}", headers=headers, timeout=seconds, **content)
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:
            raise _silent(self.url, error) from error
        if answer.status_code in (401, 403):
            raise BackendError(
                f"{self.url} does not know this token",
                hint="give the cluster's token in RAY_AUTH_TOKEN, or its file in RAY_AUTH_TOKEN_PATH",
            )
        if answer.status_code != 200:
            raise BackendError(
                f"{self.url} answers {method} {path} with {answer.status_code}: {last_line(Exception(answer.text))}",
                hint="the address has to be that of a Ray dashboard, e.g. http://127.0.0.1:8265",
            )
        return answer


def wait_until_gone(door: ServeDoor, names: Collection[str], *, seconds: float = DELETE_SECONDS) -> None:
    """Wait until none of some applications is there.

    Raises:
        BackendError: one is there after that time.
    """
    deadline = time.monotonic() + seconds
    while (left := sorted(set(names) & set(door.read().get("applications", {})))) and time.monotonic() < deadline:
        time.sleep(0.2)
    if left:
        raise BackendError(f"{', '.join(left)} did not go within {seconds:g} s", hint="see `sluiceway serve status`")


def _silent(who: str, error: Exception) -> BackendError:
    return BackendError(f"{who} does not answer: {last_line(error)}", hint="is it running, and is the address right?")
