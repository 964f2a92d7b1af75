"""The catalog's stores that serving and rollout share."""

import concurrent.futures
from datetime import UTC, datetime, timedelta

import pytest

from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.records import FeedbackRecord, PredictionRecord, RecordStore, ReplicaCounts
from sluiceway.catalog.secrets import SecretStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.errors import BackendError, ConflictError
from sluiceway.core.traffic import LATENCY_BOUNDS_SECONDS, Arm, TrafficDocument

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def document(generation, endpoint="fraud"):
    return TrafficDocument(endpoint, generation, Arm("1", 1.0, "/models/1", "d1"))


def test_the_newest_generation_is_read(catalog):
    store = TrafficStore(catalog)
    assert store.newest("fraud") is None
    for generation in (1, 2):
        store.publish(document(generation))
    store.publish(document(1, "flights"))
    assert store.newest("fraud") == document(2)
    assert store.endpoints() == ["flights", "fraud"]


@pytest.mark.parametrize("generation", [1, 3, 0])
def test_a_generation_that_does_not_follow_is_refused(catalog, generation):
    store = TrafficStore(catalog)
    store.publish(document(1))
    with pytest.raises(ConflictError):
        store.publish(document(generation))
    assert store.newest("fraud") == document(1)


def test_the_first_generation_is_one(catalog):
    with pytest.raises(ConflictError):
        TrafficStore(catalog).publish(document(2))


def prediction(request_id, **changes):
    values = {"time": 1.0, "endpoint": "fraud", "generation": 2, "arm": "challenger", "version": "2", "score": 0.9}
    paired = {"decision": 1.0, "champion_version": "1", "champion_score": 0.1, "champion_decision": 0.0}
    return PredictionRecord(request_id=request_id, **{**values, **paired, **changes})


def outcome(request_id, value, received=10.0):
    return FeedbackRecord(request_id, value, 5.0, received)


def test_pairs_are_joined_by_request(catalog):
    store = RecordStore(catalog)
    store.add_predictions(
        [
            prediction("challenger right"),
            prediction("champion right"),
            prediction("both right", champion_decision=1.0),
            prediction("both wrong", champion_decision=1.0),
            prediction("no outcome yet"),
            prediction("no pair", champion_version=None, champion_score=None, champion_decision=None),
            prediction("another generation", generation=1),
            prediction("another version", version="3"),
            prediction("by the champion", arm="champion", version="1"),
        ]
    )
    outcomes = {
        "challenger right": 1,
        "champion right": 0,
        "both right": 1,
        "both wrong": 0,
        "no pair": 1,
        "unknown": 1,
    }
    store.add_feedback("fraud", [outcome(name, value) for name, value in outcomes.items()])
    pairs = store.pairs("fraud", "2", [2])
    assert (pairs.both_right, pairs.only_champion_right, pairs.only_challenger_right, pairs.both_wrong) == (1, 1, 1, 1)
    assert (pairs.n, pairs.predictions, pairs.with_outcome) == (4, 6, 5)
    assert (pairs.outcomes_without_prediction, pairs.outcomes) == (1, 6)


def test_outcomes_before_the_generation_do_not_count_as_lost(catalog):
    traffic, store = TrafficStore(catalog), RecordStore(catalog)
    traffic.publish(document(1))
    store.add_feedback("fraud", [outcome("long ago", 1, received=1.0), outcome("now", 1, received=4e9)])
    assert store.pairs("fraud", "2", [1]).outcomes_without_prediction == 1


def test_of_two_outcomes_and_of_two_records_the_first_stays(catalog):
    store = RecordStore(catalog)
    store.add_predictions([prediction("a"), prediction("a", decision=0.0)])
    assert store.add_feedback("fraud", [outcome("a", 1), outcome("b", 1)]) == {"a", "b"}
    assert store.add_feedback("fraud", [outcome("a", 0), outcome("a", 0), outcome("c", 1), outcome("c", 0)]) == {"c"}
    assert store.pairs("fraud", "2", [2]).only_challenger_right == 1


def test_a_store_takes_many_records_and_outcomes(catalog):
    store, n = RecordStore(catalog), 12_001  # three transactions
    store.add_predictions([prediction(f"r{i}", key_hash="h") for i in range(n)])
    assert len(store.add_feedback("fraud", [outcome(f"r{i}", i % 2) for i in range(n)])) == n
    pairs = store.pairs("fraud", "2", [2])
    assert (pairs.n, pairs.predictions) == (n, n)


def test_a_secret_is_made_once_and_is_the_same_for_everybody(catalog):
    store = SecretStore(catalog)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: SecretStore(catalog).get("predictions"), range(8)))
    assert found == {store.get("predictions")}
    assert len(store.get("predictions")) == 32
    assert store.get("another") not in found


def test_counts_are_replaced_by_replica_and_summed_over_replicas(catalog):
    store = RecordStore(catalog)
    latency = [0] * (len(LATENCY_BOUNDS_SECONDS) + 1)

    def counts(replica, requests, errors, bucket):
        filled = tuple(requests if i == bucket else value for i, value in enumerate(latency))
        return ReplicaCounts("fraud", 2, replica, "1", "champion", requests, errors, filled, 1.0, errors)

    store.put_counts([counts("a", 5, 0, 3)])
    store.put_counts([counts("a", 10, 1, 3), counts("b", 7, 2, 4)])
    (arm,) = store.counts("fraud", [1, 2])
    assert (arm.version, arm.arm, arm.generation, arm.requests, arm.errors) == ("1", "champion", 2, 17, 3)
    assert (arm.latency[3], arm.latency[4], sum(arm.latency)) == (10, 7, 17)
    assert arm.errors_in_row == 2  # the longest row of any replica
    assert store.counts("fraud", [1]) == []


def test_a_lease_has_one_owner_until_it_expires(catalog):
    store = LeaseStore(catalog)
    assert store.acquire("rollout:fraud", owner="a", ttl=30, now=NOW, body='{"step": 1}')
    assert not store.acquire("rollout:fraud", owner="b", ttl=30, now=NOW + timedelta(seconds=29))
    assert not store.renew("rollout:fraud", owner="b", ttl=30, now=NOW)
    assert store.renew("rollout:fraud", owner="a", ttl=30, now=NOW + timedelta(seconds=29))
    assert not store.acquire("rollout:fraud", owner="b", ttl=30, now=NOW + timedelta(seconds=58))
    assert store.acquire("rollout:fraud", owner="b", ttl=30, now=NOW + timedelta(seconds=59))
    assert not store.renew("rollout:fraud", owner="a", ttl=30, now=NOW + timedelta(seconds=60))


def test_leases_are_listed_by_prefix_and_released_by_their_owner(catalog):
    store = LeaseStore(catalog)
    for name in ("metrics:b", "metrics:a", "metrics_x", "rollout:fraud"):
        store.acquire(name, owner="me", ttl=30, now=NOW)
    assert [lease.name for lease in store.list("metrics:")] == ["metrics:a", "metrics:b"]
    assert store.list("metrics:", now=NOW + timedelta(seconds=30)) == []
    assert not store.release("metrics:a", owner="somebody")
    assert store.release("metrics:a", owner="me")
    assert [lease.name for lease in store.list("metrics:")] == ["metrics:b"]


def test_a_catalog_that_went_away_is_a_backend_error(tmp_path):
    engine = open_catalog(f"sqlite:///{tmp_path / 'c.db'}")
    engine.dispose()
    for file in tmp_path.iterdir():
        file.unlink()
    tmp_path.rmdir()
    with pytest.raises(BackendError, match="cannot be used"):
        RecordStore(engine).add_feedback("fraud", [outcome("a", 1)])
