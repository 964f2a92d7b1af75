"""``sluiceway rollout``: what is under way, what was decided and on which numbers; and what people tell it."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from sluiceway.catalog.rollouts import RolloutRow
from sluiceway.catalog.stores import Stores
from sluiceway.cli.environments import refuse_unknown
from sluiceway.cli.output import Config, ConfigOption, Json, Set, print_json, print_rows
from sluiceway.cli.rollout_explain import explain_one
from sluiceway.cli.rollout_tell import found, named, runner, tell, under_way
from sluiceway.cli.rollout_watch import Watcher, drawn, watch
from sluiceway.cli.rollout_watch import as_json as look_as_json
from sluiceway.cli.serve_address import Address
from sluiceway.config.load import load_platform, load_settings
from sluiceway.core.clock import SystemClock
from sluiceway.core.command import Order
from sluiceway.core.errors import InputError
from sluiceway.core.pairs import BINARY, Scores
from sluiceway.core.traffic import endpoint_name
from sluiceway.rollout.forecast import StepForecast, forecast
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.looks import read as read_looks
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.present_traffic import measured
from sluiceway.rollout.regression import refuse_accuracy
from sluiceway.rollout.replay import ReplayedStep, replay, with_policy
from sluiceway.rollout.state import Phase, RolloutState
from sluiceway.rollout.told import read_told
from sluiceway.wiring.stores import read_stores

app = typer.Typer(
    help="Rollouts: plan, start, status, watch, pause, resume, promote, abort, undo, history, show, explain, export, "
    "replay.",
    no_args_is_help=True,
    add_completion=False,
)

Which = Annotated[
    str,
    typer.Argument(metavar="ROLLOUT", help="Its id, or the name of its endpoint; `rollout status` lists both."),
]
Known = Annotated[
    str,
    typer.Argument(
        metavar="ROLLOUT",
        help="Its id, or the name of its endpoint: then the one that is under way, or the newest one; "
        "`rollout history` lists both.",
    ),
]
Why = Annotated[str, typer.Option("--reason", "-m", help="Why, for the journal.")]
Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait until it has been obeyed; 0 only leaves it.")]


@app.command("start")
def start(
    model: Annotated[
        str, typer.Argument(metavar="MODEL@VERSION", help="A registered version, by its number or an alias.")
    ],
    config: Annotated[str, typer.Option("--config", "-c", help="The model's configuration.")],
    overrides: Set = None,
    environment: Annotated[
        list[str] | None, typer.Option(help="Only there; all of deployment.environments if left out, in their order.")
    ] = None,
    supersede: Annotated[
        bool, typer.Option("--supersede", help="Abort another version's rollout that is under way, and begin.")
    ] = False,
    ungated: Annotated[
        bool, typer.Option("--ungated", help="Although no gate has judged it, or gates do not let it pass.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Let an actor of the cluster run it, and end once it has begun.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Roll a registered version out: staging, then production, each with the steps of the configuration.

    One that is under way is gone on with. Exit code 0: promoted everywhere (or begun, with --detach); 1: rolled back;
    3: paused.
    """
    from sluiceway.cli.rollout_start import start as begin  # noqa: PLC0415 (engines, which the other words do not need)

    return begin(
        model,
        config,
        overrides=overrides or (),
        environments=environment or (),
        supersede=supersede,
        ungated=ungated,
        detach=detach,
        as_json=as_json,
    )


@app.command("status")
def status(config: ConfigOption = None, as_json: Json = False) -> None:
    """The rollouts that are under way: where each is, and who runs it."""
    stores = read_stores(load_platform(config))
    known = stores.rollouts.list()
    going = [name for endpoint in dict.fromkeys(row.endpoint for row in known) for name in under_way(stores, endpoint)]
    facts = [_under_way(stores, row) for row in known if row.rollout_id in going]
    rows = facts if as_json else [_under_way_row(fact) for fact in facts]
    print_rows(rows, as_json=as_json, empty="no rollout is under way")


@app.command("plan")
def plan(
    config: Config,
    overrides: Set = None,
    environment: Annotated[str, typer.Option(help="Whose traffic; the last environment if left out.")] = "",
    rate: Annotated[
        float | None, typer.Option(min=0, help="Requests a second; measured on the running endpoint if left out.")
    ] = None,
    discordance: Annotated[
        float, typer.Option(min=0, max=1, help="Share of requests on which exactly one of the versions is right.")
    ] = 0.05,
    outcomes: Annotated[float, typer.Option(min=0, max=1, help="Share of requests whose outcome comes soon.")] = 1.0,
    as_json: Json = False,
) -> None:
    """How many requests and how long each step of a rollout needs at the present traffic, and what it could find."""
    settings = load_settings(config, overrides=overrides or ())
    environment = environment or settings.deployment.environments[-1]
    refuse_unknown(settings.deployment, [environment], config=config)
    deployment = settings.deployment.of(environment)
    endpoint = endpoint_name(settings.experiment.name, environment)
    number = settings.model.type == "XGBRegressor"
    if number:
        refuse_accuracy(deployment, endpoint)
    seen = measured(read_stores(settings.platform), endpoint, rate)
    traffic = dataclasses.replace(seen, discordance=discordance, outcomes=outcomes)
    steps = forecast(
        deployment.planned_steps,
        deployment.margins,
        traffic,
        without=deployment.dry_run,
        fresh_baseline=deployment.baseline == "fresh",
        scores=Scores("regression") if number else BINARY,
    )
    rows = [_forecast_fact(step) if as_json else _forecast_row(step) for step in steps]
    if not as_json:
        told = f"{endpoint}: {traffic.rate:,.1f} requests/s, {traffic.error_rate:.2%} of them fail"
        Console().print(told, soft_wrap=True, highlight=False)
    print_rows(rows, as_json=as_json, empty="no steps")


@app.command("watch")
def watch_one(
    rollout: Which,
    once: Annotated[bool, typer.Option("--once", help="Draw it once, and end.")] = False,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """A rollout as it is now: weights, both arms, the evidence against its thresholds, and what comes next.

    Drawn anew every second until the rollout has ended, or ctrl-C; nothing is changed by it.
    """
    stores = read_stores(load_platform(config))
    rollout_id = found(stores, rollout)
    watcher = Watcher(
        stores, rollout_id, clock=SystemClock(), runner=lambda endpoint: runner(stores, endpoint, rollout_id)
    )
    if as_json:
        print_json(look_as_json(watcher.look()))
    elif once:
        Console().print(drawn(watcher.look()))
    else:
        watch(watcher, Console(), seconds=1.0)


@app.command("pause")
def pause(
    rollout: Which, reason: Why = "", wait: Wait = 10.0, config: ConfigOption = None, as_json: Json = False
) -> int:
    """Leave the weights as they are until somebody resumes it.

    The version goes on to answer its share. As long as somebody runs the rollout, as the actor of `start --detach`
    does, it is judged on, and goes back where it fails. A `rollout start` or `run` in the foreground ends with the
    pause: then only the breakers of the endpoint's replicas judge it.
    """
    return tell(config, rollout, Order.PAUSE, reason, wait, as_json=as_json)


@app.command("resume")
def resume(
    rollout: Which, reason: Why = "", wait: Wait = 10.0, config: ConfigOption = None, as_json: Json = False
) -> int:
    """Go on with the step that a pause has interrupted, or begin a probation anew in which something has failed."""
    return tell(config, rollout, Order.RESUME, reason, wait, as_json=as_json)


@app.command("promote")
def promote(
    rollout: Which,
    full: Annotated[bool, typer.Option("--full", help="To the end at once, past all further steps.")] = False,
    reason: Why = "",
    wait: Wait = 10.0,
    config: ConfigOption = None,
    as_json: Json = False,
) -> int:
    """End the present step well, though its evidence may be missing; this opens a step that waits for a person.

    Nothing goes past a metric that has failed in a step. On probation it lets the promotion stand; told after something
    has failed there that nothing may undo by itself (rollback.enabled: false), too.
    """
    return tell(config, rollout, Order.PROMOTE if full else Order.ADVANCE, reason, wait, as_json=as_json)


@app.command("abort")
def abort(
    rollout: Which,
    reason: Why = "",
    wait: Wait = 10.0,
    address: Address = None,
    config: ConfigOption = None,
    as_json: Json = False,
) -> int:
    """Give all traffic back to the champion: by whoever runs the rollout, or from here where nobody does.

    From here the registry's aliases go back, too, with --config of the model's own configuration.
    """
    return tell(config, rollout, Order.ABORT, reason, wait, as_json=as_json, address=address)


@app.command("history")
def history(config: ConfigOption = None, as_json: Json = False) -> None:
    """Every rollout, newest first, and how it ended."""
    stores = read_stores(load_platform(config))
    facts = [_past(stores, rollout) for rollout in stores.rollouts.list()]
    rows = facts if as_json else [_past_row(fact) for fact in facts]
    print_rows(rows, as_json=as_json, empty="no rollouts yet")


@app.command("show")
def show(
    rollout: Known,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """One rollout: every decision with the measurements that it saw."""
    journal = named(read_stores(load_platform(config)), rollout)
    entries = [_entry(entry) for entry in journal.entries]
    if as_json:
        print_json({"rollout": journal.plan.rollout_id, "source": journal.plan.source, "entries": entries})
        return
    console = Console()
    if journal.plan.asks_prometheus:
        console.print(f"source: {journal.plan.source}", highlight=False)
    told = ""
    for entry in entries:
        # A reason stays in the state until there is another one: it is told where it is new.
        reason = "" if entry["reason"] == told else entry["reason"]
        told = entry["reason"]
        console.print(
            f"{entry['time']} [bold]{escape(entry['action'])}[/] {escape(reason)}", highlight=False, soft_wrap=True
        )
        for line in entry["evidence"]:
            console.print(f"    {escape(line)}", highlight=False, soft_wrap=True)


@app.command("explain")
def explain(
    rollout: Known,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """What happened and why, in sentences: what decided, on how much, what would have changed it, what to do."""
    explain_one(read_stores(load_platform(config)), rollout, as_json=as_json)


@app.command("export")
def export(
    to: Annotated[
        str | None, typer.Option(metavar="TABLE", help="Delta table; platform.rollout_history if left out.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell how many decisions of which rollouts are missing there.")
    ] = False,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Bring every decision of every rollout that is not there yet into a Delta table, once, with what it saw.

    Each rollout does so when it ends; this does it for those whose table could not be written then, and for others.
    """
    from sluiceway.cli.rollout_export import export_all  # noqa: PLC0415 (Delta, which the other words do not need)

    export_all(load_platform(config), to, dry_run=dry_run, as_json=as_json)


@app.command("undo")
def undo(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="As `serve status` names it.")],
    to: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="An earlier champion of it; the one before this one if left out."),
    ] = None,
    reason: Why = "",
    wait: Wait = 10.0,
    address: Address = None,
    config: ConfigOption = None,
    as_json: Json = False,
) -> int:
    """Go back: a rollout that is under way is aborted; without one, the champion before this one answers at once.

    The present champion is kept warm, so that this can be undone, too. With --config of the endpoint's own
    configuration the registry's champion moves with the last environment's.
    """
    stores = read_stores(load_platform(config))
    going = next(iter(under_way(stores, endpoint)), None)
    if going is not None and to is None:
        return tell(config, going, Order.ABORT, reason, wait, as_json=as_json, address=address)
    from sluiceway.cli.rollout_undo import go_back  # noqa: PLC0415 (Serve, which the other words have no use for)

    go_back(endpoint, to, stores, address=address, config=config, as_json=as_json)
    return 0


@app.command("replay")
def replay_one(
    rollout: Known,
    policy: Annotated[
        str | None, typer.Option(help="A configuration whose `deployment` judges; the rollout's own plan if left out.")
    ] = None,
    environment: Annotated[str, typer.Option(help="Of the policy; the last environment if left out.")] = "",
    overrides: Set = None,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Judge a past rollout again, on what it saw: what another policy would have done, and when.

    Each step is judged on its own looks, since other weights would have let something else happen. Nothing is changed.
    """
    stores = read_stores(load_platform(config))
    plan = named(stores, rollout).plan
    looks = read_looks(stores.rollouts, plan.rollout_id)
    if policy is not None:
        deployment = load_settings(policy, overrides=overrides or ()).deployment
        environment = environment or deployment.environments[-1]
        refuse_unknown(deployment, [environment], config=policy)
        plan = with_policy(plan, deployment.of(environment))
    elif environment:
        raise InputError("--environment is one of a policy's, and none is given", hint="give --policy, too")
    rows = [_replayed_fact(step) if as_json else _replayed_row(step) for step in replay(plan, looks)]
    print_rows(rows, as_json=as_json, empty="nothing of this rollout was kept to judge it by")


def _replayed_fact(step: ReplayedStep) -> dict[str, Any]:
    return {
        "step": step.name,
        "would": step.action,
        "seconds": step.seconds,
        "requests": step.requests,
        "reason": step.reason,
    }


def _replayed_row(step: ReplayedStep) -> dict[str, Any]:
    return {
        "step": step.name,
        "would": step.action,
        "after": _duration(step.seconds),
        "requests": f"{step.requests:,}",
        "reason": step.reason,
    }


def _forecast_fact(step: StepForecast) -> dict[str, Any]:
    """What never comes is null: JSON has no infinity."""
    return {
        "step": step.name,
        "needs": step.needs,
        "seconds": step.seconds if math.isfinite(step.seconds) else None,
        "max_seconds": step.max_seconds if math.isfinite(step.max_seconds) else None,
        "in_time": step.in_time,
        "finds_error_rate": step.finds if math.isfinite(step.finds) else None,
    }


def _forecast_row(step: StepForecast) -> dict[str, Any]:
    return {
        "weight": step.name,
        **{f"{name} needs": f"{n:,}" for name, n in step.needs.items()},
        "takes": _duration(step.seconds),
        "at most": _duration(step.max_seconds),
        "in time": "yes" if step.in_time else "no",
        "finds a rise of errors of": f"{step.finds:.2%}" if math.isfinite(step.finds) else "none",
    }


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "for ever"
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 120 else f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _under_way(stores: Stores, rollout: RolloutRow) -> dict[str, Any]:
    journal = Journal.open(stores.rollouts, rollout.rollout_id)
    state, plan = journal.state, journal.plan
    return {
        **_head(plan, state),
        "step": plan.steps[state.step].name if _has_weight(state) else None,
        "weight": plan.steps[state.step].weight if _has_weight(state) else None,
        "since": _time(state.since),
        "run_by": runner(stores, plan.endpoint, plan.rollout_id),
        "reason": state.reason,
    }


def _under_way_row(fact: dict[str, Any]) -> dict[str, Any]:
    step, since, run_by = fact["step"], fact["since"], fact["run_by"] or "nobody"
    head = {name: fact[name] for name in ("rollout", "endpoint", "from", "to")}
    return {
        **head,
        "phase": _phase_told(fact),
        "weight": step,
        "since": since,
        "run by": run_by,
        "reason": fact["reason"],
    }


def _head(plan: RolloutPlan, state: RolloutState) -> dict[str, Any]:
    """What every list of rollouts begins with."""
    return {
        "rollout": plan.rollout_id,
        "endpoint": plan.endpoint,
        "from": plan.champion.version if plan.champion else None,
        "to": state.winner or ", ".join(plan.versions),
        "phase": str(state.phase),
        "waits": state.waits,
    }


def _phase_told(fact: dict[str, Any]) -> str:
    """A pause waits by its name; a probation may."""
    return "probation, paused" if fact["waits"] and fact["phase"] == Phase.PROBATION else fact["phase"]


def _has_weight(state: RolloutState) -> bool:
    return state.phase in (Phase.STEP, Phase.PAUSED) and state.step >= 0


def _past(stores: Stores, rollout: RolloutRow) -> dict[str, Any]:
    journal = Journal.open(stores.rollouts, rollout.rollout_id)
    state, plan = journal.state, journal.plan
    return {
        **_head(plan, state),
        "cause": state.cause or None,
        "reason": state.reason,
        "began": _time(plan.created),
    }


def _past_row(fact: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (fact | {"phase": _phase_told(fact)}).items() if name != "waits"}


def _entry(entry: Any) -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "time": _time(entry.time),
        "phase": str(entry.state.phase),
        "action": entry.action,
        "reason": entry.state.reason,
        "evidence": [verdict["line"] for verdict in entry.evidence.get("verdicts", [])] + _source(entry),
    }


def _source(entry: Any) -> list[str]:
    """How Prometheus was then, where it was asked."""
    told = (entry.evidence.get("seen") or {}).get("told")
    return [] if told is None else [f"Prometheus: {read_told(told, ()).line}"]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
