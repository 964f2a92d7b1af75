"""A headless Chromium that tests talk to over a pipe, by the DevTools protocol; it can reach no network."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
_FLAGS = (
    "--headless",
    "--no-sandbox",  # tests may run as root, where Chromium refuses its own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
)


class Page:
    """One tab, and what it has said so far.

    Attributes:
        complaints: lines of its console, exceptions, and what its content policy has refused.
        requests: every address that it asked for.
    """

    def __init__(self, pipe: _Pipe, session: str) -> None:
        self._pipe, self._session = pipe, session
        self.complaints: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        return self._pipe.call(method, parameters, self._session, self._heard)

    def open(self, file: Path, *, width: int, scheme: str = "light", media: str = "screen") -> None:
        """Load a file at a width, as a phone does where it is narrow."""
        phone = width < 600
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)
        self.call("Page.navigate", url=file.as_uri())
        self._pipe.wait(lambda: self.ask("location.href + document.readyState") == file.as_uri() + "complete")

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page; the page's own policy against scripts does not hold for it."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def picture(self, file: Path) -> None:
        """The whole page as a PNG."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(answer["data"]))

    def printed(self, file: Path) -> None:
        """The page on A4 as a PDF."""
        answer = self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=True)
        file.write_bytes(base64.b64decode(answer["data"]))

    def _heard(self, event: dict[str, Any]) -> None:
        method, given = event["method"], event["params"]
        if method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif method in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Audits.issueAdded"):
            self.complaints.append(json.dumps(given))


class _Pipe:
    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._rest = write, read, b""
        self._numbers = itertools.count(1)

    def call(
        self, method: str, parameters: dict[str, Any], session: str = "", heard: Any = lambda _: None
    ) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 60
        while True:
            answer = self._next(end)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            if "method" in answer:
                heard(answer)

    @staticmethod
    def wait(done: Any) -> None:
        end = time.monotonic() + 30
        while not done():
            assert time.monotonic() < end, "the page was not loaded in 30 s"
            time.sleep(0.02)

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, "Chromium did not answer in 60 s"
            more = os.read(self._read, 1 << 20)
            assert more, "Chromium has ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Page]:
    """Start it with a profile of its own in a folder; gives a tab."""
    to_browser, from_browser = _high_pipe(), _high_pipe()
    # Chromium reads commands from descriptor 3 and writes answers to 4.
    script = f'exec "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}'
    command = ["bash", "-c", script, "bash", PROGRAM, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(command, pass_fds=(to_browser[0], from_browser[1]), stdout=log, stderr=log)
    for end in (to_browser[0], from_browser[1]):
        os.close(end)
    pipe = _Pipe(to_browser[1], from_browser[0])
    try:
        target = pipe.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        yield Page(pipe, pipe.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"])
    finally:
        with contextlib.suppress(AssertionError, OSError):
            pipe.call("Browser.close", {})
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        for end in (to_browser[1], from_browser[0]):
            os.close(end)


def _high_pipe() -> tuple[int, int]:
    """A pipe whose descriptors do not lie where the shell puts 3 and 4."""
    ends = []
    for end in os.pipe():
        ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10))
        os.close(end)
    return ends[0], ends[1]
