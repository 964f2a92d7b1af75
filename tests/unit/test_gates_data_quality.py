"""Clean training rows pass; each fault planted in them is found by the check that is there for it, and named."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from sluiceway.config.evaluation import DataQualitySection, EvaluationSection
from sluiceway.core.errors import SchemaMismatchError
from sluiceway.core.verdict import Direction, GateResult, Measurement, Status, Threshold, Verdict
from sluiceway.gates import catalogue
from sluiceway.gates.checks.data_quality import FORGOTTEN, GATE, judge_columns, run
from sluiceway.gates.column_facts import ColumnFacts, column_facts, counts_over, label_facts
from sluiceway.gates.context import GateContext
from sluiceway.gates.drift import drift
from sluiceway.gates.row_facts import content_hashes, copies, newest
from sluiceway.gates.statistics.auc import auc
from sluiceway.gates.statistics.binning import bin_counts, bin_places, sorted_edges
from sluiceway.gates.statistics.distances import histogram, quantile_edges

FEATURES = ("delay", "distance", "carrier")
N = 6000
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
AGES = np.arange(18.0, 78.0).repeat(17)[:1000]  # as ages are spread


def make_rows(seed=1, n=N, shift=0.0):
    """Rows whose label depends on all three features, each with a key of its own, in the ten days before NOW."""
    random = np.random.default_rng(seed)
    delay, distance = random.normal(shift, 10, n), random.uniform(100, 2500, n)
    carrier = random.choice(["AA", "B6", "UA"], n)
    logit = delay / 5 + (distance - 1300) / 1000 + np.where(carrier == "B6", 0.7, 0.0)
    late = (random.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    seconds = NOW.timestamp() - random.uniform(3600, 10 * 86400, n)
    return pa.table(
        {
            "delay": delay,
            "distance": distance,
            "carrier": carrier,
            "late": late,
            "at": pa.array((seconds * 1e6).astype(np.int64), pa.timestamp("us", "UTC")),
            "__key__": random.integers(0, 2**63, n).astype(np.uint64),
        }
    )


@pytest.fixture(scope="module")
def rows():
    return make_rows()


@pytest.fixture(scope="module")
def held_out():
    return make_rows(7, 2000)


def judged(train, test, *, key=("id",), **given):
    """All verdicts of the gate, with limits given as ``limits``."""
    section = DataQualitySection(**given.pop("limits", {}))
    context = GateContext(
        gate="data_quality",
        section=section,
        evaluation=EvaluationSection(data_quality=section),
        features=FEATURES,
        kinds={"delay": "numeric", "distance": "numeric", "carrier": "category"},
        target="late",
        threshold=0.5,
        key=key,
        now=NOW.timestamp(),
        test=test,
        train=train,
    )
    return run(dataclasses.replace(context, **given))


def columns(table, reference=None, **limits):
    facts = column_facts(table, FEATURES, "late", reference=reference)
    section = DataQualitySection(**limits)
    labels = label_facts(table, "late")
    return GateResult(
        "data_quality", judge_columns(facts, labels, section=section, features=FEATURES, reference=reference)
    )


def by_name(result, text):
    (found,) = [v for v in result.verdicts if text in v.measurement.name]
    return found


def broken(result):
    return {v.measurement.name for v in result.verdicts if v.status is not Status.PASS}


def replaced(table, name, column):
    return table.set_column(table.schema.get_field_index(name), name, column)


def stored(table):
    """Facts as they come back from where they were stored."""
    facts = column_facts(table, FEATURES, "late")
    return tuple(ColumnFacts.from_dict(json.loads(json.dumps(f.to_dict()))) for f in facts)


def test_clean_rows_pass_also_against_the_champions(rows, held_out):
    assert catalogue.explain(GATE).splitlines()[0] == "Are the training rows what they are taken for?"
    first = judged(rows, held_out, time="at")
    assert broken(first) == set()
    assert {v.check for v in first.verdicts} == {"data_quality"}
    later = judged(make_rows(2), held_out, time="at", reference=stored(rows), limits={"max_age_days": 7})
    assert broken(later) == set()
    assert [f.name for f in later.facts] == list(FEATURES)
    drawn = later.data.drift
    assert [s.against for s in drawn] == ["champion"] * 3
    assert [s.value for s in drawn] == sorted((s.value for s in drawn), reverse=True)
    assert all(s.limit == 0.25 for s in drawn)


# columns


def test_nulls_and_nan_are_found_and_allow_null_is_respected(rows):
    holed = replaced(rows, "distance", pa.array([np.nan if i % 5 == 0 else float(i) for i in range(N)]))
    verdict = by_name(columns(holed), "missing")
    assert verdict.status is Status.FAIL
    assert verdict.measurement.value == pytest.approx(0.2)
    assert "distance" in verdict.measurement.detail
    allowed = by_name(columns(holed, allow_null=("distance",)), "missing")
    assert allowed.status is Status.PASS
    assert "exempt: distance" in allowed.measurement.detail


def test_an_all_null_column_fails_even_when_exempt(rows):
    for kind in (pa.float64(), pa.string()):
        empty = replaced(rows, "distance", pa.nulls(N, kind))
        verdict = by_name(columns(empty, allow_null=("distance",)), "missing")
        assert verdict.status is Status.FAIL
        assert "distance" in verdict.measurement.detail


@pytest.mark.parametrize(("name", "column"), [("delay", pa.array([7] * N)), ("carrier", pa.array(["AA"] * N))])
def test_a_constant_column_is_named(rows, name, column):
    verdict = by_name(columns(replaced(rows, name, column)), "variance")
    assert verdict.status is Status.FAIL
    assert name in verdict.measurement.detail


def test_a_shuffled_column_keeps_its_distribution_and_loses_its_association(rows):
    shuffled = np.random.default_rng(6).permutation(rows["delay"].to_numpy())
    half = np.where(np.arange(N) % 2 == 0, shuffled, rows["delay"].to_numpy())
    for column in (shuffled, half):
        result = columns(replaced(rows, "delay", pa.array(column)), stored(rows))
        assert by_name(result, "drift").status is Status.PASS
        verdict = by_name(result, "own AUC")
        assert verdict.status is Status.FAIL
        assert "delay" in verdict.measurement.detail
        assert "distance" not in verdict.measurement.detail


def test_swapped_columns_are_named(rows):
    swapped = replaced(replaced(rows, "delay", rows["distance"]), "distance", rows["delay"])
    verdict = by_name(columns(swapped, stored(rows)), "drift")
    assert verdict.status is Status.FAIL
    assert verdict.measurement.detail == "breaks it: delay, distance"


def test_the_association_of_a_column_is_the_auc_of_its_bins_averages_in_other_rows(rows):
    facts = {f.name: f for f in column_facts(rows, FEATURES, "late")}
    labels, carrier = rows["late"].to_numpy(), np.array(rows["carrier"].to_pylist())
    parts, values, pairs = np.arange(N) % 5, [], []
    for part in range(5):
        asked, others = parts == part, parts != part
        average = np.zeros(N)
        for name in ("AA", "B6", "UA"):
            own = (carrier == name) & others
            average[carrier == name] = (labels[own].sum() + 20 * labels.mean()) / (own.sum() + 20)
        values.append(auc(labels[asked], average[asked]))
        pairs.append(labels[asked].sum() * (1 - labels[asked]).sum())
    assert facts["carrier"].own_auc == pytest.approx(np.average(values, weights=pairs), abs=1e-12)
    positives = labels.sum()
    assert facts["carrier"].own_error == pytest.approx(1.5 * np.sqrt((N + 1) / (12 * positives * (N - positives))))


def noise(n, *, seed, levels=60):
    """Features that know nothing of the target: three numbers and a category of many levels."""
    random = np.random.default_rng(seed)
    columns = {f"x{i}": random.normal(size=n) for i in range(3)}
    columns["kind"] = random.integers(0, levels, n).astype(str)
    return pa.table({**columns, "late": random.integers(0, 2, n).astype(float)})


@pytest.mark.parametrize(("before", "now"), [(400, 4000), (1000, 4000), (4000, 400), (4000, 4000)])
def test_a_table_that_grows_loses_no_association(before, now):
    names = ("x0", "x1", "x2", "kind")
    for seed in range(20):
        reference = column_facts(noise(before, seed=seed), names, "late")
        facts = column_facts(noise(now, seed=1000 + seed), names, "late", reference=reference)
        assert max(abs(f.own_auc - 0.5) for f in reference) < 5 * reference[0].own_error
        labels = label_facts(noise(now, seed=1000 + seed), "late")
        verdicts = judge_columns(facts, labels, section=DataQualitySection(), features=names, reference=reference)
        (verdict,) = [v for v in verdicts if "own AUC" in v.measurement.name]
        assert verdict.status is Status.PASS, verdict.line()


def test_the_association_of_many_zeros_before_the_first_number_is_that_of_a_regression():
    target = np.concatenate([np.zeros(1500), np.linspace(1, 50, 1500)])
    (facts,) = column_facts(pa.table({"x": np.arange(3000.0), "late": target}), ("x",), "late")
    assert facts.own_auc > 0.95


def test_a_column_that_drifted_is_named(rows):
    result = columns(make_rows(3, shift=15.0), stored(rows))
    verdict = by_name(result, "drift")
    assert verdict.status is Status.FAIL
    assert verdict.measurement.detail == "breaks it: delay"
    moved = replaced(rows, "carrier", pa.array(["WN"] * (N // 2) + ["AA"] * (N // 2)).dictionary_encode())
    assert "carrier" in by_name(columns(moved, stored(rows)), "drift").measurement.detail


def test_a_champion_of_which_nothing_is_kept_is_no_pass(rows, held_out):
    result = judged(rows, held_out, reference=())
    for name in ("drift (PSI) against the champion", "own AUC"):
        verdict = by_name(result, name)
        assert (verdict.status, verdict.reason) == (Status.INCONCLUSIVE, FORGOTTEN)
    before_one = judged(rows, held_out, reference=None)  # or an imported one
    assert not [v for v in before_one.verdicts if "champion" in v.measurement.name]


@pytest.mark.parametrize("kind", ["continuous", "repeated", "constant", "heavy at the low end", "empty", "missing"])
def test_bins_are_those_of_a_search(kind):
    random = np.random.default_rng(12)
    values = {
        "continuous": random.standard_normal(2000),
        "repeated": random.integers(0, 7, 2000).astype(float),
        "constant": np.full(50, 3.0),
        "heavy at the low end": np.maximum(random.standard_normal(2000), 0),
        "empty": np.empty(0),
        "missing": np.where(random.random(2000) < 0.2, np.nan, random.standard_normal(2000)),
    }[kind]
    absent = np.isnan(values)
    edges = sorted_edges(np.sort(values[~absent]), 10)
    np.testing.assert_allclose(edges, quantile_edges(values, 10), rtol=1e-12)
    np.testing.assert_array_equal(bin_counts(values, absent, edges), histogram(values, edges))
    np.testing.assert_array_equal(bin_places(values[~absent], edges), np.searchsorted(edges, values[~absent], "right"))
    with pytest.raises(ValueError, match="one byte"):
        bin_places(values, np.arange(256))


def test_what_chance_adds_to_the_drift_of_few_rows_is_taken_off():
    random = np.random.default_rng(11)
    plain, kept = [], []
    for _ in range(100):
        before, now = (pa.table({"x": random.standard_normal(60), "late": [0, 1] * 30}) for _ in range(2))
        (reference,) = column_facts(before, ("x",), "late")
        (facts,) = column_facts(now, ("x",), "late", reference=(reference,))
        kept.append(drift(facts, reference, facts.compared))
        shares = [(np.array(c) + 0.5) / (60 + len(c) / 2) for c in (reference.counts, facts.compared)]
        plain.append(float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum()))
    assert np.mean(plain) > 0.2
    assert np.mean(kept) < 0.08
    far = pa.table({"x": random.standard_normal(60) + 3, "late": [0, 1] * 30})
    (facts,) = column_facts(far, ("x",), "late", reference=(reference,))
    assert drift(facts, reference, facts.compared) > 1


def test_classes_missing_features_and_changed_kinds(rows):
    few = replaced(rows, "late", pa.array([1] * 20 + [0] * (N - 20)))
    assert by_name(columns(few), "smallest class").status is Status.FAIL
    one = replaced(rows, "late", pa.array([1] * N))
    assert by_name(columns(one), "smallest class").measurement.value == 0
    assert by_name(columns(one, stored(rows)), "own AUC").status is Status.FAIL
    assert columns(rows, class_balance=(0.3, 0.7)).status is Status.PASS
    assert columns(rows, class_balance=(0.9, 1.0)).status is Status.FAIL
    assert columns(rows, class_balance=(0.0, 0.1)).status is Status.FAIL
    lacking = columns(rows.drop_columns(["carrier"]))
    assert by_name(lacking, "not in the rows").measurement.detail == "carrier"
    assert lacking.status is Status.FAIL
    text = replaced(rows, "distance", pa.array([str(i % 7) for i in range(N)]))
    assert by_name(columns(text, stored(rows)), "turned").status is Status.FAIL
    with pytest.raises(SchemaMismatchError, match="late"):
        column_facts(rows.drop_columns(["late"]), FEATURES, "late")


def test_no_rows_are_not_a_pass(rows, held_out):
    result = judged(rows.slice(0, 0), held_out)
    assert not [v for v in result.verdicts if v.status is Status.PASS and "requests" not in v.measurement.name]
    assert by_name(judged(rows, held_out.slice(0, 0)), "trained on").status is Status.INCONCLUSIVE


# copies


def held_out_of_one_key_are_duplicates_whatever_they_hold(rows, held_out):
    keys = rows["__key__"].to_numpy().copy()
    keys[:30] = keys[30:60]
    result = judged(replaced(rows, "__key__", pa.array(keys)), held_out)
    assert broken(result) == {"share of duplicate training rows"}
    verdict = by_name(result, "duplicate")
    assert verdict.status is Status.FAIL
    assert verdict.measurement.value == 30 / N
    assert verdict.measurement.detail == "30 rows by key id"
    assert broken(judged(rows, held_out, limits={"max_duplicate_share": 0.01})) == set()


def test_held_out_that_were_trained_on_are_found_by_key(rows, held_out):
    keys = held_out["__key__"].to_numpy().copy()
    keys[:50] = rows["__key__"].to_numpy()[100:150]
    result = judged(rows, replaced(held_out, "__key__", pa.array(keys)))
    assert broken(result) == {"share of test rows that were trained on"}
    verdict = by_name(result, "trained on")
    assert verdict.status is Status.FAIL
    assert verdict.measurement.value == 50 / 2000
    assert "50 rows by key id" in verdict.line()


def test_without_a_key_copies_by_content_are_shown_and_judged_where_asked(rows, held_out):
    train = pa.concat_tables([rows, rows.slice(0, 60), held_out.slice(0, 40)])
    shown = judged(train, held_out, key=())
    assert broken(shown) == set()
    assert by_name(shown, "duplicate").measurement.value == 60 / (N + 100)
    assert by_name(shown, "trained on").measurement.value == 40 / 2000
    assert "features and target" in by_name(shown, "trained on").measurement.detail
    asked = judged(train, held_out, key=(), limits={"max_duplicate_share": 0.001, "max_overlap": 0.001})
    assert broken(asked) == {"share of duplicate training rows", "share of test rows that were trained on"}


def test_content_is_equal_where_values_are_whatever_their_encoding():
    values = {
        "number": pa.array([1.5, 1.5, -0.0, 0.0, None, float("nan"), 2.0]),
        "whole": pa.array([1, 1, 0, 0, None, None, 2**62]),
        "flag": pa.array([True, True, None, None, False, False, True]),
        "text": pa.array(["a", "a", "", "", None, None, "b"]).dictionary_encode(),
        "day": pa.array([1, 1, 2, 2, None, None, 3], pa.date32()),
        "nothing": pa.nulls(7),
    }
    table = pa.table(values)
    hashes = content_hashes((table, table.slice(0, 3)), table.column_names)
    assert [len(h) for h in hashes] == [7, 3]
    first = hashes[0]
    assert first[0] == first[1] == hashes[1][0]
    assert first[2] == first[3]
    assert first[4] == first[5]
    assert len(set(first.tolist())) == 4
    for name in ("number", "whole", "text", "day"):
        alone = content_hashes((table,), (name,))[0]
        assert len(set(alone.tolist())) == 4, name
    signs = pa.table({"a": [1.0, -1.0, 2.0, -2.0], "b": [2.0, -2.0, 1.0, -1.0]})
    assert len(set(content_hashes((signs,), ("a", "b"))[0].tolist())) == 4


def test_a_sample_of_the_training_rows_is_said_to_be_one(rows, held_out, monkeypatch):
    monkeypatch.setattr("sluiceway.gates.row_facts.SAMPLE", N)
    assert "sample" in by_name(judged(rows, held_out), "trained on").measurement.detail
    assert "sample" not in by_name(judged(rows, held_out), "duplicate").measurement.detail
    assert "sample" in by_name(judged(rows, held_out, key=()), "duplicate").measurement.detail
    assert not copies(rows.slice(1), held_out, key=(), content=FEATURES).sampled


# freshness


def test_stale_rows_fail_and_fresh_ones_pass(rows, held_out):
    fresh = by_name(judged(rows, held_out, time="at", limits={"max_age_days": 1}), "age")
    assert fresh.status is Status.PASS
    assert 0.04 < fresh.measurement.value < 0.1
    later = (NOW + timedelta(days=30)).timestamp()
    stale = judged(rows, held_out, time="at", now=later, limits={"max_age_days": 7})
    assert broken(stale) == {"age of the newest row"}
    assert "30.0" in by_name(stale, "age").line()
    assert "days limit <= 7 days" in by_name(stale, "age").line()
    assert by_name(judged(rows, held_out, time="at", now=later), "age").threshold is None


def test_one_row_from_the_future_does_not_make_old_rows_fresh(rows, held_out):
    late = (NOW + timedelta(days=90)).timestamp()
    ticks = rows["at"].cast(pa.int64()).to_numpy().copy()
    ticks[0] = int((NOW + timedelta(days=9000)).timestamp() * 1e6)
    odd = replaced(rows, "at", pa.array(ticks, pa.timestamp("us", "UTC")))
    verdict = by_name(judged(odd, held_out, time="at", now=late, limits={"max_age_days": 7}), "age")
    assert verdict.status is Status.FAIL
    assert "1 rows are later than now" in verdict.measurement.detail
    nothing = by_name(judged(odd, held_out, time="at", now=0.0, limits={"max_age_days": 7}), "age")
    assert nothing.status is Status.INCONCLUSIVE


def test_the_version_s_time_is_taken_where_rows_have_none(rows, held_out):
    week = (NOW - timedelta(days=7)).timestamp()
    limits = {"max_age_days": 5}
    for time in (None, "late", "no such column"):
        verdict = by_name(judged(rows, held_out, time=time, version_time=week, limits=limits), "age")
        assert verdict.status is Status.FAIL
        assert verdict.measurement.value == pytest.approx(7)
        assert "version was written" in verdict.measurement.detail
    unknown = judged(rows, held_out, limits=limits)
    assert by_name(unknown, "age").status is Status.INCONCLUSIVE
    assert "neither" in by_name(unknown, "age").reason
    assert not [v for v in judged(rows, held_out).verdicts if "age" in v.measurement.name]


@pytest.mark.parametrize(
    "kind", [pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("ns", "UTC"), pa.date32(), pa.date64()]
)
def test_times_of_every_kind(kind):
    first, last = (int(datetime(2026, 3, day, tzinfo=UTC).timestamp()) for day in (1, 9))
    table = pa.table({"at": pa.array([last, None, first], pa.timestamp("s")).cast(kind)})
    found = newest((table,), "at", now=NOW.timestamp())
    day_ends = 86400 if pa.types.is_date(kind) else 0
    assert found.epoch == last + day_ends
    assert (found.rows, found.later) == (2, 0)


# contract and production


def test_the_contract_s_verdicts_are_passed_on(rows, held_out):
    rule = Verdict("delay range", Status.FAIL, Measurement("rows below -60", 3, N), Threshold(0, Direction.AT_MOST))
    result = judged(rows, held_out, contract=(rule,))
    assert broken(result) == {"contract delay range: rows below -60"}
    assert by_name(result, "contract").check == "data_quality"
    ignored = by_name(judged(rows, held_out, contract=(rule,), limits={"contract": "ignore"}), "contract")
    assert (ignored.status, ignored.reason) == (Status.PASS, "1 rules are ignored")
    assert by_name(judged(rows, held_out), "contract").reason == "none is declared"


def test_drift_against_production_is_judged_only_where_asked(rows, held_out):
    moved, same = stored(make_rows(5, 900, shift=15.0)), stored(make_rows(6, 900))
    shown = judged(rows, held_out, production=moved)
    assert broken(shown) == set()
    verdict = by_name(shown, "requests")
    assert verdict.threshold is None
    assert (verdict.measurement.detail, verdict.measurement.n) == ("worst: delay", 900)
    assert np.isnan(shown.data.drift[0].limit)
    limits = {"max_production_drift": 0.25}
    result = judged(rows, held_out, production=moved, limits=limits)
    assert broken(result) == {"drift (PSI) against recent requests"}
    assert by_name(result, "requests").measurement.detail == "breaks it: delay"
    assert result.data.drift[0].feature == "delay"
    assert broken(judged(rows, held_out, production=same, limits=limits)) == set()


def test_drift_from_a_constant_is_seen_on_both_sides_of_it():
    constant, spread = (pa.table({"x": values, "late": [0, 1] * 500}) for values in (np.full(1000, 30.0), AGES))
    (reference,) = column_facts(constant, ("x",), "late")
    for now, found in ((spread, True), (constant, False)):
        (facts,) = column_facts(now, ("x",), "late", reference=(reference,))
        assert sum(facts.compared) == 1000
        assert (drift(facts, reference, facts.compared) > 1) is found
    # As the gate compares with requests, whose numbers have been through 32 bits.
    assert counts_over(spread, reference, single=True)[1] == (AGES == 30).sum()


def test_too_few_or_no_recorded_requests(rows, held_out):
    limits = {"max_production_drift": 0.25}
    none = by_name(judged(rows, held_out), "requests")
    assert (none.status, none.reason) == (Status.PASS, "none are recorded, and no limit is set")
    asked = by_name(judged(rows, held_out, limits=limits), "requests")
    assert (asked.status, asked.reason) == (Status.INCONCLUSIVE, "none are recorded")
    few = by_name(judged(rows, held_out, production=stored(make_rows(5, 50)), limits=limits), "requests")
    assert (few.status, few.enough) == (Status.INCONCLUSIVE, 200)
    other = tuple(dataclasses.replace(f, name=f"other {f.name}") for f in stored(make_rows(5, 900)))
    assert "compared" in by_name(judged(rows, held_out, production=other, limits=limits), "requests").reason


def test_several_classes_and_a_regression(rows, held_out):
    grades = np.array(["a", "b", "c"])
    train, test = (
        replaced(t, "late", pa.array(grades[np.digitize(t["delay"].to_numpy(), [-5, 5])])) for t in (rows, held_out)
    )
    several = judged(train, test, task="multiclass", classes=("a", "b", "c"))
    assert broken(several) == set()
    assert by_name(several, "smallest class").measurement.detail.startswith("class ")
    absent = judged(train, test, task="multiclass", classes=("a", "b", "c", "d"))
    assert by_name(absent, "smallest class").measurement.detail == "class d"
    numbers = judged(*(replaced(t, "late", t["distance"]) for t in (rows, held_out)), task="regression")
    assert broken(numbers) == set()
    assert by_name(numbers, "variance of the target").status is Status.PASS
