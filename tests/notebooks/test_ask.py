"""The page `ask` in a browser: questions of an address."""

import time
import urllib.parse
from pathlib import Path

from rigs.browser import Page, needs_chromium, opened
from rigs.lake import Lake, record_value, write_values
from rigs.pages import EVERY, IS_SETTLED, served

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
