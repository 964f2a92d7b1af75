"""A process that shows an endpoint's metrics as a replica does, and counts what it is told on its standard input."""

from __future__ import annotations

import json
import sys

from sluiceway.telemetry.metrics import ServingMetrics
from sluiceway.telemetry.process import ProcessMetrics
from sluiceway.telemetry.server import MetricsServer


def main(model: str, port: int) -> None:
    """Print the port; then add each line, a JSON list of arm, version, requests, errors and seconds of an answer."""
    metrics = ServingMetrics(model)
    ProcessMetrics(metrics.registry, model=model, component="replica")
    metrics.arm(version="1", arm="champion")
    server = MetricsServer(metrics.registry, host="127.0.0.1", port=port)
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        arm, version, requests, errors, seconds = json.loads(line)
        series = metrics.arm(version=version, arm=arm)
        series.requests.inc(requests)
        series.errors.inc(errors)
        for _ in range(requests):
            series.prediction_latency.observe(seconds)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
