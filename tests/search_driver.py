"""A process that searches on somebody else's Ray, to be killed in the middle: CONFIG ADDRESS."""

import sys

from sluiceway.cli.main import run_command

if __name__ == "__main__":
    config, address = sys.argv[1:]
    raise SystemExit(run_command(["train", config, "--search", "--set", f"platform.ray.address={address}"]))
