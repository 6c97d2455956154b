"""The status page in a real browser. Screenshots are left in ``.screenshots/``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from runtime.controller import ReconcileContext
from runtime.manager import Manager
from runtime.testing import FakeAPIServer
from runtime.types import Request, Result
from tests.runtime.manager.status_scene import HOSTILE, TERMINAL, Scene, stuck
from tests.support import browser as support
from tests.support.browser import Browser, Page
from tests.support.managers import CONFIGMAPS, ON, eventually, running

pytestmark = pytest.mark.slow

SHOTS = Path(__file__).resolve().parents[3] / ".screenshots"
SCREENS = {"desktop": 1280, "phone": 390}
EVIL = HOSTILE.replace("\u202e", "\\u202e").replace("\x1b", "\\u001b")
SCRIPT_RUNS = "!document.getElementById('live').hidden"
# Texts with too little contrast to what is behind them (WCAG 2.1, 1.4.3), each with its ratio.
FAINT = """(() => {
  const parse = text => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = (top, below) => top.slice(0, 3).map((v, i) => v * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [128, 128, 128, 1]);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), faint = [];
  let seen = 0;
  for (let node; node = walker.nextNode();) {
    const element = node.parentElement, style = getComputedStyle(element);
    if (!node.nodeValue.trim() || !element.checkVisibility() || !element.getClientRects().length) continue;
    const behind = ground(element), text = over(parse(style.color), behind);
    const [bright, dark] = [light(text), light(behind)].sort((a, b) => b - a);
    const ratio = (bright + 0.05) / (dark + 0.05);
    seen += 1;
    if (ratio < (parseFloat(style.fontSize) >= 18.66 ? 3 : 4.5)) faint.push(`${node.nodeValue} ${ratio.toFixed(2)}`);
  }
  return {seen, faint};
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    binary = support.find()
    if binary is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(support.NAMES)}")
    with Browser(binary, tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    # It leads for longer than the clock of the scene is put forward at once.
    elected = {"leader_election": True, "leader_election_id": "shop", "leader_election_namespace": "default"}
    with FakeAPIServer() as server, stuck(server, **elected, lease_duration=3600, renew_deadline=3000) as scene:
        for _ in range(3):
            scene.sample()
            scene.clock.advance(5)
        yield scene


def opened(page: Page, scene: Scene, path: str = "") -> None:
    page.goto(scene.url + path)
    page.until(SCRIPT_RUNS)


def open_all(page: Page) -> None:
    page.eval("document.querySelectorAll('.stuck details').forEach(each => each.open = true)")


def press(page: Page, key: str) -> None:
    text = {"text": "\r"} if key == "Enter" else {}
    for kind in ("keyDown", "keyUp"):
        page.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=_CODES[key], **text)


_CODES = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39}


def assert_quiet(page: Page, scene: Scene) -> None:
    """It complained of nothing and asked nobody but the manager."""
    assert page.complaints == []
    assert {urlsplit(url).netloc for url in page.requests} == {urlsplit(scene.url).netloc}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_what_is_stuck_is_seen_on_each_screen(browser: Browser, scene: Scene, screen: str, dark: bool) -> None:
    with browser.page(width=SCREENS[screen], dark=dark) as page:
        opened(page, scene)
        (verdict,) = page.texts(".verdict")
        assert re.fullmatch(r"\d+ in trouble", verdict)
        stuck_text = "\n".join(page.texts(".stuck > li summary"))
        for told in (
            "running for",
            "queued for",
            "failed for good",
            f"TerminalError: {TERMINAL}",
            "its worker is busy",
        ):
            assert told in stuck_text, told
        assert "leads" in page.texts(".pills")[0]
        open_all(page)
        assert "wait_for_nothing" in "\n".join(page.texts(".opened pre"))
        contrast = page.eval(FAINT)
        assert contrast["seen"] > 150
        assert contrast["faint"] == []
        assert page.eval("document.documentElement.scrollWidth") == SCREENS[screen]  # nothing sticks out
        targets = "[...document.querySelectorAll('button, input, summary')].map(e => e.getBoundingClientRect().height)"
        assert min(page.eval(targets)) >= (40 if screen == "phone" else 24)  # for thumbs, and for mice
        ground = page.eval("getComputedStyle(document.body).backgroundColor")
        assert (int(re.findall(r"\d+", ground)[0]) < 128) is dark
        SHOTS.mkdir(exist_ok=True)
        page.screenshot(SHOTS / f"{screen}-{'dark' if dark else 'light'}.png")
        assert_quiet(page, scene)


def test_hostile_names_stay_text_in_what_was_loaded_and_what_was_exchanged(browser: Browser, scene: Scene) -> None:
    with browser.page() as page:
        opened(page, scene)
        open_all(page)
        for _ in range(2):
            assert page.eval("document.querySelectorAll('img, body script').length") == 0
            assert f"default/{EVIL}" in page.texts(".stuck .name")
            assert page.eval("document.title").endswith(f"shop-operator on {scene.document().host}")
            page.eval("refresh()")  # as it does by itself
        assert_quiet(page, scene)


def test_the_policy_lets_no_other_script_run_and_no_word_out(browser: Browser, scene: Scene) -> None:
    with browser.page() as page:
        opened(page, scene)
        page.eval("""(() => {
          const script = document.createElement('script');
          script.textContent = 'window.owned = true';
          document.body.append(script);
          document.body.insertAdjacentHTML('beforeend', '<img src="data:," onerror="window.owned = true">');
        })()""")
        outside = "fetch('http://127.0.0.1:9/').then(() => 'sent', error => String(error))"
        assert "sent" not in page.eval(outside)
        eventually(lambda: len([line for line in page.complaints if "Content Security Policy" in line]) >= 3)
        assert page.eval("window.owned") is None
        assert not [url for url in page.requests if ":9/" in url]


def test_what_is_opened_stays_open_while_the_page_changes(browser: Browser, scene: Scene) -> None:
    with browser.page() as page:
        opened(page, scene)
        page.eval("document.querySelector('.stuck details').open = true")
        page.eval("document.getElementById('object').value = 'half typ'")
        key = page.eval("document.querySelector('.stuck details').parentElement.dataset.key")
        before = page.texts(".sub")[0]
        page.eval("window.loaded = 1")
        page.until(f"document.querySelector('.sub').innerText !== {json.dumps(before)}")
        scene.clock.advance(1)
        kept = f"[...document.querySelectorAll('.stuck > li')].find(e => e.dataset.key === {json.dumps(key)})"
        assert page.eval(f"{kept}.querySelector('details').open") is True
        assert page.eval("document.querySelectorAll('.stuck details[open]').length") == 1
        assert page.eval("document.getElementById('object').value") == "half typ"
        assert page.eval("window.loaded") == 1  # it was not loaded anew
        assert_quiet(page, scene)


def test_pause_holds_the_page_and_lets_it_go_on(browser: Browser, scene: Scene) -> None:
    with browser.page() as page:
        opened(page, scene)
        page.eval("document.getElementById('pause').click()")
        assert page.eval("[paused(), timer && document.getElementById('pause').innerText]")[1] in ("Go on", 0)
        assert page.eval("document.getElementById('pause').getAttribute('aria-pressed')") == "true"
        asked = page.eval("asked")
        page.eval("later()")
        assert page.eval("new Promise(done => setTimeout(() => done(asked), 2500))") == asked
        page.eval("document.getElementById('pause').click()")
        page.until(f"asked > {asked} + 1")


def test_objects_are_found_by_name(browser: Browser, scene: Scene) -> None:
    with browser.page() as page:
        opened(page, scene)
        page.eval("document.getElementById('object').focus()")
        page.send("Input.insertText", text="WELL")
        press(page, "Enter")
        page.until("document.querySelectorAll('.recent > li').length === 1")
        assert page.texts(".recent .name") == ["default/well"]
        assert page.eval("location.search") == "?object=WELL"
        assert page.texts(".stuck .name") == []
        opened(page, scene, "?object=WELL")
        assert page.texts(".recent .name") == ["default/well"]
        assert page.eval("document.getElementById('object').value") == "WELL"


def test_keys_alone_open_an_object_and_read_a_plot(browser: Browser, scene: Scene) -> None:
    with browser.page() as page:
        opened(page, scene)
        press(page, "Tab")
        assert page.eval("document.activeElement.className") == "skip"
        assert page.eval("document.activeElement.getBoundingClientRect().left") >= 0  # it is seen once it is reached
        for _ in range(30):
            press(page, "Tab")
            if page.eval("document.activeElement.nodeName") == "SUMMARY":
                break
        assert page.eval("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        press(page, "Enter")
        assert page.eval("document.activeElement.parentElement.open") is True
        page.eval("document.querySelector('svg.plot').focus()")
        press(page, "ArrowLeft")
        read = "document.querySelector('.plot-read').innerText"
        latest = page.eval(read)
        assert re.search(r"ago: queued \d+", latest)
        press(page, "ArrowLeft")
        assert page.eval(read) != latest
        page.eval("refresh()")
        assert page.eval(read)  # it stays while the page changes
        press(page, "Tab")
        assert page.eval(read) == ""


def test_without_script_all_is_there_to_read(browser: Browser, scene: Scene) -> None:
    with browser.page(script=False) as page:
        page.goto(scene.url)
        assert page.eval("document.getElementById('live').hidden") is True
        assert "wait_for_nothing" in page.eval("document.querySelector('.stuck').textContent")
        assert len(page.texts("#informers tbody tr")) == 3
        assert page.eval("document.querySelector('noscript meta').getAttribute('content')") == "10"
        page.eval("document.querySelector('.stuck summary').click()")
        assert page.eval("document.querySelector('.stuck details').open") is True
        page.goto(scene.url + "?object=well")
        assert page.texts(".recent .name") == ["default/well"]
        assert not [url for url in page.requests if url.endswith("page.js")]


def test_a_manager_that_is_gone_leaves_what_was_seen_and_says_that_it_is_old(browser: Browser) -> None:
    with FakeAPIServer() as server:
        manager = Manager(server.client(), name="mortal", **ON)
        manager.controller("maps").for_(CONFIGMAPS).complete(lambda _request, _ctx: None)
        with browser.page() as page:
            with running(manager):
                url = str(eventually(lambda: manager.status_url))
                page.goto(url)
                page.until(SCRIPT_RUNS)
            page.until("document.getElementById('connection').innerText.startsWith('No answer since')")
            assert page.texts("h1") == ["mortal"]
            assert page.eval("document.body.classList.contains('old')") is True
            again = Manager(
                server.client(), name="reborn", metrics_bind_address=urlsplit(url).netloc, health_probe_bind_address="0"
            )
            with running(again):
                page.until("document.querySelector('h1').innerText === 'reborn'")
                assert page.eval("document.body.classList.contains('old')") is False
                assert page.texts("#connection") == [""]


def test_what_heals_leaves_the_list(browser: Browser) -> None:
    broken = [True]

    def reconcile(_request: Request, _ctx: ReconcileContext) -> Result | None:
        if broken:
            raise RuntimeError("not yet")
        return None

    with FakeAPIServer() as server:
        manager = Manager(server.client(), **ON)
        controller = manager.controller("maps").for_(CONFIGMAPS).complete(reconcile)
        with running(manager), browser.page() as page:
            controller.enqueue(Request("default", "a"))
            page.goto(str(eventually(lambda: manager.status_url)))
            page.until("document.querySelectorAll('.stuck > li').length === 1")
            broken.clear()
            controller.enqueue(Request("default", "a"))
            page.until("document.querySelector('.verdict').innerText === 'Nothing is stuck.'")
            assert page.texts(".recent .name") == ["default/a"]
            assert page.complaints == []


def test_a_token_is_asked_for_and_sent_by_this_tab_only(browser: Browser, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text("admin-token,admin,1,system:masters\n")
    with FakeAPIServer(token_auth_file=tokens) as server:
        manager = Manager(server.client("admin"), metrics_secure=True, name="guarded", **ON)
        with running(manager, wait=False), browser.page() as page:
            page.send("Security.setIgnoreCertificateErrors", ignore=True)
            page.goto(str(eventually(lambda: manager.status_url)))
            assert page.texts("h2") == ["Who are you?"]
            page.eval("document.getElementById('token').focus()")
            page.send("Input.insertText", text="wrong")
            press(page, "Enter")
            page.until("asked === 1")
            page.eval("document.getElementById('token').value = 'admin-token'")
            press(page, "Enter")
            page.until("document.querySelector('h1').innerText === 'guarded'")
            page.until("asked > 3")  # it goes on with it
            assert page.texts("h1") == ["guarded"]
            kept = "[document.cookie, localStorage.length, sessionStorage.length, location.href.includes('token')]"
            assert page.eval(kept) == ["", 0, 0, False]
