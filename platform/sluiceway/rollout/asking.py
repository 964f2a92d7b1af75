"""Asks hooks beside the looks: whoever takes long to say yes keeps nobody from seeing what fails meanwhile."""

from __future__ import annotations

import threading
from concurrent.futures import Future, wait
from dataclasses import replace

from sluiceway.rollout.hooks import Hooks, RolloutEvent


class Asking:
    """The question that is open, if any; one at a time.

    Args:
        hooks: who is asked.
    """

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._question: RolloutEvent | None = None
        self._answer: Future[str] = Future()

    def refusal(self, event: RolloutEvent, *, seconds: float) -> str | None:
        """Why a move must not be made, or "" where it may; None while that is not known.

        The same move is asked for once, however often this is called, until there is an answer. Another move's
        question is dropped.

        Args:
            event: the move.
            seconds: to wait for an answer.
        """
        question = replace(event, reason="")  # its numbers change from look to look
        if question != self._question:
            self._question, self._answer = question, Future()
            # A thread that ends with the process: an answer that nobody waits for holds nothing up.
            asked = threading.Thread(target=_ask, args=(self._hooks, event, self._answer), daemon=True)
            asked.start()
        wait([self._answer], timeout=seconds)
        if not self._answer.done():
            return None
        self._question = None
        return self._answer.result()

    @property
    def open(self) -> bool:
        """True while somebody is asked."""
        return self._question is not None

    def put_off(self) -> None:
        """The move is not wanted at present: an answer that has come is dropped, one that is to come is waited for."""
        if self._answer.done():
            self._question = None


def _ask(hooks: Hooks, event: RolloutEvent, answer: Future[str]) -> None:
    try:
        answer.set_result(hooks.refusal(event))
    except BaseException as error:  # noqa: BLE001 (whoever waits for the answer gets it)
        answer.set_exception(error)
