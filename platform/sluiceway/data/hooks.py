"""Runs what people hang onto changes of a repository: commands, webhooks, Python callables."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sluiceway.config.platform import HookPoint, HookSection
from sluiceway.core.doors import Hook
from sluiceway.core.errors import ConfigError, HookRefusedError, SluicewayError
from sluiceway.core.loading import load_named
from sluiceway.core.repository import Pin
from sluiceway.data.hook_calls import Command, Webhook

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HookedAction:
    """A hook and when it runs.

    Attributes:
        points: before and after what.
        branch: pattern of names.
        run: raises to say no.
        name: for people.
    """

    points: frozenset[str]
    branch: str
    run: Hook
    name: str


@dataclass(frozen=True)
class Hooks:
    """All hooks of a repository, in the order of the configuration."""

    actions: tuple[HookedAction, ...] = ()

    def before(self, event: Mapping[str, Any]) -> None:
        """Ask everybody; the first no ends it.

        Raises:
            HookRefusedError: a hook said no, or failed.
        """
        for action in self._of("pre", event):
            try:
                action.run({**event, "point": f"pre-{event['kind']}"})
            except Exception as error:
                raise _refusal(action.name, event, error) from error

    def after(self, event: Mapping[str, Any]) -> None:
        """Tell everybody; what fails is logged, because the change is made."""
        kind, branch = event["operation"], event["branch"]
        for action in self._of("post", event):
            try:
                action.run({**event, "point": f"post-{event['kind']}"})
            except Exception as error:  # noqa: BLE001 (a hook may raise anything)
                _log.warning("the hook %s failed after the %s of %s: %s", action.name, kind, branch, error)

    def _of(self, when: str, event: Mapping[str, Any]) -> list[HookedAction]:
        point = f"{when}-{event['kind']}"
        return [a for a in self.actions if point in a.points and fnmatch.fnmatchcase(str(event["branch"]), a.branch)]


def _refusal(name: str, event: Mapping[str, Any], error: Exception) -> HookRefusedError:
    said, advice, fields = str(error), "", {}
    if isinstance(error, SluicewayError):
        said, advice, fields = error.message, f"{error.hint}; " if error.hint else "", error.fields
    return HookRefusedError(
        f"the hook {name} refused the {event['operation']} of {event['branch']}: {said}",
        hint=f"{advice}nothing was changed; see platform.hooks of the configuration",
        **fields,
    )


def hook_event(
    kind: str,
    branch: str,
    *,
    source: str = "",
    message: str = "",
    author: str = "",
    metadata: Mapping[str, str] | None = None,
    tables: Mapping[str, Pin] | None = None,
    operation: str = "",
) -> dict[str, Any]:
    """What hooks are told.

    Args:
        kind: ``commit``, ``merge``, ``branch`` or ``tag``.
        branch: what moves or is made.
        source: id of the commit that comes in, or that a new name points at.
        message: of the commit.
        author: of the commit.
        metadata: of the commit.
        tables: what comes in.
        operation: ``merge``, ``revert`` or ``cherry-pick`` where the kind is ``merge``; else the kind.
    """
    pins = {uri: {"uri": p.uri, "version": p.version, "digest": p.digest} for uri, p in (tables or {}).items()}
    said = {"message": message, "author": author, "metadata": dict(metadata or {}), "tables": pins}
    return {"kind": kind, "operation": operation or kind, "branch": branch, "source": source, **said}


def build_hooks(sections: Sequence[HookSection], *, gate: Callable[[HookSection], Hook] | None = None) -> Hooks:
    """The hooks of a configuration.

    Args:
        sections: of the configuration.
        gate: builds a ready gate; left out where there is nothing to run one.

    Raises:
        ConfigError: a Python callable is not there, or a gate cannot be run here.
    """
    return Hooks(tuple(HookedAction(frozenset[HookPoint](s.on), s.branch, *_runner(s, gate)) for s in sections))


def _runner(section: HookSection, gate: Callable[[HookSection], Hook] | None) -> tuple[Hook, str]:
    if section.gate is not None:
        if gate is None:
            raise ConfigError(
                f"the gate {section.gate} cannot be run here", hint="build the hooks with sluiceway.wiring"
            )
        return gate(section), section.gate
    if section.command is not None:
        return Command(section.command, section.timeout_seconds), repr(section.command)
    if section.url is not None:
        return Webhook(section.url, section.timeout_seconds), section.url
    return _callable(str(section.function)), str(section.function)


def _callable(name: str) -> Hook:
    try:
        found: Hook = load_named(name)
    except ConfigError as error:
        raise ConfigError(f"the hook {error.message}", hint="write it as module:name") from error
    return found
