"""An endpoint whose users only exist as counts: in a real catalog, and in processes that a real Prometheus scrapes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rollout_world import CHAMPION
from sluiceway.catalog.breakers import BreakerStore
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.records import RecordStore, ReplicaCounts
from sluiceway.catalog.rollouts import RolloutStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.config.load import header_secret
from sluiceway.core.clock import SystemClock
from sluiceway.core.traffic import LATENCY_BOUNDS_SECONDS, TrafficDocument
from sluiceway.rollout.controller import Doors
from sluiceway.rollout.observe import RecordObserver
from sluiceway.rollout.prometheus_api import open_prometheus
from sluiceway.rollout.prometheus_source import PrometheusObserver

TESTS = Path(__file__).parent
ENDPOINT = "flights"
TICK_SECONDS = 0.05
CONFIG = """
global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}
scrape_configs:
  - job_name: sluiceway
    file_sd_configs: [{{files: ["{folder}/targets.json"], refresh_interval: 1s}}]
"""


class Replica:
    """One process, and what it has counted in the catalog."""

    def __init__(self, name, port=0):
        self.name = name
        self.counts = defaultdict(lambda: [0, 0, [0] * (len(LATENCY_BOUNDS_SECONDS) + 1)])
        self.process = subprocess.Popen(
            [sys.executable, str(TESTS / "metered_process.py"), ENDPOINT, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(TESTS.parent / "platform")},
        )
        self.port = int(self.process.stdout.readline())

    def kill(self):
        self.process.kill()
        self.process.wait(10)
        self.process.stdin.close()
        self.process.stdout.close()

    def tell(self, *line):
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()


class MeteredEndpoint:
    """Replicas, users, a catalog; ``doors`` is what a rollout of it touches.

    Args:
        folder: of its own.
        rate: requests a second.
        replicas: processes.
    """

    def __init__(self, folder, *, rate=400, replicas=2):
        self.folder, self.rate = folder, rate
        self.url = f"sqlite:///{folder / 'catalog.db'}"
        self.engine = open_catalog(self.url)
        self.documents, self.records = TrafficStore(self.engine), RecordStore(self.engine)
        self.rollouts = RolloutStore(self.engine)
        self.documents.publish(TrafficDocument(ENDPOINT, 1, CHAMPION))
        self.document = self.documents.newest(ENDPOINT)
        # Shares of requests that fail, by arm; and what processes count more often than the catalog.
        self.errors = {"champion": 0.0, "challenger": 0.0}
        self.factor = 1
        self.served = defaultdict(lambda: [0, 0])
        self.refused = []
        self._random = np.random.default_rng(3)
        self._lock, self._over = threading.Lock(), threading.Event()
        self.replicas = [Replica(f"r{i}") for i in range(replicas)]
        self.tell_targets()
        self._users = threading.Thread(target=self._serve, name="users")
        self._users.start()

    def close(self):
        self._over.set()
        self._users.join()
        for replica in self.replicas:
            replica.kill()
        self.engine.dispose()

    def tell_targets(self):
        groups = [
            {"targets": [f"127.0.0.1:{one.port}"], "labels": {"endpoint": ENDPOINT, "component": "replica"}}
            for one in self.replicas
        ]
        new = self.folder / "targets.json.new"
        new.write_text(json.dumps(groups))
        new.rename(self.folder / "targets.json")

    def replace(self, place, *, same_port):
        """Kill a process, and start another one in its place."""
        with self._lock:
            old = self.replicas[place]
            old.kill()
            self.replicas[place] = Replica(f"{old.name}-again", old.port if same_port else 0)
            self.tell_targets()

    def _serve(self):
        last = time.monotonic()
        while not self._over.wait(TICK_SECONDS):
            now = time.monotonic()
            n, last = int(self._random.poisson(self.rate * (now - last))), now
            with self._lock:
                self._answer(self.document, n)

    def _answer(self, document, n):
        challenger = document.challengers[0] if document.challengers else None
        drawn = int(self._random.binomial(n, challenger.weight)) if challenger else 0
        shares = [("champion", document.champion.version, n - drawn)]
        if challenger:
            shares.append(("challenger", challenger.version, drawn))
        rows = []
        for arm, version, requests in shares:
            for replica in self.replicas:
                part = requests // len(self.replicas)
                failed = int(self._random.binomial(part, self.errors[arm]))
                replica.tell(arm, version, self.factor * part, self.factor * failed, 0.004)
                counts = replica.counts[document.generation, arm]
                counts[0], counts[1] = counts[0] + part, counts[1] + failed
                counts[2][bisect_left(LATENCY_BOUNDS_SECONDS, 0.004)] += part
                self.served[document.generation, arm][0] += part
                self.served[document.generation, arm][1] += failed
                rows.append(
                    ReplicaCounts(
                        ENDPOINT, document.generation, replica.name, version, arm, *counts[:2], tuple(counts[2]), 0.0
                    )
                )
        self.records.put_counts(rows)

    # The traffic, and what else a rollout changes.
    def current(self):
        return self.document

    def apply(self, document):
        with self._lock:
            self.document = document

    def started(self, plan):
        """Nothing has to run."""

    def paused(self, plan):
        """Nothing has to run."""

    def promoted(self, plan):
        """Nothing has to run."""

    def rolled_back(self, plan, reason):
        """Nothing has to run."""

    @contextmanager
    def doors(self, section):
        """For a rollout that asks Prometheus.

        Args:
            section: where it is.
        """
        counted = RecordObserver(self.records, BreakerStore(self.engine), clock=SystemClock())
        with PrometheusObserver(
            counted,
            open_prometheus(section, header_secret),
            labels=section.labels,
            every_seconds=section.every_seconds,
            rollouts=self.rollouts,
            clock=SystemClock(),
        ) as observe:
            yield Doors(
                traffic=self,
                documents=self.documents,
                rollouts=self.rollouts,
                leases=LeaseStore(self.engine),
                observe=observe,
                effects=self,
            )
