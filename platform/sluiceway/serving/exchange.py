"""One HTTP request and its answer, as ASGI has them; no framework stands between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, NamedTuple

from sluiceway.core.errors import RequestError
from sluiceway.serving.body_room import SMALL_BYTES, BodyRoom
from sluiceway.serving.documents import write_json
from sluiceway.serving.guard import STRANGER, Caller

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
OCTETS = "application/octet-stream"
CSV = "text/csv"


class Reply(NamedTuple):
    """An answer.

    Attributes:
        status: of HTTP.
        body: its bytes.
        content_type: what they are.
        headers: further ones.
    """

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = {}

    async def send(self, send: Send) -> None:
        """Hand it to the server."""
        headers = [
            (b"content-type", self.content_type.encode("latin-1")),
            (b"content-length", str(len(self.body)).encode("latin-1")),
        ]
        for name, value in self.headers.items():
            headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def json_reply(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """An answer in JSON."""
    return Reply(status, write_json(document), JSON, headers or {})


class Exchange:
    """A request.

    Args:
        scope: of ASGI.
        receive: of ASGI.
        room: that a large body has to find.

    Attributes:
        method: ``GET`` and so on.
        root: the path below which the endpoint answers, without a slash at its end.
        headers: by lower-case name; of one that is sent twice, the last.
        request_id: set when it is known.
        caller: who asks; set when the guard has let it in.
    """

    __slots__ = ("_receive", "_room", "_taken", "caller", "headers", "method", "request_id", "root")

    def __init__(self, scope: Scope, receive: Receive, room: BodyRoom) -> None:
        self.method: str = scope["method"]
        self.root: str = scope.get("root_path", "")
        self.headers: dict[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        self._receive, self._room, self._taken = receive, room, 0
        self.request_id = ""
        self.caller: Caller = STRANGER

    def content_type(self, known: tuple[str, ...]) -> str:
        """What the body is, one of the known types; the first of them where nothing is said.

        Raises:
            RequestError: 415 for another type, another character set, or a compressed body.
        """
        if "content-encoding" in self.headers and self.headers["content-encoding"].lower() != "identity":
            raise RequestError("the body is compressed; send it as it is", status=415)
        given = self.headers.get("content-type")
        if given is None or given == known[0]:
            return known[0]
        name, _, parameters = given.partition(";")
        name = name.strip().lower()
        if name not in known:
            told = repr(name[:100])
            raise RequestError(f"Content-Type {told} is not understood here", status=415, hint=f"send {_either(known)}")
        charset = parameters.lower().partition("charset=")[2].strip(' "')
        if charset not in ("", "utf-8", "utf8"):
            raise RequestError("text is understood in UTF-8 only", status=415)
        return name

    def accepted(self, known: tuple[str, ...]) -> str:
        """The type that the answer is to have: the first that ``Accept`` names of the known ones, else the first."""
        given = self.headers.get("accept")
        if given is None or given in ("*/*", known[0]):
            return known[0]
        for part in given.split(","):
            name = part.partition(";")[0].strip().lower()
            if name in known:
                return name
            if name == "*/*":
                break
        return known[0]

    async def body(self, max_bytes: int) -> bytes:
        """The body, refused as soon as it is known to be too large.

        Raises:
            RequestError: 413 by ``Content-Length`` or by what has arrived; 400 where the length is no number.
            OverloadedError: the replica holds too many large bodies, when it begins or while it comes.
            ConnectionResetError: the client has hung up; nobody reads an answer.
        """
        declared = self.headers.get("content-length")
        if declared is not None:
            if not (declared.isascii() and declared.isdigit()):
                raise RequestError("Content-Length is not a number", status=400)
            length = int(declared) if len(declared) <= 18 else max_bytes + 1
            if length > max_bytes:
                raise _too_large(max_bytes)
            if length > SMALL_BYTES:
                self._room.expect(length)
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client has hung up")
            part = message.get("body", b"")
            size += len(part)
            if size > max_bytes:
                raise _too_large(max_bytes)
            if size > SMALL_BYTES:
                self._make_room(size)
            if not message.get("more_body", False):
                return bytes(part) if not parts else b"".join([*parts, part])
            parts.append(part)

    def close(self) -> None:
        """Give back the room of the body, when the request is answered or given up."""
        if self._taken:
            self._room.give_back(self._taken)
            self._taken = 0

    def _make_room(self, size: int) -> None:
        """For a body that has sent so many bytes in all until now."""
        self._room.take(size - self._taken)
        self._taken = size


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(f"the body is larger than {max_bytes} bytes", status=413, hint="send fewer rows in a request")


def _either(names: tuple[str, ...]) -> str:
    *some, last = names
    return f"{', '.join(some)} or {last}" if some else last
