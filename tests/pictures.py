"""The README's pictures of the pages, over a generated week: `make pictures`.

Each is a page in a real browser, in light colours, as WebP; its address chooses what it shows, as a reader
would. Of seven days, it is the evening of a match.
"""

import argparse
import base64
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlencode

import msgspec
from rigs.browser import Page, opened
from rigs.pages import CHARTS, IS_SETTLED, served

from notebooks.connect import open_lake, read

PROJECT = Path(__file__).parents[1]
FOLDER = PROJECT / "notebooks" / "images"
BYTES_MAX = 1_500_000
WIDTH, SCALE, QUALITY = 1200, 1.5, 80
# A session worth a look: long, with an ad, rebuffering, a pause and reports that came late.
WORTH_A_LOOK = """
    SELECT session_id FROM counted_sessions
    WHERE ads_started > 0 AND rebuffers > 0 AND pauses > 0 AND content_time_s BETWEEN 600 AND 3000
    ORDER BY stalled_s > 5 DESC, rebuffers + pauses + ads_started DESC, session_id LIMIT 1
"""


class Picture(msgspec.Struct, frozen=True):
    """One picture: the page, what its address chooses, how many charts must be drawn, and where it ends."""

    page: str
    chosen: dict[str, str]
    charts: int
    height: int


def pictures(session_id: str) -> list[Picture]:
    """Return all of them."""
    week = {"period": "last 7 days"}
    return [
        Picture("now", {"period": "last hour"}, 2, 1400),
        Picture("failures", week, 1, 1000),
        Picture("audience", week, 2, 890),
        Picture("session", {**week, "session": session_id}, 3, 1100),
    ]


def take(page: Page, address: str, picture: Picture) -> bytes:
    """Open a page, wait until it is drawn, and return the picture."""
    page.call(
        "Emulation.setDeviceMetricsOverride",
        width=WIDTH,
        height=picture.height,
        deviceScaleFactor=SCALE,
        mobile=False,
    )
    page.call("Emulation.setScrollbarsHidden", hidden=True)
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    page.call("Page.navigate", url=f"{address}{picture.page}/?{urlencode(picture.chosen)}")
    page.wait(lambda page: page.evaluate(CHARTS) >= picture.charts and page.evaluate(IS_SETTLED))
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": picture.height, "scale": 1}
    reply = page.call("Page.captureScreenshot", format="webp", quality=QUALITY, clip=clip)
    return base64.b64decode(reply["data"])


def main() -> int:
    """Take all pictures of the pages over the lake of a folder."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, required=True, help="a folder that `make demo` filled")
    data = arguments.parse_args().data
    with open_lake({}, data) as lake:
        (row,) = read(lake, WORTH_A_LOOK).to_pylist()
    FOLDER.mkdir(exist_ok=True)
    total = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        served(data, Path(folder)) as (address, _),
        opened("about:blank", Path(folder) / "profile") as page,
    ):
        for picture in pictures(row["session_id"]):
            made = take(page, address, picture)
            (FOLDER / f"{picture.page}.webp").write_bytes(made)
            total += len(made)
            print(f"{picture.page}: {len(made):,} bytes")
    print(f"in all: {total:,} bytes")
    return 0 if total < BYTES_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
