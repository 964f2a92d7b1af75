"""Counts from raw samples: exact between two scrapes of one step, whatever restarts, comes and goes."""

from __future__ import annotations

import math
from collections import defaultdict

import pytest

from sluiceway.core.errors import BackendError
from sluiceway.core.traffic import EXPORTED_LATENCY_BOUNDS_SECONDS
from sluiceway.rollout.prometheus_api import Answer, Series
from sluiceway.rollout.prometheus_counters import ERRORS, LATENCY, REQUESTS, STARTED, CounterReader, Window

STEPS = [Window(1000, 2000), Window(2000, math.inf)]


class Scraped:
    """Samples as Prometheus keeps them, asked for by a range that it reads from the query."""

    def __init__(self):
        self.samples = defaultdict(dict)
        self.questions = 0

    def ask(self, query, *, at):
        self.questions += 1
        seconds = float(query.rpartition("[")[2].rstrip("s]"))
        found = []
        for labels, values in self.samples.items():
            inside = tuple((time, value) for time, value in sorted(values.items()) if at - seconds <= time <= at)
            if inside:
                found.append(Series(dict(labels), inside))
        return Answer("matrix", tuple(found))

    def scrape(self, time, *, champion=None, challenger=None, instance="a", started=None, version="2"):
        """(requests, errors) of each arm as a process tells them at a time; all answers take 1 ms."""
        for arm, served, counts in (("champion", "1", champion), ("challenger", version, challenger)):
            if counts is None:
                continue
            labels = {"model": "flights", "arm": arm, "version": served, "instance": instance, "job": "sluiceway"}
            self._add(time, counts[0], labels, REQUESTS)
            self._add(time, counts[1], labels, ERRORS)
            for bound in (*EXPORTED_LATENCY_BOUNDS_SECONDS, math.inf):
                self._add(time, counts[0] if bound > 0.001 else 0, {**labels, "le": str(bound)}, LATENCY)
        if started is not None:
            labels = {"model": "flights", "instance": instance, "job": "sluiceway", "component": "replica"}
            self._add(time, started, labels, STARTED)

    def _add(self, time, value, labels, name):
        self.samples[frozenset({**labels, "__name__": name}.items())][time] = value


@pytest.fixture
def scraped():
    return Scraped()


@pytest.fixture
def reader(scraped):
    return CounterReader(scraped, endpoint="flights", version="2", labels={})


def counted(reader, n=2):
    return [((a.requests, a.errors), (b.requests, b.errors)) for a, b in reader.steps(n)]


def test_each_step_has_what_grew_between_its_own_scrapes(scraped, reader):
    for time, champion, challenger in (
        (990, (500, 5), None),
        (1005, (520, 6), (2, 1)),  # the series of the challenger is new: it began at 0
        (1995, (1520, 16), (52, 3)),
        (2005, (1530, 16), (62, 3)),  # between two steps: of neither
        (2100, (1600, 20), (162, 5)),
    ):
        scraped.scrape(time, champion=champion, challenger=challenger)
    reader.read(STEPS, 2100)
    assert counted(reader) == [((1000, 10), (52, 3)), ((70, 4), (100, 2))]
    latency = reader.steps(2)[1][1].latency
    assert (sum(latency), max(latency), len(latency)) == (100, 100, len(EXPORTED_LATENCY_BOUNDS_SECONDS) + 1)
    assert reader.totals() == {"champion": (1100, 15), "challenger": (162, 5)}


def test_no_sample_is_read_twice(scraped, reader):
    for time in range(1000, 1900, 5):
        scraped.scrape(time, champion=(time * 3, 0), challenger=(time, 0))
        reader.read([Window(1000, math.inf)], time + 1)
    assert counted(reader, 1) == [((895 * 3, 0), (895, 0))]
    again = CounterReader(scraped, endpoint="flights", version="2", labels={})
    scraped.questions = 0
    again.read([Window(1000, math.inf)], 1900)
    assert counted(again, 1) == counted(reader, 1)
    assert scraped.questions == 4  # five minutes at once


def test_a_process_that_began_anew_began_at_0(scraped, reader):
    scraped.scrape(1000, champion=(900, 9), challenger=(90, 9), started=10)
    scraped.scrape(1010, champion=(910, 9), challenger=(100, 9), started=10)
    scraped.scrape(1020, champion=(5, 0), challenger=(3, 1), started=1012)
    scraped.scrape(1030, champion=(25, 0), challenger=(8, 1), started=1012)
    reader.read([Window(1000, math.inf)], 1030)
    assert counted(reader, 1) == [((10 + 5 + 20, 0), (10 + 3 + 5, 1))]


def test_one_that_has_counted_more_than_the_one_before_is_told_by_its_start(scraped, reader):
    scraped.scrape(1000, champion=(10, 0), started=10)
    scraped.scrape(1010, champion=(30, 0), started=1001)
    reader.read([Window(1000, math.inf)], 1010)
    assert counted(reader, 1) == [((30, 0), (0, 0))]


def test_a_new_process_counts_from_0_and_one_found_late_from_where_it_is(scraped, reader):
    scraped.scrape(1000, champion=(100, 0), started=10)
    scraped.scrape(1010, champion=(110, 0), started=10)
    scraped.scrape(1010, champion=(7, 1), challenger=(3, 0), instance="b", started=1004)
    scraped.scrape(1010, champion=(7000, 100), challenger=(300, 5), instance="c", started=10)
    reader.read([Window(1000, math.inf)], 1010)
    assert counted(reader, 1) == [((10 + 7, 1), (3, 0))]
    before = reader.processes(alive_since=1000)
    scraped.scrape(1020, champion=(8000, 100), instance="c", started=10)
    reader.read([Window(1000, math.inf)], 1020)
    assert counted(reader, 1) == [((10 + 7 + 1000, 1), (3, 0))]
    assert reader.processes(alive_since=1000) == before
    assert reader.processes(alive_since=1015) != before  # two of the three are scraped no more


def test_only_the_rollouts_own_arms_count(scraped, reader):
    scraped.scrape(1000, champion=(0, 0), challenger=(0, 0))
    scraped.scrape(1000, challenger=(0, 0), version="9")
    scraped.scrape(1010, champion=(10, 0), challenger=(5, 0))
    scraped.scrape(1010, challenger=(70, 7), version="9")
    reader.read([Window(1000, math.inf)], 1010)
    assert counted(reader, 1) == [((10, 0), (5, 0))]
    assert reader.newest == 1010


def test_other_buckets_than_the_platforms_are_no_answer(scraped, reader):
    labels = {"model": "flights", "arm": "champion", "version": "1", "instance": "a", "__name__": LATENCY, "le": "0.5"}
    for time, value in ((1000, 0), (1010, 5)):
        scraped.samples[frozenset(labels.items())][time] = value
    reader.read([Window(1000, math.inf)], 1010)
    with pytest.raises(BackendError, match=r"has 1 buckets up to 0\.5 s"):
        reader.steps(1)


def test_the_names_that_are_asked_for_are_texts(scraped):
    asked = []
    scraped.ask = lambda query, *, at: asked.append(query) or Answer("matrix", ())
    CounterReader(scraped, endpoint='a"} or b{c="', version="2", labels={"cluster": "eu"}).read(STEPS, 1500)
    assert 'cluster="eu",model="a\\"} or b{c=\\""}[300s]' in asked[0]
