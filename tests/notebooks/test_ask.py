"""The page `ask` in a browser: questions of an address, and answers in which a player wrote markup."""

import time
import urllib.parse
from pathlib import Path

from rigs.browser import Page, needs_chromium, opened
from rigs.lake import Lake, record_value, write_values
from rigs.pages import EVERY, IS_SETTLED, served
from rigs.stranger import listening

ADDRESS = "Object.fromEntries(new URLSearchParams(location.search))"


def lake_of(folder: Path, *names: str) -> None:
    """Make a lake with a session of a content of each name."""
    with Lake(folder).writer() as writer:
        held = writer.load(0, None)
        now_ms = time.time_ns() // 1_000_000
        values = [
            record_value(
                f"e{place}",
                f"s{place}",
                "sessionStart",
                ts=now_ms,
                received_ms=now_ms,
                **{"media.name": name},  # type: ignore[arg-type]
            )
            for place, name in enumerate(names)
        ]
        write_values(writer, held, values, appended_ms=now_ms)


def ask(page: Page) -> None:
    """Press the button."""
    button = f"{EVERY}.find((element) => element.matches('button') && element.textContent.trim() === 'Ask')"
    page.wait(lambda page: page.evaluate(f"!!{button}") and page.evaluate(IS_SETTLED))
    page.evaluate(f"{button}.click()")


def all_text(page: Page) -> str:
    """Return all text on the page, inside shadow roots as well."""
    return str(page.evaluate(f"{EVERY}.map((element) => element.shadowRoot?.textContent ?? '').join(' ')"))


@needs_chromium
def test_a_question_is_in_the_address_and_a_wrong_one_is_ignored_with_a_sentence(tmp_path: Path) -> None:
    """SQL of an address waits for a person; what a person asks is put there, if it is short enough."""
    lake_of(tmp_path / "data", "A film")
    sql = "SELECT reverse('tuo si ti') AS answer, content_name\nFROM chosen_sessions -- of 100 % & more"
    with (
        served(tmp_path / "data", tmp_path) as (address, _),
        opened(f"{address}ask/?question=nonsense&question=none", tmp_path / "profile") as page,
    ):
        page.wait(lambda page: "There is no example 'none'" in page.text() and page.evaluate(IS_SETTLED))
        assert "internal error" not in page.text()
        page.call("Page.navigate", url=f"{address}ask/?{urllib.parse.urlencode({'sql': sql})}")
        page.wait(lambda page: "Press Ask." in page.text())
        assert "it is out" not in all_text(page)
        ask(page)
        page.wait(lambda page: "it is out" in all_text(page) and "A film" in all_text(page))
        assert page.evaluate(ADDRESS)["sql"] == sql
        page.call("Page.navigate", url=f"{address}ask/?{urllib.parse.urlencode({'sql': sql + 'x' * 7000})}")
        page.wait(lambda page: "Press Ask." in page.text())
        ask(page)
        page.wait(lambda page: "too long for an address" in page.text())
        page.wait(lambda page: "sql" not in page.evaluate(ADDRESS))


MARKED_UP = (
    "SELECT [content_name] AS a, [{n: content_name}] AS b, {n: content_name, m: repeat('x', 200)} AS c, "
    "MAP {content_name: [content_name]} AS d, content_name AS e FROM sessions",
    "PIVOT sessions ON content_name USING count(*)",
    "SELECT content_name::INTEGER FROM sessions",
)
# Where a cell, or a name of a column, that has an address in it can be clicked.
CELLS = f"""
    {EVERY}.filter((each) => each.matches('td, th') && each.textContent.includes('http:')).map((each) => {{
        const box = (each.querySelector('button, summary, span') || each).getBoundingClientRect();
        return [box.x + Math.min(box.width / 2, 20), box.y + box.height / 2];
    }}).filter(([x]) => x < innerWidth)
"""
FRAMES = """new Promise((done) => {
    let frames = 4;
    (function next() { frames-- ? requestAnimationFrame(next) : done(); })();
})"""


def click_each_cell(page: Page) -> None:
    """Click into every cell and name of a column, as a person does, and close what that opened."""
    for x, y in page.evaluate(CELLS):
        for kind in ("mousePressed", "mouseReleased"):
            page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        page.evaluate(FRAMES)
        for kind in ("keyDown", "keyUp"):
            page.call("Input.dispatchKeyEvent", type=kind, key="Escape", code="Escape", windowsVirtualKeyCode=27)


@needs_chromium
def test_markup_in_an_answer_is_text_and_fetches_nothing(tmp_path: Path) -> None:
    """In lists, structs and maps, in names of columns, and in what DuckDB says of an error; also after a click."""
    with listening() as stranger:
        names = [
            f"text/html:<img src='{stranger.address}/html.png'>",
            f"image/png:{stranger.address}/image.png",
            f"{stranger.address}/address.png",
        ]
        lake_of(tmp_path / "data", *names)
        of_them = f"{EVERY}.filter((each) => String(each.src || each.href || '').startsWith('{stranger.address}'))"
        with (
            served(tmp_path / "data", tmp_path) as (address, _),
            opened("about:blank", tmp_path / "profile") as page,
        ):
            for sql in MARKED_UP:
                page.call("Page.navigate", url=f"{address}ask/?{urllib.parse.urlencode({'sql': sql})}")
                ask(page)
                page.wait(lambda page: f"{stranger.address}/" in all_text(page) + page.text())
                click_each_cell(page)
                assert page.evaluate(f"{of_them}.length") == 0
        assert stranger.asked == []
