"""Bad parts of the rows are found and named; a clean model has none, and what is hard by nature is not bad."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from scipy.special import expit
from scipy.stats import binom, norm
from sklearn import metrics as theirs
from sklearn.tree import DecisionTreeRegressor

from sluiceway.config.evaluation import EvaluationSection
from sluiceway.config.gates import SliceSection, SlicesSection
from sluiceway.core.verdict import Severity, Status
from sluiceway.gates.bad_slices import KEY, find_slices
from sluiceway.gates.checks.slices import GATE, rows_inside, slices
from sluiceway.gates.context import GateContext
from sluiceway.gates.error_tree import code_feature, grow, worst_regions
from sluiceway.gates.promise import Promise, excess_loss, promised_metric
from sluiceway.gates.slice_metrics import WholeRows
from sluiceway.gates.statistics.differences import holm_levels

KINDS = {"hour": "numeric", "delay": "numeric", "carrier": "category"}
CARRIERS = ("AA", "B6", "DL", "UA")
N = 4000


def draw(seed=1, n=N):
    """Labels that the scores know as well as anybody can."""
    random = np.random.default_rng(seed)
    delay = random.normal(0, 1, n)
    rows = pa.table(
        {
            "hour": random.integers(5, 24, n),
            "delay": pa.array(np.where(random.random(n) < 0.02, np.nan, delay), from_pandas=True),
            "carrier": pa.array(random.choice(CARRIERS, n)).dictionary_encode(),
            KEY: random.integers(0, 2**64, n, dtype=np.uint64),
        }
    )
    scores = expit(2 * delay)
    return rows, (random.random(n) < scores).astype(float), scores


@pytest.fixture(scope="module")
def drawn():
    return draw()


def judge(rows, labels, scores, task="binary", seed=0, **options):
    scored = WholeRows(np.asarray(labels, dtype=float), scores, task)
    return slices(rows, scored, kinds=KINDS, section=SlicesSection(**options), seed=seed)


def only(output):
    (verdict,) = output.verdicts
    return verdict


def declared(*wheres, **options):
    chosen = tuple(SliceSection(name=f"slice {i}", where=where) for i, where in enumerate(wheres))
    return {"declared": chosen, "discover": False, **options}


def column(rows, name):
    return np.array(rows[name].to_pylist())


# declared slices


def test_a_good_slice_passes_and_a_bad_one_is_named(drawn):
    rows, labels, scores = drawn
    b6 = column(rows, "carrier") == "B6"
    options = declared({"carrier": "B6"}, {"carrier": "AA"})
    good = judge(rows, labels, scores, **options)
    assert [v.status for v in good.verdicts] == [Status.PASS, Status.PASS]
    bad = judge(rows, labels, np.where(b6, 1 - scores, scores), **options)
    assert [v.status for v in bad.verdicts] == [Status.FAIL, Status.PASS]
    found = bad.verdicts[0].measurement
    assert found.name == "slice 0 AUC loss"
    assert found.n == b6.sum()
    whole = theirs.roc_auc_score(labels, np.where(b6, 1 - scores, scores))
    assert found.value == pytest.approx(whole - theirs.roc_auc_score(labels[b6], 1 - scores[b6]))
    assert 0.15 < found.low < found.value < found.high
    assert f"against {whole:.3f} of all rows" in found.detail
    (drawn_, _) = bad.data.slices
    assert (drawn_.name, drawn_.found, drawn_.judged) == ("slice 0", "declared", True)
    assert drawn_.low < drawn_.value < drawn_.high


def test_ranges_and_values_pick_the_rows_that_they_say(drawn):
    rows, _, _ = drawn
    hour, delay, carrier = (column(rows, name) for name in ("hour", "delay", "carrier"))
    more = rows.append_column("late", pa.array([i % 2 == 0 for i in range(N)])).append_column(
        "text", rows["carrier"].cast("string")
    )
    missing = np.array([value is None for value in delay])
    number = np.array([np.nan if value is None else value for value in delay])
    for where, expected in (
        ({"hour": (6, 9)}, (hour >= 6) & (hour < 9)),
        ({"hour": (None, 9)}, hour < 9),
        ({"hour": 7}, hour == 7),
        ({"hour": 7.0}, hour == 7),
        ({"delay": (0.5, None)}, ~missing & (number >= 0.5)),
        ({"delay": (None, 0.5)}, ~missing & (number < 0.5)),
        ({"carrier": "UA", "hour": (6, 9)}, (carrier == "UA") & (hour >= 6) & (hour < 9)),
        ({"text": "UA"}, carrier == "UA"),
        ({"late": True}, np.arange(N) % 2 == 0),
        ({"carrier": "XX"}, np.zeros(N, dtype=bool)),
    ):
        inside = rows_inside(more, SliceSection(name="s", where=where))
        assert np.array_equal(inside, expected), where


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ({"gate": "B6"}, "'gate' is not a column"),
        ({"carrier": (1, 2)}, "cannot be held against"),
        ({"hour": "evening"}, "'hour' is of type int64 and cannot be held against 'evening'"),
        ({"hour": True}, "cannot be held against"),
        ({"hour": 7.5}, "cannot be held against"),
    ],
)
def test_a_slice_that_cannot_be_told_fails(drawn, where, reason):
    verdict = only(judge(*drawn, **declared(where)))
    assert verdict.status is Status.FAIL
    assert reason in verdict.reason


@pytest.mark.parametrize("where", [{"a": (None, None)}, {"a": (3, 3)}, {}])
def test_a_slice_of_nothing_is_refused(where):
    with pytest.raises(ValidationError):
        SliceSection(name="s", where=where)
    with pytest.raises(ValidationError, match="two slices are called 's'"):
        SlicesSection(declared=(SliceSection(name="s", where={"a": 1}),) * 2)


def test_a_declared_slice_that_is_too_small_is_inconclusive(drawn):
    rows, labels, scores = drawn
    small = rows.append_column("gate", pa.array(["A1"] * 60 + ["B2"] * (N - 60)))
    none, few = judge(small, labels, scores, **declared({"gate": "C3"}, {"gate": "A1"})).verdicts
    assert (none.status, none.measurement.n, none.enough) == (Status.INCONCLUSIVE, 0, None)
    assert (few.status, few.measurement.n, few.enough) == (Status.INCONCLUSIVE, 60, 200)
    assert few.reason == "too few rows"
    one = np.where(np.arange(N) < 300, (np.arange(N) < 5).astype(float), labels)
    lopsided = rows.append_column("gate", pa.array(["A1"] * 300 + ["B2"] * (N - 300)))
    verdict = only(judge(lopsided, one, scores, **declared({"gate": "A1"})))
    assert (verdict.status, verdict.reason, verdict.enough) == (Status.INCONCLUSIVE, "only 5 rows of one class", 600)
    late = np.where(np.arange(N) < 300, 0.0, labels)
    verdict = only(judge(lopsided, late, scores, **declared({"gate": "A1"})))
    assert (verdict.reason, verdict.enough) == ("only 0 rows of one class", None)  # nobody knows when one comes


def test_the_interval_knows_what_slice_and_whole_have_in_common(drawn):
    rows, labels, scores = drawn
    inside = column(rows, "hour") < 17
    scored = WholeRows(labels, scores, "binary")
    value, low, high = scored.loss(scored.part(inside), 0.05)
    random, values = np.random.default_rng(2), []
    for _ in range(150):
        take = random.integers(0, N, N)
        part = take[inside[take]]
        values.append(
            theirs.roc_auc_score(labels[take], scores[take]) - theirs.roc_auc_score(labels[part], scores[part])
        )
    assert (high - low) / 2 == pytest.approx(1.96 * np.std(values), rel=0.2)
    assert value == pytest.approx(np.mean(values), abs=np.std(values))
    everything = scored.loss(scored.part(np.ones(N, dtype=bool)), 0.05)
    assert everything == pytest.approx((0, 0, 0), abs=1e-3)


def test_declared_slices_of_a_clean_model_fail_as_seldom_as_alpha_allows():
    draws, alarms = 80, 0
    options = declared(*({"carrier": name} for name in CARRIERS), max_loss=1e-6)
    for seed in range(draws):
        alarms += any(v.status is Status.FAIL for v in judge(*draw(seed, 2000), **options).verdicts)
    assert alarms <= binom.ppf(0.999, draws, 0.05)


def test_holm_rejects_what_holm_rejects():
    random = np.random.default_rng(3)
    from_table = 0
    for _ in range(200):
        z = random.normal(1.5, 1.5, 6)
        p = norm.sf(z)
        order, rejected = np.argsort(p), np.zeros(6, dtype=bool)
        for rank, i in enumerate(order):
            if p[i] > 0.05 / (6 - rank):
                break
            rejected[i] = True
        levels = holm_levels(lambda alpha, z=z: z - norm.ppf(1 - alpha), 0.0, 0.05)
        ours = np.array([z[i] - norm.ppf(1 - levels[i]) > 0 for i in range(6)])
        assert np.array_equal(ours, rejected)
        from_table += rejected.sum()
    assert 0 < from_table < 1200
    assert len(holm_levels(lambda alpha: np.empty(0), 0.0, 0.05)) == 0


# discovered slices


def test_a_bad_carrier_is_discovered_confirmed_and_named(drawn):
    rows, labels, scores = drawn
    b6 = column(rows, "carrier") == "B6"
    output = judge(rows, labels, np.where(b6, 1 - scores, scores))
    verdict = only(output)
    assert verdict.status is Status.FAIL
    assert verdict.measurement.name == "discovered slices confirmed"
    assert verdict.measurement.value >= 1
    assert "confirmed: carrier in B6 (" in verdict.measurement.detail
    worst = output.data.slices[0]
    assert (worst.name, worst.found, worst.confirmed) == ("carrier in B6", "discovered", True)
    assert worst.loss_low > 0.15
    # On the other half of the rows only.
    assert 0.3 * b6.sum() < worst.n < 0.7 * b6.sum()


def test_a_bad_evening_is_named_by_its_hours(drawn):
    rows, labels, scores = drawn
    evening = column(rows, "hour") >= 19
    worst = judge(rows, labels, np.where(evening, 1 - scores, scores)).data.slices[0]
    assert worst.name == "hour >= 19"
    assert worst.confirmed


def test_a_bad_combination_is_named_by_both(drawn):
    rows, labels, scores = draw(2, 12_000)
    bad = (column(rows, "hour") < 12) & (column(rows, "carrier") == "UA")
    found = [s for s in judge(rows, labels, np.where(bad, 1 - scores, scores)).data.slices if s.confirmed]
    assert {frozenset(s.name.split(" and ")) for s in found} == {frozenset({"hour < 12", "carrier in UA"})}


def test_a_large_part_that_is_the_wrong_way_round_is_named_where_positives_are_fewer():
    for seed in range(3):
        rows, _, scores = draw(seed, 6000)
        logit = np.log(scores / (1 - scores)) - 1.3
        labels = (np.random.default_rng(1000 + seed).random(6000) < expit(logit)).astype(float)
        mirrored = 2 * logit.mean() + 0.5 - logit  # and too high for these rows
        verdict = only(judge(rows, labels, expit(np.where(column(rows, "carrier") == "B6", mirrored, logit))))
        assert verdict.status is Status.FAIL
        assert "confirmed: carrier in B6" in verdict.line()


def test_rows_without_a_value_may_be_the_bad_ones():
    rows, labels, scores = draw(3, 12_000)
    random = np.random.default_rng(1003)
    gone = random.random(12_000) < 0.15
    holed = rows.set_column(0, "hour", pa.array(np.where(gone, np.nan, column(rows, "hour")), from_pandas=True))
    worst = judge(holed, labels, np.where(gone, 1 - scores, scores)).data.slices[0]
    assert (worst.name, worst.confirmed) == ("hour is missing", True)


def test_a_clean_model_has_no_confirmed_slice_at_any_seed():
    found = [only(judge(*draw(seed, 2500), seed=seed)) for seed in range(40)]
    assert {v.status for v in found} == {Status.PASS}
    assert {v.reason for v in found} == {"no slice was confirmed"}


def test_a_clean_model_is_blamed_as_seldom_as_alpha_allows():
    draws, alarms = 100, 0
    for seed in range(draws):
        alarms += only(judge(*draw(seed, 2000), seed=seed, max_loss=1e-6)).status is Status.FAIL
    assert alarms <= binom.ppf(0.999, draws, 0.05)


def test_rows_that_are_hard_by_nature_are_not_the_models_mistake():
    """In a narrow range of the only feature there is nothing to rank, and in one class of rows there is no signal."""
    for seed in range(5):
        random = np.random.default_rng(1000 + seed)
        rows, _, _ = draw(seed, 6000)
        delay = random.normal(0, 3, 6000)
        rows = rows.set_column(1, "delay", pa.array(delay))
        honest = np.where(column(rows, "carrier") == "DL", 0.5, expit(2 * delay))
        labels = (random.random(6000) < honest).astype(float)
        output = judge(rows, labels, honest)
        assert only(output).status is Status.PASS
        whole = theirs.roc_auc_score(labels, honest)
        hard = np.abs(delay) < 0.5
        assert whole - theirs.roc_auc_score(labels[hard], honest[hard]) > 0.15


def test_a_model_that_is_too_sure_of_itself_everywhere_has_no_bad_slice():
    rows, labels, scores = draw(4, 6000)
    sure = expit(4 * np.log(scores / (1 - scores)))
    assert only(judge(rows, labels, sure)).status is Status.PASS


def test_small_data_warn_and_hold_nothing_up(drawn):
    rows, labels, scores = drawn
    verdict = only(judge(rows.slice(0, 500), labels[:500], scores[:500]))
    assert (verdict.status, verdict.severity, verdict.enough) == (Status.INCONCLUSIVE, Severity.WARN, 1000)


def test_nothing_asked_and_nothing_to_ask(drawn):
    rows, labels, scores = drawn
    nothing = only(judge(rows, labels, scores, discover=False))
    assert nothing.status is Status.PASS
    assert "none is looked for" in nothing.reason
    assert only(judge(rows.slice(0, 0), [], np.empty(0))).status is Status.INCONCLUSIVE
    lost = np.where(np.arange(N) < 7, np.nan, scores)
    assert (only(judge(rows, labels, lost)).status, only(judge(rows, labels, lost)).measurement.value) == ("FAIL", 7)
    assert only(judge(rows, np.zeros(N), scores)).status is Status.FAIL


def test_halves_are_drawn_by_key_and_seed_and_not_by_position(drawn):
    rows, labels, scores = drawn
    flipped = np.where(column(rows, "carrier") == "B6", 1 - scores, scores)
    once = judge(rows, labels, flipped, seed=1)
    order = np.random.default_rng(5).permutation(N)
    again = judge(rows.take(pa.array(order)), labels[order], flipped[order], seed=1)
    assert once.data.slices[0].n == again.data.slices[0].n
    assert once.data.slices[0].value == pytest.approx(again.data.slices[0].value)
    assert judge(rows, labels, flipped, seed=2).data.slices[0].value != once.data.slices[0].value
    unkeyed = judge(rows.drop_columns([KEY]), labels, flipped)
    assert only(unkeyed).status is Status.FAIL
    same = rows.set_column(3, KEY, pa.array(np.full(N, 7, dtype=np.uint64)))
    nothing = only(judge(same, labels, flipped))
    assert (nothing.status, nothing.measurement.value, nothing.enough) == (Status.INCONCLUSIVE, None, None)
    assert "would be enough" not in nothing.line()


# other kinds of models


def test_several_classes_are_held_by_accuracy(drawn):
    rows, _, _ = drawn
    random = np.random.default_rng(6)
    labels = random.integers(0, 3, N)
    hit = random.random(N) < 0.85
    scores = np.full((N, 3), 0.075)
    scores[np.arange(N), np.where(hit, labels, (labels + 1) % 3)] = 0.85
    options = declared({"carrier": "B6"}, discover=True)
    assert {v.status for v in judge(rows, labels, scores, "multiclass", **options).verdicts} == {Status.PASS}
    b6 = column(rows, "carrier") == "B6"
    worse = np.where(b6[:, None], scores[:, [2, 0, 1]], scores)
    output = judge(rows, labels, worse, "multiclass", **options)
    assert [v.status for v in output.verdicts] == [Status.FAIL, Status.FAIL]
    right = worse.argmax(axis=1) == labels
    assert output.verdicts[0].measurement.value == pytest.approx(right.mean() - right[b6].mean())
    assert output.data.slices[1].name == "carrier in B6"


def test_a_regression_is_held_by_its_relative_rmse():
    rows, _, _ = draw(7, 6000)
    random = np.random.default_rng(1007)
    truth = random.normal(100, 20, 6000)
    b6 = column(rows, "carrier") == "B6"
    noise = random.normal(0, 5, 6000)
    options = declared({"carrier": "B6"}, discover=True)
    clean = judge(rows, truth, truth + noise, "regression", **options)
    assert {v.status for v in clean.verdicts} == {Status.PASS}
    guess = truth + np.where(b6, 3 * noise, noise)
    output = judge(rows, truth, guess, "regression", **options)
    assert [v.status for v in output.verdicts] == [Status.FAIL, Status.FAIL]
    expected = np.sqrt(((guess - truth)[b6] ** 2).mean() / ((guess - truth) ** 2).mean()) - 1
    found = output.verdicts[0].measurement
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high
    assert output.data.slices[1].name == "carrier in B6"


def test_errors_that_grow_with_the_prediction_are_no_bad_slice():
    for seed in range(5):
        rows, _, _ = draw(seed, 6000)
        random = np.random.default_rng(1000 + seed)
        delay = random.lognormal(0, 1, 6000)
        rows = rows.set_column(1, "delay", pa.array(delay))
        truth = 10 * delay * (1 + random.normal(0, 0.1, 6000))
        assert only(judge(rows, truth, 10 * delay, "regression")).status is Status.PASS


# the parts


def theirs_log_loss(outcomes, scores):
    """Of each row, the outcome being 1 with that chance."""
    ones, zeros = (np.array([theirs.log_loss([y], [p], labels=[0, 1]) for p in scores]) for y in (1, 0))
    return outcomes * ones + (1 - outcomes) * zeros


def test_the_promise_of_a_calibrated_score_is_itself_and_costs_nothing_in_excess():
    _, labels, scores = draw(8, 40_000)
    promised = Promise.of(scores, labels)(scores)
    assert np.abs(promised - scores).mean() < 0.03
    excess = excess_loss(labels, scores, "binary")
    # What the scores tell beside the share of positive rows, by the log loss, less than what they promise to tell.
    share = np.full(50, scores.mean())
    told, promised_to_tell = (
        theirs_log_loss(y, share) - theirs_log_loss(y, scores[:50]) for y in (labels[:50], scores[:50])
    )
    assert excess[:50] == pytest.approx(promised_to_tell - told, abs=1e-9)
    assert abs(excess.mean()) < 3 * excess.std() / 200
    assert promised_metric(scores, scores, "binary") == pytest.approx(theirs.roc_auc_score(labels, scores), abs=0.01)
    rare = (np.random.default_rng(9).random(40_000) < scores**8 / 3).astype(float)
    kept = promised_metric(scores, Promise.of(scores, rare)(scores), "binary")
    assert kept == pytest.approx(theirs.roc_auc_score(rare, scores), abs=0.02)
    assert np.array_equal(Promise.of(np.ones(500), np.ones(500))(np.array([0.0, 1.0, 2.0])), [1, 1, 1])


def test_the_tree_splits_where_scikit_learn_splits():
    random = np.random.default_rng(10)
    n = 3000
    table = pa.table({"a": random.integers(0, 40, n), "b": random.integers(0, 40, n)})
    loss = np.where(column(table, "a") >= 23, 1.0, 0.0) + np.where(column(table, "b") < 7, 0.6, 0.0)
    loss += random.normal(0, 1, n)
    codings = {name: code_feature(name, table[name], loss, category=False) for name in ("a", "b")}
    regions = grow(table, codings, loss, depth=3, smallest=100)
    theirs_tree = DecisionTreeRegressor(max_depth=3, min_samples_leaf=100)
    theirs_tree.fit(np.column_stack([column(table, "a"), column(table, "b")]), loss)
    sizes = sorted(theirs_tree.tree_.n_node_samples[1:])
    assert sorted(region.n for region in regions) == sizes
    means = sorted(theirs_tree.tree_.value[1:, 0, 0])
    assert sorted(region.excess for region in regions) == pytest.approx(means)
    for region in regions:
        inside = region.holds(table, codings)
        assert (inside.sum(), loss[inside].mean()) == pytest.approx((region.n, region.excess))


def test_regions_are_told_in_words():
    random = np.random.default_rng(11)
    n = 4000
    names = np.array([f"c{i:02}" for i in range(20)] + ["rare"])
    table = pa.table(
        {
            "carrier": pa.array(random.choice(names, n)),
            "speed": random.normal(500, 100, n),
            "flag": random.random(n) < 0.5,
            "empty": pa.nulls(n, pa.float64()),
            "when": pa.array([0] * n, pa.date32()),
        }
    )
    loss = random.normal(0, 1, n)
    coding = {name: code_feature(name, table[name], loss, category=False) for name in table.column_names}
    assert coding["when"] is None
    carrier, speed, flag, empty = (coding[name] for name in ("carrier", "speed", "flag", "empty"))
    assert flag.words(2, 2) == "flag >= 1"
    assert empty.words(0, 0) == "empty is missing"
    assert speed.words(1, 10).startswith("speed < 4")
    assert len(speed.words(1, 10)) < len("speed < 371.23456")
    assert " <= speed < " in speed.words(5, 10)
    assert carrier.words(2, 3).count(",") == 1
    most = carrier.words(0, len(carrier.names) - 2)
    assert most.startswith("carrier not in ")
    assert most.count(",") == 1
    assert "(other)" not in carrier.words(0, 1)
    for name, (first, last) in (("speed", (5, 10)), ("carrier", (2, 6)), ("flag", (1, 1))):
        bins = coding[name].bins_of(table[name])
        assert ((bins >= first) & (bins <= last)).any()


def test_a_whole_that_is_bad_in_all_its_parts_is_told_as_one():
    random = np.random.default_rng(12)
    table = pa.table({"a": random.integers(0, 10, 4000), "b": random.integers(0, 10, 4000)})
    a, b = column(table, "a"), column(table, "b")
    loss = np.where(a >= 5, 2.0 + (b >= 5), 0.0) + random.normal(0, 0.5, 4000) - 1
    codings = {name: code_feature(name, table[name], loss, category=False) for name in ("a", "b")}
    regions = grow(table, codings, loss, depth=3, smallest=100)
    assert [region.words(codings) for region in worst_regions(regions, 5)] == ["a >= 5"]


def test_values_that_the_first_half_has_not_seen_do_not_stop_it():
    rows, labels, scores = draw(13)
    seen = rows["carrier"].cast("string").to_pylist()
    rare = rows.set_column(2, "carrier", pa.array([f"X{i}" if i % 50 == 0 else c for i, c in enumerate(seen)]))
    bad = column(rare, "carrier") == "B6"
    scored = WholeRows(labels, np.where(bad, 1 - scores, scores), "binary")
    found, n = find_slices(rare, scored, KINDS, min_rows=200, max_loss=0.15, seed=0)
    assert found[0].name == "carrier in B6"
    assert n == pytest.approx(N / 2, rel=0.1)


# as a gate


def test_the_gate_runs_on_its_context(drawn):
    rows, labels, scores = drawn
    section = SlicesSection(declared=(SliceSection(name="morning", where={"hour": (5, 12)}),))
    assert section.columns == ("hour",)
    context = GateContext(
        "slices", section, EvaluationSection(), tuple(KINDS), KINDS, "y", 0.5, test=rows, labels=labels, scores=scores
    )
    output = GATE.function(context)
    assert [v.status for v in output.verdicts] == [Status.PASS, Status.PASS]
    assert {v.check for v in output.verdicts} == {"slices"}
    assert output.verdicts[0].line().startswith("slices morning AUC loss ")
