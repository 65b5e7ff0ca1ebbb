"""The pages: run as scripts, and served, with what a browser sees of them."""

import contextlib
import functools
import html
import importlib.util
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import marimo
import pytest

from lake.reading import Reader
from notebooks.connect import open_lake
from notebooks.filters import Choice, newest_moment
from notebooks.gallery import pages
from rigs.browser import Page
from rigs.commands import started
from rigs.processes import Process
from rigs.waiting import until

# All elements of a page, those in shadow roots too, where no selector reaches: marimo draws charts there.
EVERY = """
    (function every(root) {
        return [...root.querySelectorAll('*')].flatMap(
            (element) => [element, ...(element.shadowRoot ? every(element.shadowRoot) : [])]);
    })(document)
"""
CHARTS = f"{EVERY}.filter((element) => element.matches('canvas, svg.marks')).length"
# An hourglass is shown while a cell runs.
IS_SETTLED = "!document.querySelector('[data-testid=loading-indicator]')"
# Choose another period, as a hand does, and return whether there was one to choose.
CHANGE_PERIOD = f"""
    (function change(options) {{
        const other = options.find((option) => option.text === 'last 7 days');
        if (!other) return false;
        const select = other.closest('select');
        Object.getOwnPropertyDescriptor(HTMLSelectElement.prototype, 'value').set.call(select, other.value);
        select.dispatchEvent(new Event('change', {{ bubbles: true }}));
        return true;
    }})({EVERY}.filter((element) => element.matches('select option')))
"""
# The numbers that a page shows, and its pictures.
NUMBERS = (
    f"{EVERY}.filter((element) => element.matches('.tile b, .tile small, td')).map((each) => each.textContent)"
)
PICTURES = f"""
    {EVERY}.filter((element) => element.matches('.vega-embed canvas, .vega-embed svg.marks'))
        .map((each) => each.toDataURL ? each.toDataURL() : each.outerHTML)
"""


def text_of(path: str, **address: str) -> str:
    """Run a page over the lake of this process's environment; return what its cells show, text and markup.

    `address` is what a reader's address would say after the question mark.
    """
    spec = importlib.util.spec_from_file_location(path, pages()[path])
    assert spec is not None
    assert spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(marimo, "query_params", functools.partial(_given, marimo.query_params, dict(address)))
        outputs, _ = page.app.run()
    shown = "".join(str(getattr(output, "text", output)) for output in outputs if output is not None)
    # marimo's own elements have their content as JSON in an attribute.
    return re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), html.unescape(shown))


def _given(query_params: Callable[[], Any], address: dict[str, str]) -> Any:
    """Return the address of a script, which is empty when it begins, with what it is to say."""
    given = query_params()
    while address:
        given.set(*address.popitem())
    return given


@contextlib.contextmanager
def reading(folder: Path, length: timedelta, *, sample_min: int = 1) -> Iterator[tuple[Reader, Choice]]:
    """Open a lake as a page does; return it, and the choice of all of so long up to its newest moment."""
    with open_lake({}, folder) as lake:
        newest = newest_moment(lake)
        assert newest is not None
        until = newest + timedelta(milliseconds=1)
        yield lake, Choice(until - length, until, length, {}, sample_min, "UTC")


@contextlib.contextmanager
def served(data_dir: Path, cwd: Path, **settings: str) -> Iterator[tuple[str, Process]]:
    """Serve the pages over a lake, with the log in `cwd`; return the address that is printed, and the process."""
    with started("notebooks", "--port", "0", "--data", str(data_dir), cwd=cwd, settings=settings) as server:
        found = server.wait_for(
            lambda: re.search(r"^pages: (http://\S+)$", server.output, re.MULTILINE), "the pages are not served"
        )
        yield found[1], server
        assert server.end() == 0, server.output


def settle(page: Page, *, for_s: float = 1.0) -> float:
    """Wait until nothing has been computed for so long; return when that time began."""
    idle: list[float] = []

    def is_idle() -> bool:
        if page.evaluate(IS_SETTLED):
            idle.append(time.monotonic())
        else:
            idle.clear()
        return bool(idle) and idle[-1] - idle[0] > for_s

    until(is_idle, "it goes on computing")
    return idle[0]


def choose(page: Page, label: str, option: str) -> None:
    """Open one of a page's lists by its label, take an option, and close it, as a hand does."""
    button = f"""
        (function of(label) {{ return label.getRootNode().getElementById(label.htmlFor); }})(
            {EVERY}.find((element) => element.matches('label') && element.textContent.trim() === '{label}'))
    """
    choice = f"{EVERY}.find((element) => element.matches('[role=option]') && element.textContent === '{option}')"
    page.wait(lambda page: page.evaluate(f"!!{button}"))
    page.evaluate(f"{button}.click()")
    page.wait(lambda page: page.evaluate(f"!!{choice}"))
    page.evaluate(f"{choice}.click()")
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key="Escape", code="Escape", windowsVirtualKeyCode=27)
    page.wait(lambda page: not page.evaluate(f"!!{choice}"))
