"""A real browser: headless Chromium, driven by the DevTools protocol over a pipe."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from select import select
from typing import Any

from tests.support.waiting import eventually

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_PATIENCE = 60.0  # seconds for an answer
_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--hide-scrollbars",
    "--metrics-recording-only",
    "--mute-audio",
    "--force-prefers-reduced-motion",
)
# Chromium reads commands from descriptor 3 and answers on 4, whatever numbers these pipes have here.
_LAUNCH = """\
import fcntl, os, sys
read, write, *command = sys.argv[1:]
read, write = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in (read, write))
os.dup2(read, 3); os.dup2(write, 4); os.close(read); os.close(write)
os.execv(command[0], command)
"""


def find() -> str | None:
    """The browser of this machine."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class BrowserError(Exception):
    """The browser refused a command, or a script in a page raised."""


class Browser:
    """Chromium with a profile in ``folder``. A context manager."""

    def __init__(self, binary: str, folder: Path) -> None:
        self._binary = binary
        self._folder = folder

    def __enter__(self) -> Browser:
        their_read, self._write = os.pipe()
        self._read, their_write = os.pipe()
        flags = [*_FLAGS, f"--user-data-dir={self._folder}"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")  # root has none
        self._log = (self._folder / "chromium.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(their_read), str(their_write), self._binary, *flags],
            pass_fds=(their_read, their_write),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(self._folder), "HOME": str(self._folder)},
            start_new_session=True,
        )
        os.close(their_read)
        os.close(their_write)
        self._received = b""
        self._last_id = 0
        self._events: list[dict[str, Any]] = []
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, BrowserError):
            self.send("Browser.close")
        for descriptor in (self._write, self._read):
            os.close(descriptor)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def send(self, method: str, session: str | None = None, **params: object) -> dict[str, Any]:
        self._last_id += 1
        number = self._last_id
        message: dict[str, object] = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self._events.append(answer)

    def take_events(self, session: str) -> list[dict[str, Any]]:
        """What was told of one page since this was called last."""
        self.send("Browser.getVersion")
        taken = [event for event in self._events if event.get("sessionId") == session]
        self._events = [event for event in self._events if event.get("sessionId") != session]
        return taken

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            ready, _, _ = select([self._read], [], [], _PATIENCE)
            piece = os.read(self._read, 1 << 20) if ready else b""
            if not piece:
                told = (self._folder / "chromium.log").read_text(errors="replace")[-2000:]
                raise BrowserError(f"the browser {'has ended' if ready else 'does not answer'}: {told}")
            self._received += piece
        line, _, self._received = self._received.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    @contextlib.contextmanager
    def page(self, *, width: int = 1280, height: int = 900, dark: bool = False, script: bool = True) -> Iterator[Page]:
        """A page of its own, as a screen of this size shows it; below 600 pixels it is a phone."""
        context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.send(f"{domain}.enable")
        phone = width < 600
        page.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.send("Emulation.setEmulatedMedia", features=[scheme])
        if not script:
            page.send("Emulation.setScriptExecutionDisabled", value=True)
        try:
            yield page
        finally:
            self.send("Target.disposeBrowserContext", browserContextId=context)


class Page:
    """:ivar requests: the URLs of all requests it has sent.
    :ivar complaints: errors of scripts, of the console, and of the Content-Security-Policy.
    """

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self._requests: list[str] = []
        self._complaints: list[str] = []

    def send(self, method: str, **params: object) -> dict[str, Any]:
        return self._browser.send(method, self._session, **params)

    def goto(self, url: str) -> None:
        """Load it, and wait until it is there."""
        failed = self.send("Page.navigate", url=url).get("errorText")
        if failed:
            raise BrowserError(f"{url}: {failed}")
        eventually(
            lambda: self.eval("location.href !== 'about:blank' && document.readyState === 'complete'"), url, timeout=60
        )

    def eval(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise's, once it has one."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until the expression is true."""
        return eventually(lambda: self.eval(expression), expression, timeout=60)

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.eval(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText)")
        return found

    def screenshot(self, file: Path) -> None:
        """All of the page, as PNG."""
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.send("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    @property
    def requests(self) -> Sequence[str]:
        self._take()
        return self._requests

    @property
    def complaints(self) -> Sequence[str]:
        self._take()
        return self._complaints

    def _take(self) -> None:
        for event in self._browser.take_events(self._session):
            params: Mapping[str, Any] = event.get("params", {})
            method = event.get("method")
            if method == "Network.requestWillBeSent":
                self._requests.append(params["request"]["url"])
            elif method == "Runtime.exceptionThrown":
                self._complaints.append(str(params["exceptionDetails"]))
            elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
                self._complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                self._complaints.append(str(params["args"]))
