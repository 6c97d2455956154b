"""The document as HTML, whatever names and errors are in it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.manager.statuspage import frame, routes, words
from runtime.manager.statuspage.document import Document, ObjectStatus, Problem, WaitStatus
from runtime.manager.statuspage.markup import element, join
from runtime.manager.statuspage.objectlist import reason
from runtime.manager.statuspage.page import render
from runtime.manager.statuspage.plots import Line, plot
from runtime.testing import FakeAPIServer
from tests.runtime.manager.status_scene import HOSTILE, Scene, stuck

VOID = {"meta", "link", "input", "br"}
ROW = "in a row, in trouble for 9 s"
PARKED = "until a cache shows what its last run wrote"


class Page(HTMLParser):
    """Reads a page strictly: what is opened is closed in its order.

    :ivar elements: names with their attributes. :ivar text: all that is shown.
    """

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page.decode())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def document() -> Iterator[Document]:
    with FakeAPIServer() as server, stuck(server) as scene:
        scene.sample()
        scene.clock.advance(5)
        scene.sample()
        yield Scene.document(scene)


def test_names_and_errors_stay_text(document: Document) -> None:
    page = Page(render(document))
    assert "img" not in {tag for tag, _ in page.elements}
    assert [attributes for tag, attributes in page.elements if tag == "script"] == [
        {"src": "./status/page.js", "defer": None}
    ]
    shown = HOSTILE.replace("\u202e", "\\u202e").replace("\x1b", "\\u001b")
    assert f"default/{shown}" in page.text
    assert f"ValueError: {shown}" in page.text
    assert not re.search("[\u202e\x1b]", page.text)


def test_nothing_in_the_page_needs_what_its_policy_forbids(document: Document) -> None:
    for page in (Page(render(document)), Page(frame.token_page("who are you?"))):
        for tag, attributes in page.elements:
            assert tag not in ("style", "iframe", "object", "base")
            assert not [name for name in attributes if name == "style" or name.startswith("on")]
            for name in ("href", "src", "action"):
                target = attributes.get(name)
                assert target is None or target.startswith(("./", "#"))  # so that it works behind a proxy, too


def test_every_text_of_the_document_is_shown_or_left_to_the_json(document: Document) -> None:
    text = Page(render(document)).text
    for each in document.stuck:
        assert each.name.replace("\u202e", "\\u202e").replace("\x1b", "\\u001b") in text
    for controller in document.controllers:
        assert controller.name in text
    for informer in document.informers:
        assert informer.resource in text
    assert "NotAllowed" in text


def test_what_is_wrong_is_counted_in_the_title(document: Document) -> None:
    troubled = dataclasses.replace(document, problems=[Problem("cache of pods.v1", "not complete")])
    count = len(document.stuck) + 1
    assert f"<title>({count}) shop-operator on ".encode() in render(troubled)
    assert f"{count} in trouble" in Page(render(troubled)).text
    well = dataclasses.replace(document, problems=[], stuck=[])
    assert b"<title>shop-operator on " in render(well)
    assert "Nothing is stuck." in Page(render(well)).text


def test_labels_belong_to_inputs_and_tables_have_captions(document: Document) -> None:
    page = Page(render(document))
    ids = {attributes.get("id") for _, attributes in page.elements}
    assert {attributes["for"] for tag, attributes in page.elements if tag == "label"} <= ids
    tags = [tag for tag, _ in page.elements]
    assert tags.count("caption") == tags.count("table") > 0
    assert all(a.get("scope") for tag, a in page.elements if tag == "th")
    assert all(a.get("aria-label") for tag, a in page.elements if tag == "svg")
    keys = [(tag, a["data-key"]) for tag, a in page.elements if "data-key" in a]
    assert len(keys) == len(set(keys))


@given(st.text(), st.text())
def test_no_text_breaks_out_of_an_element_or_its_attribute(text: str, attribute: str) -> None:
    page = Page(join(element("p", text, title=attribute), element("i", "after")).encode(errors="replace"))
    assert [tag for tag, _ in page.elements] == ["p", "i"]
    assert set(page.elements[0][1]) == {"title"}
    assert page.elements[0][1]["title"] == words.visible(attribute)
    assert page.text == f"{words.visible(text)}after".replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"state": "backing_off", "failures": 1, "due": 4.0}, f"failed 1 time {ROW}; next try in 4 s"),
        ({"state": "backing_off", "failures": 3, "due": 0.0}, f"failed 3 times {ROW}; next try now"),
        ({"state": "failed"}, "failed for good 9 s ago; tried again when it, or something it watches, changes"),
        ({"state": "running"}, "running for 9 s"),
        ({"state": "running", "failures": 2}, "running for 9 s, after 2 failures"),
        ({"state": "queued"}, "queued for 9 s"),
        ({"state": "idle"}, "ran 9 s ago"),
        ({"state": "idle", "since": None}, "has not run"),
        ({"state": "scheduled", "due": 60.0}, "ran 9 s ago; due in 1 min"),
        (
            {"state": "parked", "waits_for": WaitStatus("pods.v1", "prod", "version 7", True)},
            f"parked for 9 s, {PARKED}: pods.v1 in prod, version 7; that cache has lost its watch",
        ),
    ],
)  # fmt: skip
def test_why_an_object_is_not_done(changes: dict[str, object], told: str) -> None:
    blank = ObjectStatus("c", "ns", "n", "idle", 9.0, None, 0, 0, "", None, (), ())
    sentence = reason(dataclasses.replace(blank, **changes), None)  # type: ignore[arg-type]
    assert sentence.replace("\N{NO-BREAK SPACE}", " ") == told


def test_who_is_queued_behind_busy_workers_is_told_so(document: Document) -> None:
    (busy,) = (each for each in document.controllers if each.name == "busy")
    (second,) = (each for each in document.stuck if each.name == "second")
    assert reason(second, busy).endswith(": its worker is busy")
    assert reason(second, dataclasses.replace(busy, workers=2, active=2)).endswith(": all 2 workers are busy")
    assert reason(second, dataclasses.replace(busy, active=0)).startswith("queued for ")
    assert "busy" not in reason(second, dataclasses.replace(busy, active=0))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (0.0000121, "12 µs"), (0.00123, "1.23 ms"), (0.0999, "99.9 ms"), (0.9991, "999 ms"),
        (0.99999, "1.0 s"), (3, "3 s"), (3.44, "3.4 s"), (12.4, "12 s"), (59.7, "1 min"), (125, "2 min 5 s"),
        (3600, "1 h"), (12000, "3 h 20 min"), (86400 * 4 + 7300, "4 d 2 h"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (1536, "1.5 KiB"), (20 << 20, "20 MiB"), (3 << 30, "3 GiB")]
)
def test_sizes(number: int, text: str) -> None:
    assert words.size(number).replace("\N{NO-BREAK SPACE}", " ") == text


@given(st.floats(0, 1e9))
def test_a_duration_is_never_out_of_its_range(seconds: float) -> None:
    for number, unit in re.findall(r"([\d.]+)\s(µs|ms|s|min|h)\b", words.duration(seconds)):
        assert float(number) <= {"µs": 1000, "ms": 1000, "s": 60, "min": 60, "h": 24}[unit]


def test_counts() -> None:
    assert words.count(1234567) == "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567"
    assert (words.count(0.25), words.count(12.0), words.count(1234.5)) == ("0.25", "12", words.count(1234))


def test_a_plot_breaks_where_nobody_looked_and_never_leaves_its_box() -> None:
    drawn = plot("Runs", [300, 295, 200, 5, 0], [Line("runs", [1, 2, 3, None, 4])], str, at_least=1)
    strokes = re.findall(r'<path d="(M[^"]+)" class="stroke"', drawn)
    assert len(strokes) == 3  # 300 to 295, 200, and now
    for x, y in re.findall(r"([\d.]+) ([\d.]+)", " ".join(strokes)):
        assert 0 <= float(x) <= 300
        assert 0 <= float(y) <= 60
    assert 'aria-label="Runs, the last' in drawn
    assert "now runs 4; highest 4" in drawn


def test_a_plot_of_nothing_is_one() -> None:
    drawn = plot("Latency", [], [Line("median", [])], str, at_least=1)
    assert "<path" not in drawn
    assert '<span class="plot-now">-</span>' in drawn


def test_errors_are_drawn_once_there_are_some() -> None:
    quiet = plot("Runs", [5, 0], [Line("runs", [1, 1]), Line("errors", [0, 0], "bad")], str, at_least=1)
    loud = plot("Runs", [5, 0], [Line("runs", [1, 1]), Line("errors", [0, 1], "bad")], str, at_least=1)
    assert ("stroke bad" in quiet, "stroke bad" in loud) == (False, True)


def test_each_class_of_the_markup_has_its_style(document: Document) -> None:
    style = (Path(routes.__file__).parent / "static" / "page.css").read_text()
    used = {name for _, a in Page(render(document)).elements for name in (a.get("class") or "").split()}
    styled = set(re.findall(r"\.([a-z][\w-]*)", style))
    assert used - styled <= {"stuck", "calm"}  # they look as all others do
