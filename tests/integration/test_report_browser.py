"""The report in a real browser: read at a desk, on a phone, in the dark and on paper, without a network."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from pathlib import Path

import pytest

import chromium
from report_sample import EVIL, arguments, classes, data, results
from sluiceway.gates.report.page import render, to_dict

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not Path(chromium.PROGRAM).exists(), reason="no chromium here: apt-get install chromium"),
]
DESK, PHONE = 1200, 360

# What sticks out of the page to the right: elements that are not inside a frame that scrolls.
STICKS_OUT = """
[...document.body.querySelectorAll('*')]
  .filter(e => !e.closest('.scroll, thead'))
  .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
  .map(e => e.tagName + ' ' + e.textContent.slice(0, 60))
"""

# Texts of drawings: how large their letters are on the screen, which leave their drawing, which lie on another.
TEXTS = """
(() => {
  const small = [], out = [], over = [];
  for (const svg of document.querySelectorAll('svg[role=img]')) {
    const name = svg.querySelector('title').textContent, box = svg.getBoundingClientRect();
    const scale = box.width / svg.viewBox.baseVal.width, texts = [...svg.querySelectorAll('text')];
    const boxes = texts.map(t => [t.textContent, t.getBoundingClientRect(), !t.closest('g[transform]')]);
    for (const t of texts) {
      const size = parseFloat(getComputedStyle(t).fontSize) * scale;
      if (size < 9.5) small.push(name + ': ' + t.textContent + ' ' + size);
    }
    for (const [text, b] of boxes)
      if (b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1 || b.bottom > box.bottom + 1)
        out.push(name + ': ' + text);
    for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
      const [a, b] = [boxes[i][1], boxes[j][1]];
      if (!boxes[i][2] || !boxes[j][2]) continue;
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 1 && high > 4) over.push(name + ': ' + boxes[i][0] + ' | ' + boxes[j][0]);
    }
  }
  return {small, out, over};
})()
"""

# Contrast of every text with what lies behind it, by the colours that the browser has settled on.
PALE = """
(() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = c => { const [r, g, b] = c.map(v => linear(v / 255)); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const back = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c.slice(0, 3); } return [255, 255, 255]; };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; node = walk.nextNode();) {
    const e = node.parentElement;
    if (!node.textContent.trim() || e.closest('title, desc, .share') || !e.getClientRects().length) continue;
    const style = getComputedStyle(e), ink = parse(e.closest('svg') ? style.fill : style.color).slice(0, 3);
    const [a, b] = [light(ink), light(back(e))].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(ratio.toFixed(2) + ' ' + node.textContent.trim().slice(0, 40));
  }
  return found;
})()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def page(folder):
    with chromium.running(folder) as found:
        yield found


@pytest.fixture(scope="module")
def file(folder) -> Path:
    path = folder / "report.html"
    path.write_text(render(results(), **arguments()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def several(folder) -> Path:
    path = folder / "classes.html"
    path.write_text(render(results()[:2], **arguments(data=classes())), encoding="utf-8")
    return path


@pytest.mark.parametrize(("width", "scheme"), list(itertools.product((DESK, PHONE), ("light", "dark"))))
@pytest.mark.parametrize("name", ["file", "several"])
def test_it_is_readable(page, folder, request, name, width, scheme):
    path = request.getfixturevalue(name)
    page.complaints.clear()
    page.requests.clear()
    page.open(path, width=width, scheme=scheme)
    page.picture(folder / f"{name}-{width}-{scheme}.png")
    assert page.ask("innerWidth") == width
    assert page.ask("document.documentElement.scrollWidth") <= width
    assert page.ask(STICKS_OUT) == []
    assert page.ask(TEXTS) == {"small": [], "out": [], "over": []}
    assert page.ask(PALE) == []
    shown = "getComputedStyle(document.body).backgroundColor"
    assert page.ask(shown) == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(15, 20, 25)")
    assert page.complaints == []
    assert page.requests == [path.as_uri()]


def test_what_is_measured_above_is_found_where_it_is_planted(page, folder):
    bad = folder / "bad.html"
    bad.write_text(
        "<meta name=viewport content='width=device-width'><meta http-equiv=Content-Security-Policy "
        "content=\"default-src 'none'; style-src 'unsafe-inline'\"><img src='https://example.com/x.png'>"
        "<p style='width: 700px; color: #bbb; background: #fff'>pale and wide</p><script>1</script>"
        "<svg role=img viewBox='0 0 100 20' style='width: 90px'><title>t</title><text x=90 y=9>leaves</text>"
        "<text x=0 y=9 font-size=5>first</text><text x=2 y=9>second</text></svg>"
    )
    page.complaints.clear()
    page.open(bad, width=PHONE)
    assert page.ask("document.documentElement.scrollWidth") > PHONE
    assert any("pale and wide" in found for found in page.ask(STICKS_OUT))
    assert all(page.ask(TEXTS).values())
    assert any("pale and wide" in found for found in page.ask(PALE))
    assert any("Content Security Policy" in found for found in page.complaints)


def test_all_verdicts_and_drawings_are_there(page, file):
    page.open(file, width=DESK)
    seen = page.ask("document.body.innerText")
    known = page.ask("document.body.textContent")
    twin = to_dict(results(), **arguments())
    for gate in twin["gates"]:
        for verdict in gate["verdicts"]:
            assert verdict["measurement"]["name"] in known
            if verdict["status"] != "PASS":
                assert verdict["measurement"]["name"] in seen
                assert (verdict["waiver"] or verdict["reason"] or verdict["measurement"]["detail"]) in seen
    for said in twin["headline"]["blocked_by"]:
        assert said["sentence"] in seen
    assert EVIL.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:30] in known
    boxes = page.ask(
        "[...document.querySelectorAll('svg[role=img]')].map(s => [s.getBoundingClientRect().width,"
        " s.getBoundingClientRect().height, s.querySelectorAll('path, circle, rect').length])"
    )
    assert len(boxes) == 15
    assert all(wide > 250 and high > 60 and parts > 3 for wide, high, parts in boxes)


# Tables of figures: how wide they are, how wide their frame is, whether it scrolls and shows that there is more.
FRAMES = """
[...document.querySelectorAll('figure .scroll[role=region]')].filter(e => e.checkVisibility()).map(e =>
  [e.scrollWidth, e.clientWidth, getComputedStyle(e).overflowX, getComputedStyle(e).backgroundImage])
"""


def test_a_wide_table_has_the_room_that_there_is_and_shows_that_it_scrolls(page, file):
    page.open(file, width=DESK)
    frames = page.ask(FRAMES)
    assert max(table for table, *_ in frames) > 700
    assert all(table <= room for table, room, *_ in frames)
    page.open(file, width=500)
    narrow = [frame for frame in page.ask(FRAMES) if frame[0] > frame[1]]
    assert narrow
    assert all(flow == "auto" and "gradient" in shadow for *_, flow, shadow in narrow)


def test_the_headline_leads_to_the_verdict_that_blocks(page, file):
    for width in (DESK, PHONE):
        page.open(file, width=width)
        page.ask("document.querySelector('.headline a').click()")
        top, text = page.ask(
            "(() => { const e = document.querySelector(':target');"
            " return [e.getBoundingClientRect().top, e.innerText]; })()"
        )
        assert -5 <= top <= 700
        assert "AUC gap by carrier" in text


def test_tables_stay_tables_for_a_screen_reader_on_a_phone(page, file):
    page.open(file, width=PHONE)
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = [node.get("role", {}).get("value") for node in nodes if not node.get("ignored")]
    assert roles.count("table") >= 10
    assert roles.count("rowheader") > 25
    assert roles.count("columnheader") > 30
    images = [node for node in nodes if node.get("role", {}).get("value") in ("image", "img")]
    named = {node["name"]["value"]: node.get("description", {}).get("value", "") for node in images}
    assert "the champion's" in named["ROC curve"]


def test_on_paper_it_is_whole(page, file, folder):
    page.open(file, width=DESK, scheme="dark", media="print")
    hidden = page.ask(
        "[...document.querySelectorAll('details tr')].filter(e => !e.checkVisibility() ||"
        " e.getBoundingClientRect().height < 5).length"
    )
    assert hidden == 0
    assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    paper = folder / "report.pdf"
    page.printed(paper)
    content = paper.read_bytes()
    assert content.startswith(b"%PDF")
    assert 3 <= content.count(b"/Type /Page\n") <= 20
    if shutil.which("pdftotext"):
        text = subprocess.run(["pdftotext", "-layout", paper, "-"], capture_output=True, text=True, check=True).stdout
        assert "AUC gap by carrier" in text
        assert "gain of auc_roc" in text


def test_a_large_report_is_still_small(page, folder):
    path = folder / "large.html"
    found = data().merged(classes())
    path.write_text(render(results() * 4, **arguments(data=found)), encoding="utf-8")
    assert path.stat().st_size < 400_000
    page.open(path, width=PHONE)
    assert page.ask("document.documentElement.scrollWidth") <= PHONE
    assert json.dumps(page.ask(STICKS_OUT)) == "[]"
