"""The notebooks, over a lake that real players filled: as scripts, and in a real browser."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from rigs.browser import Page, needs_chromium, opened
from rigs.commands import environment, playhead
from rigs.lake import Lake, record_value, write_values
from rigs.pages import CHARTS, EVERY, IS_SETTLED, served, settle
from rigs.stranger import Stranger, listening

from lake.reading import QueryRefused
from notebooks import pictures
from notebooks.connect import open_lake, read
from notebooks.gallery import pages
from schemas.faults import NotReady

CUT = {"startup", "rebuffering", "failures", "audience", "viewers", "ads", "quality"}
FAULTS = """
    console.error('logged');
    setTimeout(() => { throw new Error('thrown'); });
    fetch('http://127.0.0.2:1/').catch(() => 0);
"""
SELECTED = f"{EVERY}.filter((element) => element.matches('option:checked')).map((option) => option.text)"
PROJECT = Path(__file__).parents[2]
NOTEBOOK = PROJECT / "notebooks" / "01_now.py"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a short run."""
    folder = tmp_path_factory.mktemp("notebooks") / "data"
    run = playhead("up", "--viewers", "10", "--for", "4s", "--port", "0", "--data", str(folder), cwd=folder.parent)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def test_the_lake_is_opened_read_only(data_dir: Path) -> None:
    """A notebook can neither change the lake nor keep anybody from changing it."""
    lake = open_lake({}, data_dir)
    try:
        assert read(lake, "SELECT count(*) AS n FROM events").to_pylist()[0]["n"] > 0
        with pytest.raises(QueryRefused, match="read only"):
            lake.execute("DELETE FROM events")
    finally:
        lake.close()


def test_the_environment_names_the_lake(data_dir: Path) -> None:
    """PLAYHEAD_DATA_DIR as for every other part; a folder without a lake is refused by name."""
    open_lake({"PLAYHEAD_DATA_DIR": str(data_dir)}).close()
    with pytest.raises(NotReady, match="playhead init"):
        open_lake({"PLAYHEAD_DATA_DIR": str(data_dir / "elsewhere")})


def test_values_are_bound_never_pasted(data_dir: Path) -> None:
    """What a question is about may hold quotes."""
    lake = open_lake({}, data_dir)
    try:
        assert read(lake, "SELECT $name AS name", name="it's; --").to_pylist() == [{"name": "it's; --"}]
    finally:
        lake.close()


def test_a_notebook_runs_as_a_script(data_dir: Path) -> None:
    """Every cell runs, and says nothing."""
    run = subprocess.run(
        [sys.executable, NOTEBOOK], env=environment({"PLAYHEAD_DATA_DIR": str(data_dir)}), capture_output=True
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")


@pytest.fixture(scope="module")
def address(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the pages are, as `playhead notebooks` serves them."""
    with served(data_dir, tmp_path_factory.mktemp("pages")) as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser, which remembers what it asked for and what went wrong."""
    with opened("about:blank", tmp_path_factory.mktemp("browser") / "profile") as page:
        page.listen()
        yield page


@needs_chromium
def test_a_person_sees_what_is_watched_now_in_a_browser(
    browser: Page, address: str, data_dir: Path, tmp_path: Path
) -> None:
    """Numbers, two charts that are drawn, and no error; from this machine alone."""
    lake = open_lake({}, data_dir)
    sessions = read(
        lake,
        "SELECT count(*) AS n FROM counted_sessions, (SELECT max(partition_time) AS newest FROM ledger) "
        "WHERE started_at BETWEEN newest - INTERVAL 1 HOUR AND newest",
    ).to_pylist()[0]["n"]
    assert sessions > 0
    lake.close()
    browser.call("Page.navigate", url=f"{address}now/")
    browser.wait(lambda page: page.evaluate(CHARTS) == 2 and f"n = {sessions}" in page.text())
    browser.wait(lambda page: " s ago" in page.text())
    text = browser.text()
    assert text.startswith("Now")
    assert re.search(r"up to \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(UTC\), [\d,]+ s ago", text)
    assert "Traceback" not in text
    assert "error" not in text.lower().replace("errors", "")
    (tmp_path / "now.png").write_bytes(browser.screenshot())
    assert (tmp_path / "now.png").stat().st_size > 20_000


@needs_chromium
@pytest.mark.parametrize("width", [1440, 390])
def test_every_page_is_drawn_on_a_desk_and_on_a_phone(browser: Page, address: str, width: int) -> None:
    """No cell fails, no error is logged, no other host is asked, and a phone scrolls down, not sideways.

    The address says what a page cuts its sessions by.
    """
    browser.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
    )
    for path in pages():
        browser.events.clear()
        browser.call("Page.navigate", url=f"{address}{path}/?period=last+24+hours&by=country")
        browser.wait(lambda page: page.evaluate(CHARTS) >= 1)
        settle(browser, for_s=0.3)
        if path in CUT:
            browser.wait(lambda page: "country" in page.evaluate(SELECTED))
        text = browser.text()
        assert "Traceback" not in text
        assert "went wrong" not in text
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert (path, browser.faults()) == (path, [])
        assert browser.hosts() == {urlsplit(address).netloc}
    browser.call("Emulation.clearDeviceMetricsOverride")


@needs_chromium
def test_what_a_page_must_not_do_would_be_found(browser: Page, address: str) -> None:
    """An error in the console, one that nobody catches, and a request to another host."""
    browser.call("Page.navigate", url=address)
    browser.wait(lambda page: "Playhead" in page.text())
    browser.evaluate(FAULTS)
    browser.wait(lambda page: all(word in str(page.faults()) for word in ("logged", "thrown", "Fetch: ")))
    assert "127.0.0.2:1" in browser.hosts()


@needs_chromium
def test_a_viewer_leads_to_its_sessions_and_an_address_to_one_of_them(
    browser: Page, address: str, data_dir: Path
) -> None:
    """The oldest of a viewer's sessions is below the others, and chosen as the address names it."""
    with open_lake({}, data_dir) as lake:
        (viewer,) = read(
            lake,
            "SELECT user_id AS id, count(*) AS n, arg_min(session_id, started_at) AS oldest "
            "FROM counted_sessions WHERE user_id IS NOT NULL GROUP BY id ORDER BY n DESC, id LIMIT 1",
        ).to_pylist()
    link = f"{EVERY}.find((element) => element.matches('a[href*=\"find={viewer['id']}\"]'))"
    count = f"{EVERY}.some((element) => element.textContent.includes('sessions: {viewer['n']}'))"
    chosen = "new URLSearchParams(location.search).get('session')"
    browser.call("Page.navigate", url=f"{address}viewers/?period=last+24+hours")
    browser.wait(lambda page: page.evaluate(f"!!{link}"))
    browser.evaluate(f"{link}.click()")
    browser.wait(lambda page: page.evaluate(count) and page.evaluate(chosen))
    browser.call("Page.navigate", url=f"{address}session/?find={viewer['id']}&session={viewer['oldest']}")
    browser.wait(lambda page: viewer["oldest"] in page.text() and "arithmetic" in page.text())
    assert browser.evaluate(chosen) == viewer["oldest"]
    browser.call("Page.navigate", url=f"{address}session/?error=no-such")
    browser.wait(lambda page: "No session fits" in page.text())


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    """Another host."""
    with listening() as other:
        yield other


@needs_chromium
def test_a_hostile_name_is_text_and_fetches_nothing(tmp_path: Path, stranger: Stranger) -> None:
    """In tables, labels, legends and tooltips: the page asks no other host, and has no link to one."""
    names = {
        f"{stranger.address}/address.png",
        f"{stranger.address}/address",
        f"![name]({stranger.address}/markdown.png)",
        f'<img src="{stranger.address}/markup.png">',
        f'"><script src="{stranger.address}/script.js"></script>',
        f"<iframe src={stranger.address}/frame></iframe>",
        f"look at {stranger.address}/sentence.jpg",
    }
    lake = Lake(tmp_path / "data")
    with lake.writer() as writer:
        held = writer.load(0, None)
        now_ms = time.time_ns() // 1_000_000
        for offset, name in enumerate(sorted(names)):
            params: dict[str, Any] = {"media.name": name, "media.id": name}
            value = record_value(
                f"e{offset}", f"s{offset}", "sessionStart", ts=now_ms, received_ms=now_ms, **params
            )
            write_values(writer, held, [value], appended_ms=now_ms)
    with (
        served(tmp_path / "data", tmp_path) as (address, _),
        opened(f"{address}now/", tmp_path / "profile") as page,
    ):
        page.wait(lambda page: page.evaluate(CHARTS) == 2 and all(name in _texts(page) for name in names))
        for x in range(150, 1100, 40):  # over bars and legends, for their tooltips
            for y in range(250, 900, 40):
                page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        assert page.evaluate(ELEMENTS_OF_ADDRESSES.replace("STRANGER", stranger.address)) == 0
        (tmp_path / "names.png").write_bytes(page.screenshot())
    assert stranger.asked == []


ELEMENTS_OF_ADDRESSES = f"""
    {EVERY}.filter((element) =>
        String(element.src || element.href || '').startsWith('STRANGER') || element.matches('iframe')).length
"""


@needs_chromium
@pytest.mark.parametrize("path", ["now", "startup"])
def test_numbers_charts_and_tables_change_in_place(tmp_path: Path, path: str) -> None:
    """While an open page changes, no frame lacks a picture or a table's rows, and nothing is greyed out."""
    lake = Lake(tmp_path / "data")
    with lake.writer() as writer:
        held = writer.load(0, None)

        def play(sessions: range) -> None:
            now_ms = time.time_ns() // 1_000_000
            values = [
                record_value(f"{n}.{at_ms}", f"s{n}", name, ts=now_ms + at_ms, received_ms=now_ms, playhead=head)
                for n in sessions
                for at_ms, name, head in ((-90_000, "sessionStart", 0), (-89_000, "play", 0), (0, "ping", 89))
            ]
            write_values(writer, held, values, appended_ms=now_ms)

        play(range(5))
        with (
            served(tmp_path / "data", tmp_path) as (address, _),
            opened(f"{address}{path}/?n=1", tmp_path / "profile") as page,
        ):
            page.wait(lambda page: page.evaluate(CHARTS) >= 2 and "n = 5" in page.text())
            settle(page)
            page.evaluate(WATCH_FRAMES)
            page.wait(lambda page: page.evaluate("frames_seen.length"))
            first = page.evaluate("frames_seen[0]")
            assert re.fullmatch(r"(\d+) charts, \1 drawn, ([1-9]) tables, \2 filled, 0 grey", first)
            for sessions in (7, 9):
                play(range(sessions - 2, sessions))
                shown = f"n = {sessions}"
                page.wait(lambda page, shown=shown: shown in page.text() and page.evaluate(IS_SETTLED))  # type: ignore[misc]
            page.wait(lambda page: page.evaluate("canvases_seen.size") > int(first.split()[0]))
            settle(page)
            assert page.evaluate("[...new Set(frames_seen)]") == [first]


@pytest.mark.parametrize("of_series", ["over_time", "stacked", "columns", "parts", "intervals"])
def test_a_picture_of_nothing_is_a_sentence(of_series: str) -> None:
    """A lake is young, and no minute of it is over: with an empty legend the picture would be endless."""
    options = {"parts": {"down": "", "grey": ""}, "intervals": {}}.get(of_series, {"note": "UTC"})
    picture = getattr(pictures, of_series)([], title="", **options).to_dict()
    assert picture["mark"]["type"] == "text"
    assert picture["data"]["values"] == [{"sentence": "There is nothing to draw yet."}]


# Of each frame, before it is painted: how many charts have a picture, and how many tables have rows.
WATCH_FRAMES = """
    window.frames_seen = [];
    window.canvases_seen = new Set();
    (function look() {
        const every = EVERY;
        const charts = every.filter((element) => element.matches('.vega-embed'));
        const drawn = charts.filter((chart) => [...chart.querySelectorAll('canvas')].some((canvas) => {
            canvases_seen.add(canvas);
            return canvas.width && canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
                .some((value, place) => place % 4 === 0 && value < 200);
        }));
        const tables = every.filter((element) => element.matches('table'));
        const filled = tables.filter((table) => table.querySelector('tbody td')?.textContent);
        const grey = every.filter((element) => element.matches('.marimo-output-stale')
            && getComputedStyle(element).opacity !== '1');
        frames_seen.push(`${charts.length} charts, ${drawn.length} drawn, ${tables.length} tables, `
            + `${filled.length} filled, ${grey.length} grey`);
        requestAnimationFrame(look);
    })();
""".replace("EVERY", EVERY)


def _texts(page: Page) -> str:
    """Return all text on the page, inside shadow roots as well, a line a piece."""
    texts = f"{EVERY}.flatMap((element) => [...element.childNodes]).filter((node) => node instanceof Text)"
    return str(page.evaluate(f"{texts}.map((node) => node.data).join('\\n')"))
