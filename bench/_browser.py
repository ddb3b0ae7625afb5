"""A real Chromium without a window, driven by its own DevTools protocol over two pipes: no port, no library.

    with Browser(find_browser(), folder) as browser:
        page = browser.open(path.as_uri())
        page.evaluate("document.title")

Everything waits for an answer of the browser, so nothing here polls.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.doctor import BROWSERS

PATIENCE_SECONDS = 60.0
Size = tuple[int, int]
DESK, PHONE = (1200, 900), (390, 844)
"""Width and height of the windows that pages are looked at in."""
# The protocol is spoken on descriptors 3 and 4, which only the child itself can make of what it inherits.
_LAUNCH = (
    "import os, sys; taken, given, *command = sys.argv[1:]; "
    "os.dup2(int(taken), 3); os.dup2(int(given), 4); os.execv(command[0], command)"
)
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # Chromium has none for root, and these pages are our own.
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--mute-audio",
)


class BrowserError(Exception):
    """The browser refused a command, ended, or said nothing for too long."""


def find_browser() -> str | None:
    """The first program on the path that is such a browser; None when there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


class Browser:
    """One process with a profile of its own below ``folder``; a context manager that ends it."""

    def __init__(self, program: str, folder: Path, flags: Sequence[str] = ()) -> None:
        """Start it."""
        to_child, self._write = (_high(end) for end in os.pipe())
        self._read, from_child = (_high(end) for end in os.pipe())
        arguments = [program, *_FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, "about:blank"]
        log = (folder / "browser.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(to_child), str(from_child), *arguments],
            pass_fds=(to_child, from_child),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        for end in (to_child, from_child):
            os.close(end)
        log.close()
        self._buffer = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []
        """Everything that the browser said by itself, in order."""

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it, by force if it does not listen."""
        try:
            self.call("Browser.close")
        except (BrowserError, OSError):
            self._process.kill()
        finally:
            os.close(self._write)
            os.close(self._read)
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Give a command and wait for its result; raises :class:`BrowserError`."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            said = self._next(deadline, method)
            if said.get("id") != self._number:
                self.events.append(said)
                continue
            if "error" in said:
                raise BrowserError(f"{method}: {said['error'].get('message', said['error'])}")
            result: dict[str, Any] = said["result"]
            return result

    def _next(self, deadline: float, method: str) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(self._read, 1 << 20) if ready else b""
            if not piece:
                how = "has ended" if ready else f"did not answer {method} within {PATIENCE_SECONDS:g} s"
                raise BrowserError(f"The browser {how}; what it said is in browser.log beside its profile.")
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\0")
        said: dict[str, Any] = json.loads(line)
        return said

    def open(self, address: str, size: Size = DESK, *, dark: bool = False, phone: bool = False) -> Page:
        """Open an address in a page of its own, and return when its load event has fired."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1}
        page.call("Emulation.setDeviceMetricsOverride", **screen, mobile=phone)
        if phone:
            page.call("Emulation.setTouchEmulationEnabled", enabled=True)
        page.call("Page.bringToFront")
        seen = len(self.events)
        page.call("Page.navigate", url=address)
        # The empty page before it has a load event as well.
        there = self._wait_for(session, "Page.frameNavigated", seen, address.partition("#")[0])
        self._wait_for(session, "Page.loadEventFired", there)
        return page

    def _wait_for(self, session: str, method: str, begin: int, address: str = "") -> int:
        """Wait for an event of a page, from a place among the events on; return the place after it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        place = begin
        while True:
            while place < len(self.events):
                event = self.events[place]
                place += 1
                if event.get("sessionId") != session or event["method"] != method:
                    continue
                if not address or event["params"]["frame"]["url"] == address:
                    return place
            self.events.append(self._next(deadline, method))


def _high(descriptor: int) -> int:
    """Move a descriptor away from those that the child makes of it."""
    import fcntl

    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


class Page:
    """One page of a browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        """Take a session that is attached to it."""
        self.browser = browser
        self.session = session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give the page a command."""
        return self.browser.call(method, self.session, **parameters)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, waited for if it is a promise; raises :class:`BrowserError` if it throws."""
        done = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise BrowserError(f"{expression}: {json.dumps(done['exceptionDetails'])[:2000]}")
        return done["result"].get("value")

    def complaints(self) -> list[str]:
        """Everything that the console holds against the page: errors, exceptions, and what the policy forbade."""
        self.evaluate("0")  # What was said before this answer has arrived with it.
        found = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            details = event.get("params", {})
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(details["exceptionDetails"])[:2000])
            elif event["method"] == "Runtime.consoleAPICalled" and details["type"] in ("error", "assert"):
                found.append(json.dumps(details["args"])[:2000])
            elif event["method"] == "Log.entryAdded" and details["entry"]["level"] == "error":
                found.append(json.dumps(details["entry"])[:2000])
        return found

    def requested(self) -> list[str]:
        """Every address that the page asked for, itself included."""
        self.evaluate("0")
        sent = [event for event in self.browser.events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent if event.get("sessionId") == self.session]

    def drag(self, start: tuple[float, float], stop: tuple[float, float]) -> None:
        """Press the mouse, move it in steps, and let go."""
        mouse = {"button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=start[0], y=start[1])
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], **mouse)
        for step in range(1, 9):
            x, y = (begin + (end - begin) * step / 8 for begin, end in zip(start, stop, strict=True))
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=stop[0], y=stop[1], **mouse)

    def click(self, selector: str) -> None:
        """Click on the middle of an element, after scrolling to it."""
        x, y = self.middle(selector)
        mouse = {"button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **mouse)

    def middle(self, selector: str) -> tuple[float, float]:
        """Where an element is in the window, after scrolling to it."""
        found = json.dumps(selector)
        box = self.evaluate(
            f"(() => {{ const one = document.querySelector({found}); one.scrollIntoView({{block: 'center'}}); "
            "const box = one.getBoundingClientRect(); return [box.x, box.y, box.width, box.height]; })()"
        )
        return box[0] + box[2] / 2, box[1] + box[3] / 2

    def press(self, key: str, code: int) -> None:
        """Press a key by its name and its Windows code, such as ``Tab`` and 9."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def screenshot(self, path: Path) -> None:
        """Write a picture of the whole page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])
