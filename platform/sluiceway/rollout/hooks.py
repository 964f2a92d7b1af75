"""What others are asked before a rollout moves, and told after it has.

A hook is asked before the move is written down, and again after a crash: what it gets has the rollout's id and the
number of the entry that would be written, so that it can tell a repetition. One that does not say yes keeps the rollout
where it is.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Protocol

from sluiceway.config.deployment import HookSection, Moment

logger = logging.getLogger(__name__)

# Of what a hook says, for the journal.
SAID = 300
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

    def __init__(self, hooks: Sequence[HookSection], notify: Sequence[str]) -> None:
        self._hooks, self._notify = tuple(hooks), tuple(notify)
        self._telling = ThreadPoolExecutor(1, thread_name_prefix="rollout-hooks")

    def __enter__(self) -> ConfiguredHooks:
        return self

    def __exit__(self, *_: object) -> None:
        self._telling.shutdown(wait=True)

    def refusal(self, event: RolloutEvent) -> str:
        """Ask every hook of this moment, in order; the first that does not say yes ends it."""
        for hook in self._hooks:
            if event.moment in hook.on:
                said = _asked(hook, event)
                if said:
                    return f"hook {_name(hook)} does not let it: {said}"
        return ""

    def tell(self, event: RolloutEvent) -> None:
        """In a thread of its own: a slow receiver holds up no rollback."""
        logger.info("%s", event.line)
        self._telling.submit(self._told, event)

    def _told(self, event: RolloutEvent) -> None:
        for hook in self._hooks:
            if event.moment in hook.on:
                said = _asked(hook, event)
                if said:
                    logger.warning("hook %s was not told of %r: %s", _name(hook), event.line, said)
        for place in self._notify:
            said = _posted(place, {"text": event.line}, TELL_SECONDS)
            if said:
                logger.warning("%r was not told: %s", event.line, said)


def _asked(hook: HookSection, event: RolloutEvent) -> str:
    said = ""
    for _ in range(1 + hook.retries):
        said = _posted(hook.webhook, asdict(event), hook.timeout_seconds) if hook.webhook else _run(hook, event)
        if not said:
            return ""
    return said


def _run(hook: HookSection, event: RolloutEvent) -> str:
    try:
        process = subprocess.Popen(
            list(hook.command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return str(error)
    try:
        told, _ = process.communicate(json.dumps(asdict(event)), timeout=hook.timeout_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"not done after {hook.timeout_seconds:g} s"
    return "" if process.returncode == 0 else f"exit code {process.returncode} {told.strip()[-SAID:]}".strip()


def _posted(place: str, body: dict[str, object], seconds: float) -> str:
    request = urllib.request.Request(place, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=seconds):
            return ""
    except urllib.error.HTTPError as error:
        return f"status {error.code} {error.read(SAID).decode(errors='replace').strip()}".strip()
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__


def _name(hook: HookSection) -> str:
    # An address may hold a secret behind the host.
    return hook.webhook.split("/")[2] if hook.webhook else hook.command[0]
