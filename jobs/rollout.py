"""Rolls a registered version out, as a Ray job.

    ray job submit --working-dir . -- python jobs/rollout.py --config jobs/configs/flights.yaml flights_late@3

What is said in `jobs/lifecycle.py` of the environment, the token and relative paths is true here, too. A job that is
killed is submitted again, and goes on where it stopped; `sluiceway rollout pause|resume|promote|abort` reaches it from
anywhere that sees the catalog. With `--detach` the job only begins: a detached actor of the cluster runs the rollout.
"""

import argparse
import importlib
import sys
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parent.parent / "platform"


def main() -> int:
    """Parse the arguments and roll out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL@VERSION", help="a registered version, by its number or an alias")
    parser.add_argument("--config", required=True, help="YAML file, relative to the working directory")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key")
    parser.add_argument("--environment", action="append", default=[], help="only there; all of them if left out")
    parser.add_argument("--supersede", action="store_true", help="abort another version's rollout that is under way")
    parser.add_argument("--ungated", action="store_true", help="although no gate has judged it, or gates refuse it")
    parser.add_argument("--detach", action="store_true", help="let an actor of the cluster run it, and end")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON document")
    arguments = parser.parse_args()
    sys.path.insert(0, str(PACKAGE_ROOT))
    command = importlib.import_module("sluiceway.cli.main")
    command.end_orderly_when_terminated()
    words = ["rollout", "start", arguments.model, "--config", arguments.config]
    words += [part for text in arguments.set for part in ("--set", text)]
    words += [part for text in arguments.environment for part in ("--environment", text)]
    words += [f"--{name}" for name in ("supersede", "ungated", "detach", "json") if getattr(arguments, name)]
    code: int = command.run_command(words)
    return code


if __name__ == "__main__":
    sys.exit(main())
