"""How many bytes of bodies a replica holds at once: by their number alone they could be more than its memory.

Small bodies are not counted: there are at most ``ongoing_requests`` of them, and none is refused for large ones.
"""

from __future__ import annotations

from sluiceway.core.errors import OverloadedError

SMALL_BYTES = 64 * 1024


class BodyRoom:
    """Room for the bodies of the requests that are under way.

    Args:
        limit: bytes of all bodies larger than ``SMALL_BYTES`` together.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0

    @property
    def held(self) -> int:
        """Bytes that are taken now."""
        return self._held

    def expect(self, size: int) -> None:
        """Refuse now what would find no room now; a promise of bytes takes none, or a slow sender kept others out.

        Args:
            size: bytes that a request says it will send.

        Raises:
            OverloadedError: there is not so much.
        """
        if self._held + size > self._limit:
            raise OverloadedError("too many large requests are under way", hint="send it again")

    def take(self, size: int) -> None:
        """Take room for so many bytes more, which have come.

        Raises:
            OverloadedError: there is not so much; nothing is taken.
        """
        self.expect(size)
        self._held += size

    def give_back(self, size: int) -> None:
        """Give back what was taken for a request that is answered, or has gone."""
        self._held -= size
