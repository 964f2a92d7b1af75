"""What a replica has for the recorder, kept until the recorder has it for good.

Batches are numbered. The recorder tells which one it expects next and up to which one all are settled: in the table, or
lost and counted there. What is not settled stays here and is sent again where the recorder is another one than before:
one that died takes nothing with it. Room is bounded; what the recorder has taken gives it to what it has not, and what
finds none is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

logger = logging.getLogger(__name__)

# A minute at 1,000 rows a second of 20 features.
ROOM_BYTES = 32 * 2**20
CALL_BYTES = 4 * 2**20
CALL_SECONDS = 10.0
# Between two looks at whether something is settled, where nothing new is to be sent.
ASK_SECONDS = 1.0
CLOSE_SECONDS = 4.0
CLOSE_PAUSE_SECONDS = 0.2


@dataclass(frozen=True)
class Batch:
    """Rows on their way.

    Attributes:
        payload: an Arrow IPC stream.
        rows: how many.
        logged: whether they are for the log, too; all are for the catalog.
    """

    payload: bytes
    rows: int
    logged: bool = True


@dataclass(frozen=True)
class Parcel:
    """What a replica tells the recorder.

    Attributes:
        replica: id of the sender.
        oldest: number of the oldest batch that the sender does not know to be settled.
        first: number of the first payload.
        payloads: consecutive ones; none only asks what is settled.
        hurry: commit now: the sender is about to end.
    """

    replica: str
    oldest: int
    first: int
    payloads: tuple[bytes, ...] = ()
    hurry: bool = False


@dataclass(frozen=True)
class Receipt:
    """What the recorder answers.

    Attributes:
        expected: number of the batch that it wants next.
        settled: all batches below this number are in the table, or were dropped and counted.
    """

    expected: int
    settled: int


Call = Callable[[Parcel], Awaitable[Receipt]]


class Outbox:
    """Batches of one replica.

    Args:
        call: asks the recorder; raises where it does not answer.
        replica: id of this replica; never used for another one.
        dropped: told how many rows found no room.
        room: bytes that may wait.
    """

    def __init__(self, call: Call, *, replica: str, dropped: Callable[[int], None], room: int = ROOM_BYTES) -> None:
        self._call, self._replica, self._dropped, self._room = call, replica, dropped, room
        self._batches: deque[Batch] = deque()
        self._oldest = 0  # number of the first of them
        self._next = 0  # number of the first that the recorder has not taken
        self._bytes = 0
        self._calling = asyncio.Lock()
        self._asked = 0.0
        self._silent = False

    @property
    def waiting_rows(self) -> int:
        """Rows that are not known to be settled."""
        return sum(batch.rows for batch in list(self._batches))

    def put(self, batches: Sequence[Batch]) -> None:
        """Take batches; where there is no room, the oldest that the recorder has taken go, else the new ones.

        What the recorder has taken is in the catalog, and waits for the log only: by the catalog rollouts are judged.
        What goes is counted as lost to the log, although the recorder may still bring it there.
        """
        for batch in batches:
            self._make_room(len(batch.payload))
            if self._bytes + len(batch.payload) > self._room:
                self._dropped(batch.rows)
                continue
            self._bytes += len(batch.payload)
            self._batches.append(batch)

    def _make_room(self, size: int) -> None:
        while size <= self._room < self._bytes + size and self._oldest < self._next:
            gone = self._forget()
            if gone.logged:
                self._dropped(gone.rows)

    def _forget(self) -> Batch:
        batch = self._batches.popleft()
        self._bytes -= len(batch.payload)
        self._oldest += 1
        return batch

    async def deliver(self, *, hurry: bool = False) -> bool:
        """Send what has not been sent, and learn what is settled; never raises.

        Args:
            hurry: have the recorder commit now.

        Returns:
            False where the recorder did not answer; everything stays here.
        """
        async with self._calling:
            while True:
                parcel = self._parcel(hurry=hurry)
                if parcel is None:
                    return True
                try:
                    receipt = await asyncio.wait_for(self._call(parcel), timeout=CALL_SECONDS)
                except Exception as error:  # noqa: BLE001 (whatever it is, the recorder is asked again)
                    self._complain(error)
                    return False
                self._silent = False
                self._settle(receipt)
                if receipt.expected <= parcel.first or not self._unsent:
                    return True

    async def close(self) -> list[Batch]:
        """Give the recorder a few seconds for what is left.

        Returns:
            The batches that it has not taken.
        """
        deadline = asyncio.get_running_loop().time() + CLOSE_SECONDS
        while self._batches and asyncio.get_running_loop().time() < deadline:
            left = deadline - asyncio.get_running_loop().time()
            try:
                answered = await asyncio.wait_for(self.deliver(hurry=True), timeout=left)
            except TimeoutError:
                break
            if not answered:
                break
            await asyncio.sleep(CLOSE_PAUSE_SECONDS)
        return list(self._batches)[self._next - self._oldest :]

    @property
    def _unsent(self) -> int:
        return self._oldest + len(self._batches) - self._next

    def _parcel(self, *, hurry: bool) -> Parcel | None:
        now = asyncio.get_running_loop().time()
        if not self._batches or not (self._unsent or hurry or now - self._asked >= ASK_SECONDS):
            return None
        self._asked = now
        payloads: list[bytes] = []
        size = 0
        for place in range(self._next - self._oldest, len(self._batches)):
            payload = self._batches[place].payload
            if payloads and size + len(payload) > CALL_BYTES:
                break
            payloads.append(payload)
            size += len(payload)
        return Parcel(self._replica, self._oldest, self._next, tuple(payloads), hurry)

    def _settle(self, receipt: Receipt) -> None:
        while self._batches and self._oldest < receipt.settled:
            self._forget()
        self._next = min(max(receipt.expected, self._oldest), self._oldest + len(self._batches))

    def _complain(self, error: Exception) -> None:
        if not self._silent:
            logger.warning("the recorder does not answer, records wait in memory: %s: %s", type(error).__name__, error)
        self._silent = True
