"""Scores a version of a table as a Ray job; takes what ``sluiceway serve score`` takes.

    ray job submit --working-dir . -- python jobs/batch_score.py s3://lake/loans@january --model loans@champion \
        --to s3://lake/loan_scores --keep id --config jobs/configs/flights.yaml

The cluster's environment needs the dependencies; the package itself comes along in the working directory. Submitting
needs the cluster's dashboard, and its token: RAY_AUTH_MODE=token with RAY_AUTH_TOKEN_PATH (or RAY_AUTH_TOKEN) set.

A job that died is submitted again as it is: the batch is written once. Relative paths are looked up in the copy of the
working directory that the cluster makes for the job and throws away later: let tables and ``platform.state`` be
absolute paths or URIs.
"""

import importlib
import sys
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parent.parent / "platform"


def main() -> int:
    """Hand the arguments on."""
    sys.path.insert(0, str(PACKAGE_ROOT))
    command = importlib.import_module("sluiceway.cli.main")
    command.end_orderly_when_terminated()
    code: int = command.run_command(["serve", "score", *sys.argv[1:]])
    return code


if __name__ == "__main__":
    sys.exit(main())
