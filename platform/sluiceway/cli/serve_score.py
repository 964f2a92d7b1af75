"""``sluiceway serve score``: a version of a table scored by a registered model, the scores appended to a table."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, cast

import typer
from rich.console import Console

from sluiceway.cli.data_arguments import place_to_write, reading, resolve_reference, say
from sluiceway.cli.in_ray import in_ray
from sluiceway.cli.output import ConfigOption, Json
from sluiceway.cli.progress import progress_for
from sluiceway.config.load import load_platform, load_settings, ray_address
from sluiceway.config.platform import PlatformSection
from sluiceway.core.clock import SystemClock
from sluiceway.core.references import ModelReference
from sluiceway.data.places import main_of
from sluiceway.data.tables import absolute, table_uri
from sluiceway.lifecycle.batch_plan import (
    Device,
    ScorePlan,
    ScoreReport,
    ScoreRequest,
    check_source,
    declared_key,
    earlier_report,
    plan_scores,
)
from sluiceway.wiring.context import build_registry
from sluiceway.wiring.stores import catalog_url, read_stores

Source = Annotated[
    str,
    typer.Argument(metavar="TABLE[@REF]", help="The rows: a version, tag, branch or time of a table; newest without."),
]
Model = Annotated[
    str, typer.Option("--model", metavar="MODEL@VERSION", help="A version number or an alias, e.g. loans@champion.")
]
To = Annotated[
    str,
    typer.Option("--to", metavar="TABLE[@BRANCH]", help="Where the scores are appended; made where there is none."),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        metavar="COL[=NAME]",
        help="Column to keep beside the score, under another name if need be; repeatable. The table's key otherwise.",
    ),
]


def score(  # noqa: PLR0913 (a command's options)
    source: Source,
    model: Model,
    to: To,
    keep: Keep = None,
    batch_id: Annotated[
        str | None, typer.Option(help="Name of the batch; the same name again writes nothing. By content if left out.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, or auto: that of the model's training where the cluster has it.")
    ] = "auto",
    actors: Annotated[
        int | None, typer.Option(help="Processes that score at once; as many as the cluster has room for otherwise.")
    ] = None,
    message: Annotated[str | None, typer.Option("-m", "--message", help="Why.")] = None,
    author: Annotated[str | None, typer.Option(help="Who.")] = None,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Score a version of a table by a registered model, and append the scores to a table, in one commit.

    A batch is written once: the same command again finds it done, whether the first one ended or was killed.
    """
    platform = load_platform(config)
    named = ModelReference.parse(model)
    version, bundle = build_registry(platform).bundle(named.name, named.version)
    request = ScoreRequest(
        source=resolve_reference(source, platform),
        model=ModelReference(named.name, version),
        bundle=bundle,
        keep=tuple(keep or ()),
        batch_id=batch_id,
        device=cast("Device", device),
        actors=actors,
        author=author,
        message=message,
    )
    uri, tracked = request.source.uri, read_stores(platform).repository.tracked()
    kept = check_source(request, declared_key(uri, tracked) or _configured_key(config, uri, platform))
    # Only now: for a branch this makes its copy of the table.
    plan = plan_scores(request, kept, place_to_write(to, platform), clock=SystemClock())
    _tell(earlier_report(plan) or _score(plan, platform), as_json=as_json)


def _configured_key(config: str | None, uri: str, platform: PlatformSection) -> tuple[str, ...]:
    """The key that a configuration has for its own table, if that is the one that is scored."""
    if config is None:
        return ()
    data = load_settings(config).data
    return data.key if absolute(table_uri(data.path, platform.aliases)) == main_of(uri) else ()


def _score(plan: ScorePlan, platform: PlatformSection) -> ScoreReport:
    with progress_for(Console(stderr=True)) as progress:
        progress.stage("start Ray", ray_address(platform.ray) or "on this machine")
        ray = in_ray("sluiceway.lifecycle.batch_score", platform, catalog=catalog_url(platform))
        with reading(plan.request.source, platform=platform, who="serve score"), ray as module:
            report: ScoreReport = module.score(plan, progress=progress)
    return report


def _tell(report: ScoreReport, *, as_json: bool) -> None:
    document: dict[str, Any] = asdict(report)
    if not as_json:
        document = {name: value for name, value in document.items() if value is not False and value not in ("", {})}
        if report.unseen:
            listed = ", ".join(f"{count:,} of {column}" for column, count in report.unseen.items())
            document["unseen"] = f"categories that the model does not know, taken as missing: {listed}"
        if report.skipped:
            del document["files"], document["bytes"]
            document["skipped"] = "this batch is in the table already; nothing was written"
    say(document, as_json)
