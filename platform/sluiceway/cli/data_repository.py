"""``sluiceway data``: branches, commits and merges over all tables, as git has them over files."""

from __future__ import annotations

from typing import Annotated

import typer

from sluiceway.cli.data_arguments import SHOWN_DIGITS, Table, metadata_of, repository_of, say
from sluiceway.cli.output import ConfigOption, Json, print_json, print_rows
from sluiceway.config.load import load_platform
from sluiceway.core.repository import BRANCH, MAIN
from sluiceway.data.merging import Merged, cherry_pick, merge, recover, revert
from sluiceway.data.repository import Repository
from sluiceway.data.tables import table_uri
from sluiceway.data.three_way import Strategy

app = typer.Typer(add_completion=False)

Message = Annotated[str, typer.Option("-m", "--message", help="Why.")]
Author = Annotated[str, typer.Option("--author", help="Who.")]
Meta = Annotated[list[str] | None, typer.Option("--meta", metavar="KEY=VALUE", help="Kept with the commit; repeat it.")]
OnBranch = Annotated[str, typer.Option("--branch", "-b", help="The branch that moves.")]
CommitName = Annotated[str, typer.Argument(metavar="COMMIT", help="First digits of its id, a branch, tag, or NAME~2.")]


@app.command("add")
def add(
    table: Table,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="Column that tells rows apart; repeat it. A merge then finds keys put in twice."),
    ] = None,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Take a table into the repository; the next commit holds it."""
    platform = load_platform(config)
    found = repository_of(platform, write=True).add(table_uri(table, platform.aliases), key=tuple(key or ()))
    say({"table": found.uri, "key": ", ".join(found.key) or "none"}, as_json)


@app.command("commit")
def commit(
    message: Message,
    branch: OnBranch = MAIN,
    meta: Meta = None,
    author: Author = "",
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Write down what every table of the repository is on a branch now."""
    repository = repository_of(load_platform(config), write=True)
    before = repository.store.ref(branch)
    made = repository.commit(branch, message=message, author=author, metadata=metadata_of(meta))
    nothing = before is not None and before.commit == made.id
    if nothing and not as_json:
        typer.echo(f"nothing to commit: no table has changed since {made.id[:SHOWN_DIGITS]}, where {branch} is")
        return
    more: dict[str, object] = {"nothing": nothing} if as_json else {}
    say({"commit": made.id, "branch": branch, "tables": len(made.tree), **more}, as_json)


@app.command("branch")
def branch(
    name: Annotated[str | None, typer.Argument(help="The new branch; all branches are listed without.")] = None,
    at: Annotated[str, typer.Option("--at", help="Branch, tag or commit where it begins.")] = MAIN,
    delete: Annotated[bool, typer.Option("--delete", help="Forget the branch; what was merged from it stays.")] = False,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Make, forget or list branches. A new one copies nothing, however large the tables are."""
    platform = load_platform(config)
    if name is None:
        _list(repository_of(platform, write=False), as_json=as_json)
        return
    repository = repository_of(platform, write=True)
    if delete:
        repository.delete(name, BRANCH)
        say({"removed": name}, as_json)
        return
    made = repository.branch(name, at)
    say({"branch": made.name, "at": made.commit[:SHOWN_DIGITS], "read it as": f"TABLE@{made.name}"}, as_json)


@app.command("protect")
def protect(
    branch: Annotated[str, typer.Argument(help="The branch.")],
    off: Annotated[bool, typer.Option("--off", help="Open it again.")] = False,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Let no write, commit or merge of sluiceway move a branch."""
    repository_of(load_platform(config), write=True).protect(branch, protected=not off)
    say({"branch": branch, "protected": not off if as_json else ("no" if off else "yes")}, as_json)


@app.command("merge")
def merge_command(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Branch, tag or commit that comes in.")],
    into: Annotated[str, typer.Option("--into", help="The branch that moves.")] = MAIN,
    strategy: Annotated[
        Strategy, typer.Option(help="For tables that both sides changed in ways that exclude each other.")
    ] = Strategy.FAIL,
    message: Message = "",
    author: Author = "",
    meta: Meta = None,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Bring the commits of a branch into another: one log entry a table, no row is read or written.

    Exit code 1 where both sides changed the same files, keys or columns; then nothing was changed.
    """
    repository = repository_of(load_platform(config), write=True)
    done = merge(
        repository,
        source,
        into,
        strategy=strategy,
        message=message,
        author=author,
        metadata=metadata_of(meta),
    )
    _tell(done, into, as_json=as_json)


@app.command("revert")
def revert_command(
    commit: CommitName,
    branch: OnBranch = MAIN,
    message: Message = "",
    author: Author = "",
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Take the change of one commit back, by a new commit; what came later stays."""
    done = revert(repository_of(load_platform(config), write=True), commit, branch, message=message, author=author)
    _tell(done, branch, as_json=as_json)


@app.command("cherry-pick")
def cherry_pick_command(
    commit: CommitName,
    branch: OnBranch = MAIN,
    message: Message = "",
    author: Author = "",
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Bring the change of one commit onto a branch, and not what was before it."""
    repository = repository_of(load_platform(config), write=True)
    done = cherry_pick(repository, commit, branch, message=message, author=author)
    _tell(done, branch, as_json=as_json)


@app.command("recover")
def recover_command(config: ConfigOption = None, as_json: Json = False) -> None:
    """Finish, or undo, the merges that a crash has left. Every merge does that first, too."""
    finished = recover(repository_of(load_platform(config), write=True))
    rows = [{"commit": done.commit.id[:SHOWN_DIGITS], "message": done.commit.message} for done in finished]
    print_rows(rows, as_json=as_json, empty="nothing was left")


def _list(repository: Repository, *, as_json: bool) -> None:
    rows = [
        {"branch": ref.name, "commit": ref.commit[:SHOWN_DIGITS], "protected": "yes" if ref.protected else ""}
        for ref in repository.store.refs(BRANCH)
    ]
    print_rows(rows, as_json=as_json, empty="no branches; the first `sluiceway data commit` makes main")


def _tell(done: Merged, branch: str, *, as_json: bool) -> None:
    tables = [{"table": uri, "version": pin.version} for uri, pin in done.changed.items()]
    if as_json:
        print_json({"branch": branch, "commit": done.commit.id, "nothing": done.nothing, "tables": tables})
        return
    if done.nothing:
        typer.echo(f"nothing to do: {branch} has it already")
        return
    print_rows(tables, as_json=False, empty="no table changed")
    say({"branch": branch, "commit": done.commit.id[:SHOWN_DIGITS]}, as_json)
