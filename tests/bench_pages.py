"""How long the pages take over a lake, in a real browser: `make bench-pages DATA=folder`.

For each page, over the last 30 days: seconds until its first numbers and until all of it, seconds until all of it
follows a changed filter, and the CPU seconds of the server for each. Then what a page that nobody touches costs
in a second: the server's CPU, and the browser's main thread.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rigs.browser import Page, opened
from rigs.pages import CHANGE_PERIOD, EVERY, served, settle
from rigs.processes import Process
from rigs.waiting import until

from notebooks.gallery import pages

REST_S = 10
HAS_NUMBERS = f"{EVERY}.some((element) => element.matches('.tile b, tbody td'))"
PERIOD = "new URLSearchParams(location.search).get('period')"


def busy_s(page: Page) -> float:
    """Return how much CPU time the browser's main thread has used for the page, seconds."""
    metrics = {each["name"]: each["value"] for each in page.call("Performance.getMetrics")["metrics"]}
    return float(metrics["TaskDuration"])


def measure(page: Page, address: str, path: str, server: Process) -> str:
    """Return the row of a page."""
    began_s, cpu_s = time.monotonic(), server.cpu_s()
    page.call("Page.navigate", url=f"{address}{path}/?period=last+30+days")
    until(lambda: page.evaluate(HAS_NUMBERS), f"no numbers on {path}")
    first_s = time.monotonic() - began_s
    all_s, all_cpu_s = settle(page) - began_s, server.cpu_s() - cpu_s
    began_s, cpu_s = time.monotonic(), server.cpu_s()
    changed = "-"
    if page.evaluate(CHANGE_PERIOD):
        until(lambda: page.evaluate(PERIOD) == "last 7 days", "no other period")
        changed = f"{settle(page) - began_s:.1f} / {server.cpu_s() - cpu_s:.1f}"
    began_s, cpu_s, was_s = time.monotonic(), server.cpu_s(), busy_s(page)
    time.sleep(REST_S)
    rest_s = time.monotonic() - began_s
    rest, drawn = (server.cpu_s() - cpu_s) / rest_s, (busy_s(page) - was_s) / rest_s
    return f"| {path} | {first_s:.1f} | {all_s:.1f} / {all_cpu_s:.1f} | {changed} | {rest:.1%}, {drawn:.1%} |"


def main() -> int:
    """Print a table of all pages, or of those that are named."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, required=True, help="a folder with a lake")
    arguments.add_argument("--pages", nargs="*", default=list(pages()))
    given = arguments.parse_args()
    print(
        "| page | first numbers, s | all of it, s / CPU s | changed filter, s / CPU s | at rest: server, browser |"
    )
    print("|---|---|---|---|---|")
    with (
        tempfile.TemporaryDirectory() as folder,
        served(given.data, Path(folder)) as (address, server),
        opened("about:blank", Path(folder) / "profile") as page,
    ):
        page.call("Performance.enable", timeDomain="threadTicks")
        for path in given.pages:
            print(measure(page, address, path, server), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
