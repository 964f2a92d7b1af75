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

    def take(self, size: int) -> None:
        """Take room for so many bytes more.

        Raises:
            OverloadedError: there is not so much; nothing is taken.
        """
        if self._held + size > self._limit:
            raise OverloadedError("too many large requests are under way", hint="send it again")
        self._held += size

    def give_back(self, size: int) -> None:
        """Give back what was taken for a request that is answered, or has gone."""
        self._held -= size
