"""The root of the command line, and the one place that turns errors into exit codes.

Nouns are imported when they are named: ``--help`` need not wait for the engines, and Serve's environment is set before
anything imports Ray, which reads it once.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import signal
import sys
import threading
from contextlib import nullcontext
from types import FrameType
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from sluiceway.cli.output import only_results, print_error
from sluiceway.config.load import set_environment_defaults
from sluiceway.core.errors import SluicewayError
from sluiceway.serving.environment import serve_environment

EXIT_HELP = "Exit codes: 0 pass, 1 fail or rolled back, 2 bad input, 3 inconclusive, 4 error."

# What each word does; the module sluiceway.cli.<word> holds it, as a command of that name or as a group ``app``.
WORDS = {
    "run": "Run a configuration: ingest, train, judge, register, roll out.",
    "init": "Draft a configuration for a table of your own.",
    "data": "Tables by version and by branch: ingest, diff, restore; branch, merge, revert; optimize, vacuum, erase.",
    "train": "Train a candidate and store its bundle.",
    "gates": "Judge a registered model on a version of a table.",
    "models": "Registered models: list, show, diff, lineage, import, retire.",
    "serve": "The endpoints: up, status, traffic, score, down.",
    "keys": "API keys of the endpoints: create, list, revoke.",
    "rollout": "Rollouts: plan, start, status, watch, explain, pause, resume, promote, abort, undo, history, export.",
    "monitor": "What became of the predictions, and where metrics are shown: status, targets, discovery.",
    "doctor": "Check this machine, the catalog and the registry.",
}
# Typer carries its own copy of Click; this is its base of everything that a wrong call raises.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
# What Typer makes of a ctrl-C that reaches it; 128 + SIGINT, as shells have it.
INTERRUPTED = 130
COMMANDS = ("run", "init", "train", "doctor")


class LazyGroup(TyperGroup):
    """A group whose members are imported when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All words, in the order of the work."""
        return list(WORDS)

    def get_command(self, ctx: Any, name: str) -> Any:
        """A word with its line for the overview; nothing is imported."""
        return TyperCommand(name, help=WORDS[name]) if name in WORDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Import the module of the word that is called."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, None if found is None or name is None else _load(name), rest


def _load(name: str) -> Any:
    module: Any = importlib.import_module(f"sluiceway.cli.{name}")
    if name not in COMMANDS:
        return typer.main.get_command(module.app)
    single = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    single.command(name)(getattr(module, name))
    return typer.main.get_command(single)


app = typer.Typer(
    name="sluiceway",
    cls=LazyGroup,
    help=f"A model's whole way on Ray: versioned data, training, gates, canaried serving. {EXIT_HELP}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def root() -> None:
    """Root of all words."""


def main() -> None:
    """Entry point of the ``sluiceway`` command."""
    end_orderly_when_terminated()
    _leave(run_command(sys.argv[1:]))


def _leave(code: int) -> None:
    """End this process as Python does, but without the destructors of compiled libraries.

    One of them now and then finds a thread of its own still running, on a busy machine, and aborts: exit code 134
    instead of ours ("terminate called without an active exception", 2 of 11 commands that ended with an error).
    """
    # As the interpreter does: pools are told that there is no more work, then their threads are waited for.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):  # nobody listens any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def end_orderly_when_terminated() -> None:
    """Take SIGTERM, as of systemd, Kubernetes or ``ray job stop``, for ctrl-C: everything that was started is ended."""
    signal.signal(signal.SIGTERM, _terminated)
    sys.unraisablehook = _ask_again


def _ask_again(lost: sys.UnraisableHookArgs) -> None:
    """Repeat a ctrl-C that came while Python ran a finaliser, where it is only printed, and the run would go on."""
    if lost.exc_type is KeyboardInterrupt:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(lost)


def _terminated(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the clean-up is not interrupted by a second one
    raise KeyboardInterrupt


def run_command(arguments: list[str]) -> int:
    """Run one command.

    Args:
        arguments: without the program's name.

    Returns:
        The exit code (docs/decisions/0015).
    """
    # A call after Ray has ended must fail: Ray would join whatever cluster it finds, or wait minutes for a dead one.
    set_environment_defaults({**serve_environment(), "RAY_ENABLE_AUTO_CONNECT": "0"})
    as_json = "--json" in arguments
    with only_results() if as_json else nullcontext():
        return _run(arguments, as_json=as_json)


def _run(arguments: list[str], *, as_json: bool) -> int:
    try:
        code = app(arguments, standalone_mode=False)
    except SluicewayError as error:
        print_error(error, as_json=as_json)
        return error.exit_code
    except USAGE_ERROR as error:
        error.show()  # type: ignore[attr-defined]
        return 2
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except SystemExit as end:  # Ray's answer to SIGTERM, while it starts
        if end.code != signal.SIGTERM:
            raise
        code = INTERRUPTED
    if code == INTERRUPTED:
        sys.stderr.write("interrupted; nothing acknowledged is lost, the same command goes on from here\n")
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    main()
