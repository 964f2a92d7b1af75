"""Runs a configuration as a Ray job.

    ray job submit --working-dir . -- python jobs/lifecycle.py --config jobs/configs/flights.yaml

The cluster's environment needs the dependencies; the package itself comes along in the working directory. Submitting
needs the cluster's dashboard, and its token: RAY_AUTH_MODE=token with RAY_AUTH_TOKEN_PATH (or RAY_AUTH_TOKEN) set.

Relative paths are looked up in the copy of the working directory that the cluster makes for the job and throws away
later: let what has to outlast it, tables and ``platform.state``, be absolute paths or URIs.
"""

import argparse
import importlib
import sys
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parent.parent / "platform"


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file, relative to the working directory")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON document")
    arguments = parser.parse_args()
    sys.path.insert(0, str(PACKAGE_ROOT))
    command = importlib.import_module("sluiceway.cli.main")
    command.end_orderly_when_terminated()
    overrides = [part for text in arguments.set for part in ("--set", text)]
    code: int = command.run_command(["run", arguments.config, *overrides, *(["--json"] if arguments.json else [])])
    return code


if __name__ == "__main__":
    sys.exit(main())
