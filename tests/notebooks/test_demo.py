"""The page `/demo`, in a real browser: what is played goes to a real ingest, and comes back from the lake."""

import contextlib
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from rigs.browser import Page, needs_chromium, opened
from rigs.pages import served
from rigs.whole import Stack, running

from notebooks.demo import COLUMNS, reached_from

PLAY = {"x": 0.06, "y": 0.83}  # where Chromium's own controls have their button
IS_OPEN = "document.readyState === 'complete' && 'ready' in document.body.dataset"
FRESH_S_MAX = 10.0  # with a worker that commits every 0.2 s, on a busy machine
SHIFTS = """
    window.shifts = [];
    new PerformanceObserver((list) => shifts.push(...list.getEntries().map((entry) => entry.value)))
        .observe({type: 'layout-shift', buffered: true});
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An ingest and a worker."""
    with running(tmp_path_factory.mktemp("demo")) as stack:
        yield stack


@pytest.fixture(scope="module")
def address(stack: Stack) -> Iterator[str]:
    """Where the pages are, with the token that they ask for."""
    settings = {
        "PLAYHEAD_NOTEBOOKS_INGEST_URL": f"http://127.0.0.1:{stack.port}",
        "PLAYHEAD_NOTEBOOKS_TOKEN": "a token",
    }
    with served(stack.cwd / "data", stack.cwd, **settings) as (address, server):
        assert address.replace("/?", "/demo/?") in server.output
        yield address


@pytest.fixture(scope="module")
def browser(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser that knows the token, and remembers what it asked for and what went wrong."""
    with opened(address, tmp_path_factory.mktemp("browser") / "profile") as page:
        page.wait(lambda page: "Playhead" in page.text())
        page.listen()
        page.call("Page.addScriptToEvaluateOnNewDocument", source=SHIFTS)
        yield page


@pytest.fixture
def page(browser: Page, address: str) -> Page:
    """The page, just opened."""
    browser.events.clear()
    open_demo(browser, address)
    return browser


def open_demo(page: Page, address: str) -> None:
    """Open the page again."""
    page.call("Page.navigate", url=f"{address.partition('?')[0]}demo/")
    page.wait(lambda page: page.evaluate(IS_OPEN))


def play(page: Page) -> str:
    """Press play; return the session's id once it has a row."""
    page.click("#video", **PLAY)
    page.wait(lambda page: page.evaluate("!video.paused") and cell(page, "state"))
    return str(page.evaluate("document.getElementById('state').title"))


def cell(page: Page, column: str) -> str:
    """Return what the page shows of a column of the row."""
    return str(page.evaluate(f"document.getElementById('row-{column}').textContent"))


def events(page: Page) -> list[list[str]]:
    """Return type, state and words of each event on the page."""
    found: list[list[str]] = page.evaluate(
        "[...document.querySelectorAll('#events li')].map((item) => "
        "[item.querySelector('b').textContent, item.querySelector('.status').textContent, "
        "item.querySelector('.words').textContent])"
    )
    return found


def seconds(page: Page, selector: str) -> float:
    """Return the seconds that the page shows at a place: `1.2 s`, or `1.2 s old`."""
    text = page.evaluate(f"document.querySelector('{selector}').textContent")
    found = re.fullmatch(r"(\d+\.\d) s( old)?", text)
    assert found, text
    return float(found[1])


def all_stored(page: Page, *types: str) -> bool:
    """Return whether exactly these events are shown, besides pings, and all of them are in the tables."""
    shown = [(event, state) for event, state, _ in events(page) if event != "ping"]
    is_stored = all(state.startswith("accepted, 20") and "in the tables" in state for _, state in shown)
    return [event for event, _ in shown] == list(types) and is_stored


@needs_chromium
def test_who_presses_play_sees_events_accepted_and_the_row_grow(page: Page, stack: Stack) -> None:
    """Each event is in the tables a moment after it was accepted; the row is that of `sessions`.

    The page says how long that took, and how old the newest event is.
    """
    session = play(page)
    page.wait(lambda page: page.evaluate("video.currentTime > 1"))
    page.click("#video", **PLAY)
    page.wait(lambda page: all_stored(page, "sessionStart", "play", "pauseStart") and cell(page, "pauses") == "1")
    before_s = float(cell(page, "content_time_s"))
    assert 1 < before_s < 20
    page.click("#video", **PLAY)
    page.wait(lambda page: page.evaluate(f"video.currentTime > {before_s + 1}"))
    page.click("#end")
    page.wait(lambda page: cell(page, "state") == "final")
    assert float(cell(page, "content_time_s")) > before_s + 0.9
    (row,) = stack.ask("SELECT * FROM sessions WHERE session_id = ?", session)
    assert cell(page, "content_time_s") == f"{row['content_time_s']:.3f}".rstrip("0").rstrip(".")
    assert {"spans", "content_time_s"} < set(COLUMNS) <= set(row)
    assert page.evaluate("document.querySelectorAll('#spans rect title').length") == len(row["spans"])
    assert seconds(page, "#behind") < FRESH_S_MAX
    assert seconds(page, "#delay") < FRESH_S_MAX


@needs_chromium
def test_ads_are_played_and_skipped_by_button(page: Page) -> None:
    """Content waits meanwhile, without a pause; the row counts each ad as it went."""
    play(page)
    page.click("#ads")
    page.wait(lambda page: "Ad 1 of 2" in page.text())
    page.click("#skip")
    page.wait(lambda page: page.evaluate("document.getElementById('ad').hidden && !video.paused"))
    page.wait(lambda page: "adBreakComplete" in [event for event, state, _ in events(page) if "in the" in state])
    counts = ("ad_breaks", "ads_started", "ads_skipped", "ads_completed", "pauses")
    page.wait(lambda page: [cell(page, name) for name in counts] == ["1", "2", "1", "1", "0"])
    assert float(cell(page, "ad_time_s")) > 5


@needs_chromium
def test_chapters_states_and_errors_are_told_by_button(page: Page) -> None:
    """Each press is an event, and a number of the row."""
    play(page)
    for button in ("#chapter", "#captions", "#captions", "#error", "#chapter"):
        page.click(button)
    told = ("chapterStart", "stateStart", "stateEnd", "error", "chapterComplete", "chapterStart")
    page.wait(lambda page: all_stored(page, "sessionStart", "play", *told))
    counts = ("chapters_started", "chapters_completed", "states", "errors")
    page.wait(lambda page: [cell(page, name) for name in counts] == ["2", "1", "1", "1"])


@needs_chromium
def test_a_refused_event_appears_with_the_server_s_words(page: Page, stack: Stack) -> None:
    """It is part of the session: the quarantine has it too."""
    session = play(page)
    page.click("#wrong")
    page.wait(lambda page: "refused" in page.text())
    ((event, state, words),) = [each for each in events(page) if "refused" in each[1]]
    assert (event, state) == ("Play", "refused, 400")
    assert "did you mean `play`" in words
    assert stack.until("SELECT 1 FROM quarantine WHERE session_id = ?", session)


@needs_chromium
@pytest.mark.parametrize("width", [390, 1440])
def test_it_fits_phones_and_screens_and_nothing_jumps(page: Page, address: str, width: int) -> None:
    """While a session plays, no element moves that nobody moved; names of colours are words too."""
    page.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
    )
    open_demo(page, address)
    play(page)
    page.click("#ads")
    page.wait(lambda page: "Ad 1 of 2" in page.text())
    page.click("#skip")
    page.wait(lambda page: "Ad 2 of 2" in page.text())
    page.click("#skip")
    page.wait(lambda page: cell(page, "ads_skipped") == "2")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("shifts.filter((shift) => shift > 0.001)") == []
    for words in ("playing", "ad"):
        assert f"\n{words} " in page.text()  # with its seconds, in the legend
    page.call("Emulation.clearDeviceMetricsOverride")


@needs_chromium
def test_it_asks_nobody_but_its_server_and_the_ingest_and_logs_no_error(page: Page, stack: Stack) -> None:
    """The page may reach no others: its policy forbids it."""
    play(page)
    page.click("#captions")
    page.wait(lambda page: all_stored(page, "sessionStart", "play", "stateStart"))
    assert page.hosts() == {urlsplit(page.evaluate("location.href")).netloc, f"127.0.0.1:{stack.port}"}
    assert page.faults() == []
    assert not [each for each in page.said("Log.entryAdded") if each["entry"]["level"] == "warning"]
    assert page.evaluate("fetch('http://127.0.0.2:1/').catch(() => 'refused')") == "refused"
    assert "Content Security Policy" in str(page.said("Log.entryAdded"))


@needs_chromium
def test_without_an_answer_the_page_says_what_to_do(page: Page, address: str) -> None:
    """The client may be missing, the ingest may be silent later, the lake too."""
    with blocked(page, "*/api/v1/sessions*"):
        page.click("#video", **PLAY)
        page.wait(lambda page: "does not answer, so the client sends its event again" in page.text())
    page.wait(lambda page: all_stored(page, "sessionStart", "play") and "does not answer" not in page.text())
    with blocked(page, "*/demo/look*"):
        page.wait(lambda page: "The lake cannot be asked" in page.text())
    page.wait(lambda page: "The lake cannot be asked" not in page.text())
    with blocked(page, "*/playhead.js"):
        page.call("Page.navigate", url=f"{address.partition('?')[0]}demo/")
        page.wait(lambda page: "playhead.js cannot be loaded, so nothing is sent" in page.text())
        assert "`playhead up` runs one" in page.text()


@contextlib.contextmanager
def blocked(page: Page, *patterns: str) -> Iterator[None]:
    """Let requests to some addresses fail."""
    page.call("Network.setBlockedURLs", urls=list(patterns))
    yield
    page.call("Network.setBlockedURLs", urls=[])


def test_only_who_names_the_token_sees_the_page_and_its_answers(address: str) -> None:
    """As everywhere in the gallery."""
    bare, _, token = address.partition("?")
    for path in ("demo", "demo/", "demo/look", "demo/files/page.js"):
        assert httpx.get(f"{bare}{path}").status_code == 401
        assert httpx.get(f"{bare}{path}?{token}").status_code == 303


def test_it_carries_a_video_that_can_be_sought(address: str) -> None:
    """A browser asks for parts of it."""
    bare, _, token = address.partition("?access_token=")
    cookie = {"Cookie": f"access_token={token.replace('+', ' ')}", "Range": "bytes=100-199"}
    part = httpx.get(f"{bare}demo/files/film.mp4", headers=cookie)
    assert (part.status_code, len(part.content)) == (206, 100)
    assert int(part.headers["content-range"].rpartition("/")[2]) < 300_000


@pytest.mark.parametrize(
    ("ingest", "host", "reached"),
    [
        ("http://127.0.0.1:8080", "tv.example", "http://127.0.0.1:8080"),
        ("https://events.example", "tv.example", "https://events.example"),
        ("http://0.0.0.0:8080", "tv.example", "http://tv.example:8080"),
        ("http://[::]:8080", "::1", "http://[::1]:8080"),
        ("http://0.0.0.0:8080", "x'; script-src *", "http://0.0.0.0:8080"),
        ("", "tv.example", ""),
    ],
)
def test_an_ingest_on_every_address_is_reached_by_the_page_s_name(ingest: str, host: str, reached: str) -> None:
    """The name is the browser's, so anything but a name is left out: it becomes part of the page's policy."""
    assert reached_from(ingest, host) == reached
