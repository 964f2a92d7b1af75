"""``sluiceway data ingest``: rows from files and tables into a table, in one commit."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sluiceway.cli.data_arguments import metadata_of, place_to_write, reading, resolve_reference, say
from sluiceway.cli.in_ray import in_ray
from sluiceway.cli.output import ConfigOption, Json
from sluiceway.cli.progress import progress_for
from sluiceway.config.load import load_platform, ray_address
from sluiceway.config.platform import PlatformSection
from sluiceway.core.references import TableReference, TableVersion
from sluiceway.data.ingest.sources import holds_table
from sluiceway.data.tables import table_uri
from sluiceway.wiring.stores import catalog_url

if TYPE_CHECKING:
    from sluiceway.data.ingest.request import IngestReport, IngestRequest

app = typer.Typer(add_completion=False)

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="File, folder or pattern (Parquet, CSV, JSON lines, Arrow), or a table: TABLE[@REF].",
    ),
]
To = Annotated[
    str,
    typer.Argument(metavar="TABLE[@BRANCH]", help="Folder or URI of the Delta table; made where there is none."),
]
Mode = Annotated[str, typer.Option(help="append, overwrite, partition-overwrite, upsert or delete.")]
Key = Annotated[
    list[str] | None, typer.Option(metavar="COL", help="Column that names a row, for upsert and delete; repeatable.")
]
PartitionBy = Annotated[
    list[str] | None, typer.Option(metavar="COL", help="Partition column of a new table; repeatable.")
]
Meta = Annotated[
    list[str] | None, typer.Option("--meta", metavar="K=V", help="A further key of the commit; repeatable.")
]
Null = Annotated[
    list[str] | None, typer.Option("--null", metavar="TEXT", help="What stands for null in a CSV, beside nothing.")
]


@app.command("ingest")
def ingest(  # noqa: PLR0913 (a command's options)
    sources: Sources,
    table: To,
    mode: Mode = "append",
    key: Key = None,
    partition_by: PartitionBy = None,
    message: Annotated[str | None, typer.Option("-m", "--message", help="Why.")] = None,
    meta: Meta = None,
    batch_id: Annotated[
        str | None, typer.Option(help="Name of the delivery; the same name again writes nothing.")
    ] = None,
    author: Annotated[str | None, typer.Option(help="Who.")] = None,
    file_format: Annotated[
        str | None, typer.Option("--format", help="parquet, csv, json or arrow; told from the names if left out.")
    ] = None,
    delimiter: Annotated[str, typer.Option(help="Between the values of a CSV.")] = ",",
    null: Null = None,
    evolve: Annotated[
        bool, typer.Option("--evolve", help="Add columns that the table lacks; what the rows lack is null.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse the delivery (exit code 1) when a row breaks the contract.")
    ] = False,
    config: ConfigOption = None,
    as_json: Json = False,
) -> int:
    """Bring rows into a table in one commit, written by Ray tasks in parallel."""
    requests = importlib.import_module("sluiceway.data.ingest.request")
    text = importlib.import_module("sluiceway.data.ingest.text_files").TextOptions
    request = requests.IngestRequest(
        mode=mode,
        key=tuple(key or ()),
        partition_by=tuple(partition_by or ()),
        message=message,
        batch_id=batch_id,
        author=author,
        meta=metadata_of(meta),
        format=file_format,
        text=text(delimiter="\t" if delimiter == r"\t" else delimiter, nulls=tuple(null or ())),
        evolve=evolve,
        strict=strict,
    )
    request.check()
    platform = load_platform(config)
    place = place_to_write(table, platform)
    report = requests.report_of_earlier(place, request) or _ingest(sources, place, request, platform)
    _tell(report, as_json=as_json)
    return 1 if report.refused else 0


def _ingest(sources: list[str], place: str, request: IngestRequest, platform: PlatformSection) -> IngestReport:
    found = [_source(one, platform) for one in sources]
    with progress_for(Console(stderr=True)) as progress:
        progress.stage("start Ray", ray_address(platform.ray) or "on this machine")
        ray = in_ray("sluiceway.data.ray_ingest", platform, catalog=catalog_url(platform))
        read = [one for one in found if isinstance(one, TableVersion)]
        with reading(*read, platform=platform, who="data ingest"), ray as module:
            report: IngestReport = module.ingest(found, place, request, progress=progress)
    return report


def _source(text: str, platform: PlatformSection) -> Any:
    """A pinned version where the text names a table, the text itself where it names files."""
    reference = TableReference.parse(text)
    uri = table_uri(reference.table, platform.aliases)
    return resolve_reference(text, platform) if holds_table(uri) else text


def _tell(report: IngestReport, *, as_json: bool) -> None:
    document: dict[str, Any] = asdict(report)
    if not as_json:
        document = {name: value for name, value in document.items() if value not in (None, (), {}, False)}
        if report.types:
            document["types"] = ", ".join(f"{name} {kind}" for name, kind in report.types.items())
        if report.added_columns:
            document["added_columns"] = ", ".join(report.added_columns)
    say(document, as_json)
