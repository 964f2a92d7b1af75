"""``sluiceway rollout undo`` where no rollout is under way: all requests to a champion of before."""

from __future__ import annotations

from sluiceway.catalog.stores import Stores
from sluiceway.cli.serve_traffic import move
from sluiceway.config.load import load_platform
from sluiceway.core.errors import InputError, SluicewayError
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.wiring.context import build_registry


def go_back(
    endpoint: str, to: str | None, stores: Stores, *, address: str | None, config: str | None, as_json: bool
) -> None:
    """Give all requests to a champion of before, and say what gates had said of it.

    Args:
        endpoint: its name.
        to: number of a version that it has had as its champion; the one before the present one where None.
        stores: the catalog's.
        address: of the Serve, where somebody gave one.
        config: the configuration that was named, or None.
        as_json: print one JSON document.

    Raises:
        InputError: it has never had that champion, a rollout has gone back already and no version is named, or its
            traffic cannot be moved by hand now.
    """
    if to is None:
        move(endpoint, lambda hand: hand.back(), address=address, config=config, as_json=as_json, champion=True)
        return
    had = list(dict.fromkeys(document.champion.version for document in stores.traffic.history(endpoint)))
    if had and to not in had:
        raise InputError(
            f"version {to} has never been the champion of {endpoint}",
            hint=f"it has had {', '.join(had)}; another one is judged by `rollout start MODEL@{to} --config CONFIG`",
        )
    notes = _gates(stores, endpoint, to, config)
    move(
        endpoint,
        lambda hand: hand.switch(to),
        address=address,
        config=config,
        as_json=as_json,
        champion=True,
        notes=notes,
    )


def _gates(stores: Stores, endpoint: str, version: str, config: str | None) -> tuple[str, ...]:
    """What gates have said of the version; nothing that they say keeps anybody from going back."""
    rollouts = stores.rollouts.list(endpoint)
    if not rollouts:
        return ()
    model = RolloutPlan.from_json(rollouts[0].plan).model
    try:
        said = build_registry(load_platform(config)).version(model, version).gates
    except SluicewayError as error:
        return (f"what gates have said of version {version} is not known: {error.message}",)
    told = ", ".join(f"{gate} {value}" for gate, value in said.items())
    return (f"gates of version {version}: {told or 'none has judged it'}",)
