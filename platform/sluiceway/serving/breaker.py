"""When a replica stops asking a challenger: pure, no clock of its own, one for each challenger and generation."""

from __future__ import annotations

from sluiceway.config.serving import BreakerSection


class Breaker:
    """Closed while a challenger is asked; once it is open, it stays so until the next generation's takes its place.

    Args:
        limits: what opens it.

    Attributes:
        reason: why it is open, one sentence with the numbers; "" while it is closed.
    """

    __slots__ = ("_all_late", "_counted", "_errors", "_in_row", "_late", "_limits", "_seen", "reason")

    def __init__(self, limits: BreakerSection) -> None:
        self._limits = limits
        self.reason = ""
        self._seen = self._errors = self._in_row = 0
        self._counted = float("-inf")
        # One bit a request, the newest one is the lowest.
        self._late = 0
        self._all_late = (1 << limits.window) - 1

    def note(self, *, asked: float, done: float, failed: bool) -> bool:
        """Take note of a request that a challenger has answered, or has not.

        Requests that are under way together fail together, of one cause: in a row they count as one.

        Args:
            asked: when it was asked, seconds on any clock that does not go back.
            done: when it had answered or failed, on the same clock.
            failed: it did not answer.

        Returns:
            True where this has opened it.
        """
        if self.reason:
            return False
        self._seen += 1
        self._late = (self._late << 1 | (done - asked > self._limits.late_seconds)) & self._all_late
        if not failed:
            self._in_row = 0
        else:
            self._errors += 1
            if asked >= self._counted:
                self._in_row += 1
                self._counted = done
        if failed or self._late:  # else nothing is used up that was not before
            self.reason = self._judged()
        return bool(self.reason)

    def _judged(self) -> str:
        limits = self._limits
        if self._in_row >= limits.errors_in_row:
            return f"{self._in_row} errors in a row"
        if self._errors >= limits.errors_total:
            return f"{self._errors} errors in {self._seen} requests"
        late = self._late.bit_count()
        if self._seen >= limits.window and late >= limits.late_share * limits.window:
            return f"{late} of the last {limits.window} requests took more than {limits.late_seconds:g} s"
        return ""
