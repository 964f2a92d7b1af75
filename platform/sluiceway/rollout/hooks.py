"""What others are asked before a rollout moves, and told after it has.

A hook is asked before the move is written down, and again after a crash: what it gets has the rollout's id and the
number of the entry that would be written, so that it can tell a repetition. One that does not say yes keeps the rollout
where it is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from sluiceway.config.deployment import Moment, RolloutHookSection
from sluiceway.data.hook_calls import Command, Webhook

logger = logging.getLogger(__name__)

TELL_SECONDS = 5.0


@dataclass(frozen=True)
class RolloutEvent:
    """What a hook or a notification is about.

    Attributes:
        moment: e.g. ``before_increase``.
        rollout: its id.
        sequence: number of the journal's entry.
        endpoint: name of the endpoint.
        model: name of the registered model.
        version: that is rolled out.
        champion: the version that answers today, or "".
        weight: the version's share of the requests after the move.
        reason: one sentence.
    """

    moment: Moment
    rollout: str
    sequence: int
    endpoint: str
    model: str
    version: str
    champion: str
    weight: float
    reason: str

    @property
    def line(self) -> str:
        """For people."""
        what = {
            "before_start": "is to start",
            "before_increase": f"is to get {self.weight:.0%}",
            "before_promotion": "is to be promoted",
            "step": f"gets {self.weight:.0%} of the requests",
            "paused": "is paused",
            "promoted": "is promoted",
            "rolled_back": "is rolled back",
        }[self.moment]
        return f"{self.endpoint}: version {self.version} {what}" + (f" ({self.reason})" if self.reason else "")


class Hooks(Protocol):
    """Who is asked and told."""

    def refusal(self, event: RolloutEvent) -> str:
        """Why a move must not be made, or ""."""

    def tell(self, event: RolloutEvent) -> None:
        """Tell of a move that was made, without waiting."""


class NoHooks:
    """Nobody is asked or told."""

    def refusal(self, event: RolloutEvent) -> str:
        """Never any."""
        return ""

    def tell(self, event: RolloutEvent) -> None:
        """Nobody."""


class ConfiguredHooks:
    """The hooks and notifications of a configuration; a context manager that waits for what is still to be told.

    Args:
        hooks: of ``deployment.hooks``.
        notify: addresses of ``deployment.notify``.
    """

    def __init__(self, hooks: Sequence[RolloutHookSection], notify: Sequence[str]) -> None:
        self._hooks, self._notify = tuple(hooks), tuple(notify)
        self._telling = ThreadPoolExecutor(1, thread_name_prefix="rollout-hooks")

    def __enter__(self) -> ConfiguredHooks:
        return self

    def __exit__(self, *_: object) -> None:
        self._telling.shutdown(wait=True)

    def refusal(self, event: RolloutEvent) -> str:
        """Ask every hook of this moment, in order; the first that does not say yes ends it."""
        for number, hook in enumerate(self._hooks, 1):
            if event.moment in hook.on:
                said = _asked(hook, event)
                if said:
                    return f"{_name(number, hook)} does not let it: {said}"
        return ""

    def tell(self, event: RolloutEvent) -> None:
        """In a thread of its own: a slow receiver holds up no rollback."""
        logger.info("%s", event.line)
        self._telling.submit(self._told, event)

    def _told(self, event: RolloutEvent) -> None:
        for number, hook in enumerate(self._hooks, 1):
            if event.moment in hook.on:
                said = _asked(hook, event)
                if said:
                    logger.warning("%s was not told of %r: %s", _name(number, hook), event.line, said)
        for place in self._notify:
            said = _refused(Webhook(place, TELL_SECONDS), {"text": event.line})
            if said:
                logger.warning("%r was not told: %s", event.line, said)


def _asked(hook: RolloutHookSection, event: RolloutEvent) -> str:
    call: Command | Webhook
    call = Webhook(hook.url, hook.timeout_seconds) if hook.url else Command(hook.command or "", hook.timeout_seconds)
    said = ""
    for _ in range(1 + hook.retries):
        said = _refused(call, asdict(event))
        if not said:
            return ""
    return said


def _refused(call: Command | Webhook, event: Mapping[str, Any]) -> str:
    try:
        call(event)
    except Exception as error:  # noqa: BLE001 (whatever a receiver does, it has not said yes)
        return str(error) or type(error).__name__
    return ""


def _name(number: int, hook: RolloutHookSection) -> str:
    # It gets into the journal, tags and tables: a command, and all of an address but its host, may hold a secret.
    return f"hook {number} of deployment.hooks" + (f" ({urlsplit(hook.url).hostname})" if hook.url else "")
