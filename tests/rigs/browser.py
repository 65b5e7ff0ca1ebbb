"""A real Chromium without a window, told what to do over its DevTools protocol."""

import base64
import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from rigs.processes import started
from rigs.waiting import until


def chromium() -> str | None:
    """Return the program, if this machine has one."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)


needs_chromium = pytest.mark.skipif(
    chromium() is None and not os.environ.get("CI"), reason="no chromium on this machine"
)


class ScriptError(AssertionError):
    """A JavaScript expression threw."""


class Page:
    """One open page. `events` are those of the protocol's domains that were enabled, as far as calls have read."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._connection.recv(timeout=30))
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self.events.append(message)

    def click(self, selector: str, *, x: float = 0.5, y: float = 0.5) -> None:
        """Click with the mouse: into the middle of an element, or at so much of its width and height."""
        place = self.evaluate(f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{block: 'center', behavior: 'instant'}});
            const box = element.getBoundingClientRect();
            return [box.x + box.width * {x}, box.y + box.height * {y}];
        }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            point = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, **point)

    @contextlib.contextmanager
    def other(self, url: str) -> Iterator["Page"]:
        """Open another page of the same browser for a while."""
        browser = "http://{}:{}/json".format(*self._connection.remote_address[:2])
        target = httpx.put(f"{browser}/new?{url}").json()
        with connect(target["webSocketDebuggerUrl"], max_size=None) as connection:
            yield Page(connection)
        httpx.get(f"{browser}/close/{target['id']}")

    def listen(self) -> None:
        """Let the browser tell what it asks for, what it logs and what is thrown, from now on."""
        for domain in ("Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def said(self, method: str) -> list[dict[str, Any]]:
        """Return what the browser told of one kind, as far as calls have read."""
        return [event["params"] for event in self.events if event["method"] == method]

    def hosts(self) -> set[str]:
        """Return the hosts, with their ports, that the page asked, sockets included."""
        urls = [each["request"]["url"] for each in self.said("Network.requestWillBeSent")]
        urls += [each["url"] for each in self.said("Network.webSocketCreated")]
        return {urlsplit(url).netloc for url in urls if urlsplit(url).scheme != "data"}

    def faults(self) -> list[str]:
        """Return the errors in the console, the exceptions that nobody caught, and the requests that failed.

        Requests that the page itself gave up are none.
        """
        called = [each for each in self.said("Runtime.consoleAPICalled") if each["type"] in ("error", "assert")]
        found = [str([part.get("value") or part.get("description") for part in each["args"]]) for each in called]
        found += [str(each["exceptionDetails"]) for each in self.said("Runtime.exceptionThrown")]
        logged = [each["entry"] for each in self.said("Log.entryAdded")]
        found += [f"{each['text']} {each.get('url')}" for each in logged if each["level"] == "error"]
        failed = [each for each in self.said("Network.loadingFailed") if not each.get("canceled")]
        found += [f"{each['type']}: {each['errorText']}" for each in failed]
        answers = [each["response"] for each in self.said("Network.responseReceived")]
        return found + [f"{each['status']} {each['url']}" for each in answers if each["status"] >= 400]

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression. Raises ScriptError."""
        reply = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in reply:
            details = reply["exceptionDetails"]
            raise ScriptError(details.get("exception", {}).get("description") or details["text"])
        return reply["result"].get("value")

    def text(self) -> str:
        """Return what a person reads on the page."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def wait(self, condition: Callable[["Page"], Any]) -> None:
        """Wait until a condition is true of the page; one that throws is not true yet."""
        thrown: ScriptError | None = None

        def holds() -> Any:
            nonlocal thrown
            try:
                return condition(self)
            except ScriptError as error:
                thrown = error
                return False

        until(holds, lambda: f"it did not come true on the page ({thrown or 'nothing thrown'}):\n{self.text()}")

    def screenshot(self) -> bytes:
        """Return a picture of the page, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])


@contextlib.contextmanager
def opened(url: str, profile: Path, *, hosts: str = "*", blocks_cookies: bool = False) -> Iterator[Page]:
    """Open a page in a browser of its own, whose profile is a new folder, and which finds no hosts but these.

    It may block the cookies of other sites than the page's, but for partitioned ones.
    """
    program = chromium()
    assert program is not None
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    arguments += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "--window-size=1200,1500"]
    arguments += [] if hosts == "*" else [f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {hosts}"]
    arguments += ["--test-third-party-cookie-phaseout"] if blocks_cookies else []
    # `trap` of Debian's wrapper script does not pass signals on; so the whole group is ended.
    log = profile.with_name(f"{profile.name}.log")
    with started([program, *arguments, "about:blank"], log=log) as process:
        named = profile / "DevToolsActivePort"
        port = int(process.wait_for(lambda: named.read_text().split(), "the browser does not listen")[0])
        pages = httpx.get(f"http://127.0.0.1:{port}/json/list").json()
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        with connect(address, max_size=None) as connection:
            page = Page(connection)
            page.call("Page.enable")
            page.call("Page.navigate", url=url)
            yield page
            page.call("Browser.close")
        process.wait()
