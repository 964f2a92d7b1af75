"""``sluiceway serve traffic``: which share of an endpoint's requests goes where; shown, and moved by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from sluiceway.catalog.stores import Stores
from sluiceway.cli.output import ConfigOption, Json, print_json, print_rows
from sluiceway.cli.serve_address import Address
from sluiceway.config.load import load_platform, load_settings
from sluiceway.config.platform import PlatformSection
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import InputError, SluicewayError
from sluiceway.core.traffic import TrafficDocument, endpoint_name
from sluiceway.lifecycle.arm_lookup import ArmLookup
from sluiceway.lifecycle.champion_before import champion_before
from sluiceway.lifecycle.retirement import refuse_retired_by_hand
from sluiceway.lifecycle.rollout_story import tell_by_hand
from sluiceway.lifecycle.traffic_by_hand import Changed, TrafficByHand
from sluiceway.registry.store import BundleStore
from sluiceway.serving.running import RunningEndpoint
from sluiceway.serving.specs import ENDPOINT_DEPLOYMENT
from sluiceway.serving.state import RUNNING, applications
from sluiceway.wiring.context import build_registry
from sluiceway.wiring.serving import is_dashboard, joined, known_ray
from sluiceway.wiring.stores import build_stores, read_stores, state_folder

Change = Callable[[TrafficByHand], Changed]


def traffic(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="As `serve status` names it.")],
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION=SHARE,...",
            help="All arms with their shares, e.g. 7=0.9,8=0.1; the champion stays who it is, and has what is left "
            "where it is not named.",
        ),
    ] = None,
    switch: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Make it the champion at once; the old one is kept warm.")
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="Go back to the champion before this one, at once.")] = False,
    shadow: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION=SHARE,...",
            help="Let versions score a share of the requests beside the arm that answers, e.g. 8=0.2; 0 ends it.",
        ),
    ] = None,
    address: Address = None,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """The arms of one endpoint with weights and breakers; with an option, moved by hand.

    A change goes to the catalog and then to every replica. It is refused while a rollout runs. With --config of the
    endpoint's own configuration, a new champion of the last environment is the registry's champion, too.
    """
    change = _change(weights, switch, back, shadow)
    champion = switch is not None or back
    move(endpoint, change, address=address, config=config, as_json=as_json, champion=champion)


def move(
    endpoint: str,
    change: Change | None,
    *,
    address: str | None,
    config: str | None,
    as_json: bool,
    champion: bool,
    notes: tuple[str, ...] = (),
) -> None:
    """Change an endpoint's traffic by hand, and show it.

    Args:
        endpoint: its name.
        change: what is done; None only shows it.
        address: of the Serve, where somebody gave one.
        config: the configuration that was named, or None.
        as_json: print one JSON document.
        champion: True: it gives the endpoint another champion, which the registry is told.
        notes: what else is to be said, one line each.

    Raises:
        InputError: there is no such endpoint, or its traffic cannot be moved so now.
    """
    if change is not None:
        changed = _changed(endpoint, change, address, config)
        notes = (*notes, *changed.notes)
        if champion:
            notes = (*notes, *_told_registry(endpoint, changed.document, config))
    stores = read_stores(load_platform(config))
    document = stores.traffic.newest(endpoint)
    if document is None:
        known = ", ".join(stores.traffic.endpoints())
        raise InputError(f"no endpoint {endpoint} has had a model yet", hint=f"there are {known}" if known else None)
    _show(document, stores, notes, as_json=as_json)


def shares(text: str, option: str) -> dict[str, float]:
    """``7=0.9,8=0.1`` as numbers.

    Raises:
        InputError: it is not of that form.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        version, _, share = (piece.strip() for piece in part.partition("="))
        try:
            number = float(share)
        except ValueError:
            number = -1.0
        if not version or not 0 <= number <= 1 or version in found:
            raise InputError(
                f"{option} {text}: {part.strip()!r} is no version with a share of 0 to 1, or is there twice",
                hint=f"for example {option} 7=0.9,8=0.1",
            )
        found[version] = number
    return found


def _change(weights: str | None, switch: str | None, back: bool, shadow: str | None) -> Change | None:
    wanted: list[Change] = []
    if weights is not None:
        given = shares(weights, "--weights")
        wanted.append(lambda hand: hand.weights(given))
    if switch is not None:
        wanted.append(lambda hand: hand.switch(switch))
    if back:
        wanted.append(lambda hand: hand.back())
    if shadow is not None:
        seen = shares(shadow, "--shadow")
        wanted.append(lambda hand: hand.shadow(seen))
    if len(wanted) > 1:
        raise InputError("one change at a time", hint="give one of --weights, --switch, --back, --shadow")
    return wanted[0] if wanted else None


def _changed(endpoint: str, change: Change, address: str | None, config: str | None) -> Changed:
    platform = load_platform(config)
    stores = build_stores(platform)
    lookup = ArmLookup(
        endpoint,
        stores=stores,
        bundles=BundleStore(state_folder(platform) / "bundles"),
        registered=lambda model, version: build_registry(platform).bundle(model, version),
        refuse=lambda model, version: refuse_retired_by_hand(build_registry(platform), model, version),
    )
    with running_endpoint(endpoint, address, platform, stores) as running:
        hand = TrafficByHand(
            endpoint,
            stores=stores,
            lookup=lookup,
            serving=platform.serving,
            running=running,
            clock=SystemClock(),
        )
        return change(hand)


@contextmanager
def running_endpoint(
    endpoint: str, address: str | None, platform: PlatformSection, stores: Stores
) -> Iterator[RunningEndpoint | None]:
    """The endpoint on the Serve that runs it; None where none is known, or only its dashboard.

    Args:
        endpoint: its name.
        address: that somebody gave, or None.
        platform: whose Serve it is, where nobody gave one.
        stores: the catalog's.

    Raises:
        BackendError: nobody answers there.
    """
    place = known_ray(address, platform, stores.leases, now=datetime.now(UTC), endpoint=endpoint)
    if place is None or is_dashboard(place):
        yield None
        return
    with joined(place, platform, catalog=stores.url) as door:
        found = applications(door.read()).get(endpoint)
        deployment = found.deployments.get(ENDPOINT_DEPLOYMENT) if found else None
        runs = deployment is not None and deployment.replicas.get(RUNNING, 0) > 0
        yield RunningEndpoint(endpoint, stores.traffic) if runs else None


def _told_registry(endpoint: str, document: TrafficDocument, config: str | None) -> list[str]:
    """Move the registry's alias with the champion of the last environment, the one with the users."""
    if config is None:
        return ["the registry's alias champion is where it was; with --config it goes with the last environment's"]
    settings = load_settings(config)
    name = settings.experiment.name
    if endpoint != endpoint_name(name, settings.deployment.environments[-1]):
        return []
    version = document.champion.version
    registry = build_registry(settings.platform)
    try:
        stores = read_stores(settings.platform)
        # The alias may name another one: an undo without the configuration leaves it where it was.
        before = champion_before(stores, endpoint, version=version)
        registry.promote(name, version, before.version if before else None)
        tell_by_hand(registry, name, stores.traffic, document)
    except SluicewayError as error:  # the requests have moved: that is what was asked for, and it is told
        return [f"the registry's {name}@champion is not version {version}: {error.message}"]
    return [f"the registry's {name}@champion is version {version} now"]


def _show(document: TrafficDocument, stores: Stores, notes: tuple[str, ...], *, as_json: bool) -> None:
    breakers = stores.breakers.reasons(document.endpoint, document.generation)
    compared = stores.shadows.compare(document.endpoint)
    arms = _arms(document, breakers)
    if as_json:
        print_json(
            {
                "endpoint": document.endpoint,
                "generation": document.generation,
                "rollout": document.rollout_id,
                "salt": document.salt,
                "arms": arms,
                "shadows": [asdict(one) for one in compared],
                "notes": list(notes),
            }
        )
        return
    console = Console()
    by = f"rollout {document.rollout_id}" if document.rollout_id else "by hand"
    console.print(
        escape(f"{document.endpoint}, generation {document.generation}, {by}"), highlight=False, soft_wrap=True
    )
    print_rows([{**arm, "breaker": "; ".join(arm["breaker"])} for arm in arms], as_json=False, empty="")
    for one in compared:
        console.print(
            f"shadow {one.version} beside champion {one.champion_version}: scores differ by {one.mean_difference:.4g} "
            f"on average, {one.other_decisions:.2%} of the decisions are others, {one.rows:,} rows",
            highlight=False,
            soft_wrap=True,
        )
    for note in notes:
        console.print(escape(note), highlight=False, soft_wrap=True)


def _arms(document: TrafficDocument, breakers: dict[str, list[str]]) -> list[dict[str, Any]]:
    kinds = (
        ("champion", (document.champion,)),
        ("challenger", document.challengers),
        ("shadow", document.shadows),
        ("warm", document.warm),
    )
    return [
        {
            "arm": kind,
            "version": arm.version,
            "weight": arm.weight,
            "scored_by": arm.application or "the endpoint's replicas",
            "breaker": breakers.get(arm.version, []) if kind == "challenger" else [],
        }
        for kind, arms in kinds
        for arm in arms
    ]
