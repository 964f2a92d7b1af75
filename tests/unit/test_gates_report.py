"""The report is one page that needs nothing else, says all verdicts and escapes what it was given."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from importlib import resources
from xml.etree import ElementTree

import numpy as np
import pytest

from report_sample import EVIL, a_verdict, arguments, classes, data, results
from sluiceway.core.verdict import Direction, GateResult, Severity, Status
from sluiceway.gates.drawn import CalibrationBin, CurvePoint, Disturbance, DriftScore, ReportData
from sluiceway.gates.report.page import render, to_dict
from sluiceway.gates.report.svg import Axis

VOID = {"meta", "br", "col", "path", "circle", "rect"}


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.open, self.ids, self.links, self.sources, self.text, self.lost = [], [], [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append((tag, given))
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if "href" in given else []
        self.sources += [v for k, v in attrs if k in ("src", "srcset", "data", "poster", "action", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, text):
        self.text.append(text)


def read(page: str) -> tuple[Reader, str]:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader, re.sub(r"\s+", " ", " ".join(reader.text))


def svgs(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring("<svg" + part.split("</svg>")[0] + "</svg>") for part in page.split("<svg")[1:]]


@pytest.fixture(scope="module")
def page() -> str:
    return render(results(), **arguments())


def test_the_page_is_well_formed_and_can_reach_nothing(page):
    reader, _ = read(page)
    assert reader.sources == []
    assert all(link.startswith("#") for link in reader.links)
    assert {link[1:] for link in reader.links} <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & {tag for tag, _ in reader.tags}
    assert not any(key.startswith("on") for _, given in reader.tags for key in given)
    (policy,) = [given["content"] for _, given in reader.tags if given.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "http" not in page.replace("http-equiv", "")
    assert ("html", {"lang": "en"}) in reader.tags
    assert len(page.encode()) < 300_000


@pytest.mark.parametrize("where", ["title", "facts", "lineage", "key", "gate", "question", "verdict", "data"])
def test_every_text_is_escaped(where):
    bad, given, found = EVIL, arguments(data=ReportData()), results()[:1]
    if where == "title":
        given["title"] = bad
    elif where in ("facts", "lineage"):
        given[where] = {"x": {"y": bad}}
    elif where == "key":
        given["lineage"] = {bad: 1}
    elif where == "gate":
        found = [GateResult(bad, (a_verdict("x", "y", Status.FAIL),))]
    elif where == "question":
        given["questions"] = {"performance": bad}
    elif where == "verdict":
        texts = {"reason": bad, "detail": bad, "unit": bad, "waiver": bad}
        found = [GateResult("g", (a_verdict("g", bad, Status.FAIL, limit=(0.1, Direction.AT_MOST), **texts),))]
    else:
        given["data"] = data(2000).merged(classes())
    page = render(found, **given)
    reader, text = read(page)
    assert "script" not in {tag for tag, _ in reader.tags}
    assert "alert('x')" in text
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    for drawing in svgs(page):
        assert drawing.tag == "svg"


def test_the_headline_says_what_blocks_and_leads_there(page):
    reader, text = read(page)
    assert "BLOCKED Stopped by fairness and serving: 3 of 27 checks block." in text
    assert "fairness: AUC gap by carrier is 0.1312 [0.1055, 0.1569], the limit is ≤ 0.1 (smallest HA" in text
    assert "serving could not be judged: not done after 120 s." in text
    assert "about 12,400 rows would be enough" in text
    assert text.index("INCONCLUSIVE, for information only.") < text.index("Verdicts")
    assert text.index("FAIL, warning only.") < text.index("Verdicts")
    assert text.index("FAIL, waived.") < text.index("Verdicts")
    for link, gate in (("#gate-fairness.1", "AUC gap by carrier"), ("#gate-serving.1", "serving")):
        assert link in reader.links
        row = page[page.index(f'id="{link[1:]}"') :]
        assert gate in row[: row.index("</tr>")]
        assert 'class="blocking"' in row[: row.index(">")]


def test_a_model_that_may_go_on_says_so_and_one_without_gates_does_not():
    good = [result for result in results() if not result.blocks]
    _, text = read(render(good, **arguments()))
    assert "MAY GO ON None of 23 checks of 7 gates blocks it." in text
    assert "BLOCKED" not in text
    _, none = read(render([], title="m", facts={}, lineage={}))
    assert "NOT JUDGED" in none
    assert to_dict([], title="m", facts={}, lineage={})["blocked"] is True
    _, silent = read(render([GateResult("mine", ())], title="m", facts={}, lineage={}))
    assert "BLOCKED" in silent
    assert "mine gave no verdict at all." in silent


def test_verdicts_are_told_with_all_that_is_known_the_worst_first(page):
    _, text = read(page)
    told = text[text.index("Verdicts", text.index("What to know") - 4000) :]
    for expected in (
        "0.9134 [0.9071, 0.9196]",
        "≥ 0.85",
        "≥ -0.01, by the interval",
        "41 days",
        "≤ 30 days",
        "Waived by Ada Lovelace: sensors are replaced in spring, see the plan (until 2027-03-31)",
        "warning only",
        "for information only",
        "no value",
        "Taken from an earlier run on the same content.",
        "Are groups served alike?",
        "11 more that passed",
        "981,222",
    ):
        assert expected in told
    fairness = told[told.index("Are groups served alike?") :]
    order = [
        fairness.index(name) for name in ("AUC gap by carrier", "equal opportunity by origin", "AUC gap by origin")
    ]
    assert order == sorted(order)
    few = a_verdict("g", "x", Status.INCONCLUSIVE, n=40, limit=(0.1, Direction.AT_MOST, 100), enough=100)
    _, text = read(render([GateResult("g", (few,))], title="m", facts={}, lineage={}))
    assert "40 of 100 needed" in text


def test_a_pass_without_a_limit_is_a_pass_and_a_number_that_is_only_shown_is_not():
    nobody = a_verdict("fairness", "protected attributes", value=0, reason="none declared: nothing to check")
    shown = a_verdict("fairness", "selection rate gap", reason="reported, not judged")
    dry = a_verdict("fairness", "precision gap", reason="reported, not judged; dry run", severity=Severity.INFO)
    page = render([GateResult("fairness", (shown, nobody, dry))], title="m", facts={}, lineage={})
    rows = [part.split("</tr>")[0] for part in page.split("<tr id=")[1:]]
    assert [re.search('badge ([A-Za-z]+)"', row)[1] for row in rows] == ["PASS", "reported", "reported"]
    assert "none declared: nothing to check" in rows[0]
    assert "dry run" in rows[2]


def test_every_part_is_drawn_and_named(page):
    reader, text = read(page)
    for expected in (
        "ROC curve",
        "Precision by recall",
        "Calibration",
        "Groups of carrier",
        "Groups of age_group",
        "Noise",
        "Values go missing",
        "Categories never seen",
        "Numbers beyond all that training saw",
        "One feature a thousand times too large",
        "All disturbances",
        "Slices by AUC",
        "Drift against the champion's training rows",
        "Drift against recent requests",
        "Folds of the training by auc",
        "lineage",
    ):
        assert expected.lower() in text.lower()
    order = ["Gates", "Verdicts", "ROC curve", "Where it came from"]
    heads = [text.index(name, text.index("Lineage", 3000)) for name in order]
    assert heads == sorted(heads)
    drawings = [svg for svg in svgs(page) if svg.get("role") == "img"]
    assert len(drawings) == 15
    for drawing in drawings:
        title, description = drawing.find("title"), drawing.find("desc")
        assert title is not None
        assert description is not None
        assert len(description.text) > 20
    assert all(svg.get("aria-hidden") == "true" for svg in svgs(page) if svg.get("role") != "img")
    for tag, given in reader.tags:
        assert tag != "th" or given.get("scope") in ("row", "col")


def test_lines_differ_by_more_than_colour(page):
    style = resources.files("sluiceway.gates.report").joinpath("page.css").read_text()
    dashes = {
        kind: re.search(rf"svg \.{kind}[ ,][^}}]*stroke-dasharray: ([\d ]+)", style)[1]
        for kind in ("champion", "limit", "chance", "other0", "other1", "other2", "small")
    }
    assert len(set(dashes.values())) == len(dashes)
    roc = page[page.index("<title>ROC curve</title>") :]
    roc = roc[: roc.index("</svg>")]
    assert all(label in roc for label in ("champion, same rows", "this model", "chance"))
    assert roc.count('class="band ') == 2
    noise = page[page.index("<title>Loss by noise</title>") :]
    noise = noise[: noise.index("</svg>")]
    assert all(label in noise for label in ("limit", "champion, all features", "this model, all features", "alone"))


def test_several_classes_and_a_regression_name_what_they_show():
    _, text = read(render(results()[:1], **arguments(data=classes())))
    for expected in ("Classes", "Most often taken for", "Which class is taken for which", "of the decided class"):
        assert expected in text
    groups = tuple(dataclasses.replace(g, positives=0) for g in data(2000).groups)
    folds = (("fold 1", 12.0),)
    numbers = ReportData(groups=groups, slices=data(2000).slices, folds=folds, fold_metric="rmse")
    _, text = read(render(results()[:1], **arguments(data=numbers)))
    for expected in ("relative error [95 %]", "Slices by RMSE", "Mean 12 of 1 folds."):
        assert expected in text
    assert "AUC [95 %]" not in text


def test_long_tables_are_cut_on_the_page_and_whole_in_the_json():
    many = tuple(DriftScore(f"column {i}", "champion", i / 1e4, 0.25) for i in range(1234))
    given = arguments(data=ReportData(drift=many))
    page = render([], **given)
    assert "1,134 more rows are in the JSON file beside this page." in page
    assert page.count("column 1233") == 3  # drawn, pointed at, in the table
    assert len(to_dict([], **given)["data"]["drift"]) == 1234


@pytest.mark.parametrize(
    "given",
    [
        ReportData(),
        ReportData(calibration=(CalibrationBin(0.0, 0.0, 0.0, 0.0, 1),)),
        ReportData(roc=(CurvePoint(0, 0, 0, 0), CurvePoint(1, 1, 1, 1))),
        ReportData(folds=(("fold 1", math.nan),), fold_metric="auc"),
        ReportData(drift=(DriftScore("x", "champion", math.nan, math.nan), DriftScore("y", "champion", 0.0, 0.25))),
        ReportData(drift=(DriftScore("x", "champion", math.inf, 0.25),)),
        ReportData(disturbances=(Disturbance("noise", "", 0.1, *[math.nan] * 6),)),
        ReportData(disturbances=(Disturbance("noise", "", 0.1, 0.0, *[math.nan] * 4, 0.05),)),
        ReportData(disturbances=(Disturbance("own kind", "x", 0, -0.1, -0.2, 0.0, *[math.nan] * 3),)),
    ],
)
def test_what_is_empty_or_has_no_value_is_no_error(given):
    page = render(results()[:1], **arguments(data=given))
    read(page)
    for drawing in svgs(page):
        assert "nan" not in ElementTree.tostring(drawing, encoding="unicode")
    json.dumps(to_dict(results()[:1], **arguments(data=given)), allow_nan=False)


def test_the_twin_is_strict_json_with_all_that_the_page_shows(page):
    body = to_dict(results(), **arguments())
    back = json.loads(json.dumps(body, allow_nan=False))
    assert back == body
    _, text = read(page)
    assert back["headline"]["sentence"] in text
    for said in (*back["headline"]["blocked_by"], *back["headline"]["beside"]):
        assert said["sentence"] in text
        assert f'id="{said["verdict"]}"' in page
    verdicts = [v for gate in back["gates"] for v in gate["verdicts"]]
    assert len(verdicts) == page.count("<tr id=")
    for verdict in verdicts:
        for part in (verdict["measurement"]["name"], verdict["measurement"]["detail"], verdict["waiver"]):
            assert part in text
    assert [g["status"] for g in back["gates"]] == [str(r.status) for r in results()]
    assert ReportData.from_dict(json.loads(json.dumps(data().to_dict()))) is not None
    drawn = back["data"]
    assert set(drawn) == {field.name for field in dataclasses.fields(ReportData)}
    assert drawn["groups"][-1]["value"] is None
    assert [tuple(fold) for fold in drawn["folds"]] == list(data().folds)


def test_numbers_of_numpy_stay_numbers():
    body = to_dict([], title="m", facts={"n": np.int64(3), "x": np.float32(0.5), "ok": np.bool_(True)}, lineage={})
    assert body["facts"] == {"n": 3, "x": 0.5, "ok": "True"}


def contrast(first: str, second: str) -> float:
    """Of two colours, as WCAG 2.1 counts it."""

    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(first), light(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_can_be_read_in_both_schemes():
    style = resources.files("sluiceway.gates.report").joinpath("page.css").read_text()
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6});", part)) for part in style.split("prefers-color-scheme")[:2])
    assert set(light) == set(dark)
    for scheme in (light, dark):
        for ink in ("ink", "soft", "ours"):
            assert contrast(scheme[ink], scheme["paper"]) >= 4.5
            assert contrast(scheme[ink], scheme["panel"]) >= 4.5
        for badge in ("pass", "fail", "error", "open", "shown"):
            assert contrast(scheme[badge], scheme[f"{badge}-back"]) >= 4.5
        for mark in ("theirs", "limit", "other0", "other1", "other2"):
            assert contrast(scheme[mark], scheme["paper"]) >= 4.5


def test_ticks_are_round_and_inside():
    for low, high in ((0, 1), (-0.013, 0.0612), (0.7912, 0.7931), (-3, 12_345)):
        axis = Axis(low, high, 0, 300)
        ticks = axis.ticks()
        assert 2 <= len(ticks) <= 7
        assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    assert Axis(0, 1, 10, 20).at(7) == 20
    assert Axis.around([math.nan, 3.0, 3.0], 0, 10).at(3.0) == 5
