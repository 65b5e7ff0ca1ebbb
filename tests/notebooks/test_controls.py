"""The controls of pages, moved as a hand moves them, in a real browser: numbers and pictures follow."""

from collections.abc import Iterator

import pytest
from rigs.browser import Page, needs_chromium, opened
from rigs.pages import CHANGE_PERIOD, CHARTS, NUMBERS, PICTURES, choose, served, settle
from rigs.two_crowds import two_crowds

from notebooks.gallery import pages

SESSION = "session"  # its list has the newest sessions, and its picture is of the first of them, one of `tv`
Seen = tuple[list[str], list[str]]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the pages over two crowds are."""
    folder = tmp_path_factory.mktemp("crowds")
    two_crowds(folder / "data")
    with served(folder / "data", folder) as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser as wide as a desk."""
    with opened("about:blank", tmp_path_factory.mktemp("browser") / "profile") as page:
        page.call("Emulation.setDeviceMetricsOverride", width=1440, height=900, deviceScaleFactor=1, mobile=False)
        yield page


def seen(page: Page) -> Seen:
    """Return the numbers and the pictures of a page, once they stay as they are."""
    looks: list[Seen] = []

    def stays(page: Page) -> bool:
        settle(page, for_s=0.3)
        looks.append((page.evaluate(NUMBERS), page.evaluate(PICTURES)))
        return looks[-2:-1] == looks[-1:]

    page.wait(stays)
    return looks[-1]


def seen_other(page: Page, before: Seen, *, is_drawn_anew: bool = True) -> Seen:
    """Wait until the numbers are others, and a picture too; return them."""

    def is_other(page: Page) -> bool:
        drawn = set(page.evaluate(PICTURES))
        return page.evaluate(NUMBERS) != before[0] and bool(drawn - set(before[1]) or not is_drawn_anew)

    page.wait(is_other)
    return seen(page)


@needs_chromium
@pytest.mark.parametrize("path", [path for path in pages() if path != "ask"])
def test_numbers_and_pictures_follow_the_bar(browser: Page, address: str, path: str) -> None:
    """A longer period, then one of two players: both change each time; the address, opened again, has the same."""
    period, player = ("last+hour", "web") if path == SESSION else ("last+24+hours", "tv")
    browser.call("Page.navigate", url=f"{address}{path}/?n=1&period={period}")
    browser.wait(lambda page: page.evaluate(CHARTS) >= 1 and page.evaluate(NUMBERS))
    at_first = seen(browser)
    assert browser.evaluate(CHANGE_PERIOD)
    in_a_week = seen_other(browser, at_first, is_drawn_anew=path != SESSION)
    choose(browser, "player", player)
    of_one = seen_other(browser, in_a_week)
    address = browser.evaluate("location.href")
    assert "period=last+7+days" in address
    assert f"player={player}" in address
    browser.call("Page.navigate", url="about:blank")
    browser.call("Page.navigate", url=address)
    # The address of a session is its own: its list has that one alone.
    browser.wait(lambda page: seen(page)[path == SESSION :] == of_one[path == SESSION :])
