"""The report is one page that needs nothing else, says all verdicts and escapes what it was given."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa

from sluiceway.config.evaluation import FairnessSection
from sluiceway.core.verdict import Direction, GateResult, Measurement, Status, Threshold, Verdict
from sluiceway.gates.fairness import group_scores
from sluiceway.gates.report import render, to_dict
from sluiceway.gates.report_data import ReportData, curves

EVIL = "<script>alert('x')</script>"


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.open, self.links, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def make_data():
    random = np.random.default_rng(1)
    labels = (random.random(3000) < 0.3).astype(float)
    scores = np.clip(0.3 * labels + random.random(3000) * 0.7, 0, 1)
    groups = pa.array(random.choice(["EWR", EVIL, "tiny"], 3000, p=[0.6, 0.39, 0.01]))
    found = group_scores("origin", labels, scores, groups, section=FairnessSection())
    folds = ReportData(folds=(("fold 1", 0.91), ("fold 2", 0.92)), fold_metric="auc")
    return curves(labels, scores).merged(ReportData(groups=found)).merged(folds)


def make_results():
    limit = Threshold(0.9, Direction.AT_LEAST)
    good = Verdict("performance", Status.PASS, Measurement("auc_roc", 0.95, 3000, 0.94, 0.96), limit)
    bad = Verdict("fairness", Status.FAIL, Measurement(f"gap {EVIL}", math.nan, 3000, detail=EVIL), limit, EVIL)
    return [GateResult("performance", (good,)), GateResult("fairness", (bad,), waiver=f"Ada: {EVIL}")]


def test_the_page_is_well_formed_self_contained_and_escaped():
    page = render(make_results(), title=EVIL, facts={"rounds": 80}, lineage={"data": {"tag": EVIL}}, data=make_data())
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert "script" not in reader.tags
    assert reader.links == []
    assert "http" not in page
    assert reader.tags.count("svg") == 4
    for svg in page.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + svg.split("</svg>")[0] + "</svg>")
    text = " ".join(reader.text)
    for expected in ("0.95 [0.94, 0.96]", ">= 0.9", "no value", "Waived by Ada", "data.tag", "rounds", EVIL):
        assert expected in text
    assert text.index("performance") < text.index("ROC curve")
    assert len(page) < 100_000


def test_a_page_without_plots_and_a_blocked_one():
    results = make_results()
    assert "BLOCKED" not in render(results, title="m", facts={}, lineage={})
    page = render([GateResult("fairness", results[1].verdicts)], title="m", facts={}, lineage={})
    assert "BLOCKED" in page
    assert "<svg" not in page


def test_the_twin_is_strict_json_with_the_same_verdicts():
    body = to_dict(make_results(), title="m", facts={"rounds": 80}, lineage={}, data=make_data())
    back = json.loads(json.dumps(body, allow_nan=False))
    assert [g["status"] for g in back["gates"]] == ["PASS", "FAIL"]
    assert back["data"]["folds"] == [["fold 1", 0.91], ["fold 2", 0.92]]


def test_plotted_data_is_bounded_and_right():
    data = make_data()
    assert len(data.roc) <= 200
    assert data.roc[0] == (0.0, 0.0)
    assert data.roc[-1] == (1.0, 1.0)
    assert len(data.calibration) == 10
    assert sum(b.n for b in data.calibration) == 3000
    assert all(b.low <= b.observed <= b.high for b in data.calibration)
    assert {g.group: g.judged for g in data.groups}["tiny"] is False
    assert curves(np.ones(5), np.ones(5)).roc == ()
    assert curves(np.empty(0), np.empty(0)) == ReportData()
