"""A time limit for every request, in front of the surface: who asks is told in time that there is no answer.

Serve has one of its own, ``http_options.request_timeout_s``. It holds for every application of a cluster, cannot be
changed while Serve runs, and answers without JSON; ours is each endpoint's own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# The client has not sent all of its request; and: it has, and the model has not answered.
INCOMPLETE, UNANSWERED = 408, 504


class Deadline:
    """An ASGI application that gives up on another one's answer.

    Only the time until an answer begins counts: one that is under way may take as long as its reader does. What blocks
    the event loop itself, such as a library that hangs, cannot be timed from inside the process; Serve's health check
    finds that, and the replica is replaced.

    Args:
        app: what answers; it is cancelled at the deadline.
        seconds: from the first byte of a request to the first one of its answer.
        counted: told the status, as text, of each request that was given up.
    """

    def __init__(self, app: App, *, seconds: float, counted: Callable[[str], None]) -> None:
        self._app, self._seconds, self._counted = app, seconds, counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        complete = False
        limit = asyncio.timeout(self._seconds)

        async def heard() -> Message:
            nonlocal complete
            message = await receive()
            complete = complete or not message.get("more_body", False)
            return message

        async def answering(message: Message) -> None:
            limit.reschedule(None)
            await send(message)

        try:
            async with limit:
                await self._app(scope, heard, answering)
        except TimeoutError:
            if not limit.expired():
                raise
            await self._give_up(UNANSWERED if complete else INCOMPLETE, scope, send)

    async def _give_up(self, status: int, scope: Scope, send: Send) -> None:
        self._counted(str(status))
        text = "the request was not complete" if status == INCOMPLETE else "there was no answer"
        body = {"error": f"{text} within {self._seconds:g} s", "request_id": _request_id(scope)}
        content = json.dumps(body, separators=(",", ":")).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def _request_id(scope: Scope) -> str:
    # Serve gives each request one, where its client has not.
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
