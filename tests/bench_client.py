"""How near to what played is what the web client tells, over many viewings in Chromium: `make bench-client`.

Two viewers of each kind watch at once, on a page of another origin than the API. The truth is `currentTime`, every
20 ms. For each number and kind: the error that 95 % of the viewings stay within, and the greatest. The exit status
is 1 if the former is above 250 ms for one of them, or if a count is wrong.
"""

import argparse
import contextlib
import sys
import tempfile
import threading
from pathlib import Path

import msgspec
from rigs.browser import opened
from rigs.films import films
from rigs.ingest import Ingest, running
from rigs.relay import relay
from rigs.viewers import DURATIONS, SCENES, Scene, Truth, Viewers, facts_of, modules, told_of, truth_of
from rigs.waiting import until

from sessions.facts import SessionFacts

AT_ONCE = 2
DOWN_S = 5.0
NEAR_S = 0.25
COUNTS = tuple(name for name in Truth.__struct_fields__ if name not in DURATIONS)
DOWN = Scene("await viewer.play(); await viewer.at(7); viewer.end();")
CLOSED = Scene("await viewer.play();")


class Errors:
    """The errors of all viewings, by kind and number."""

    def __init__(self) -> None:
        self._by: dict[tuple[str, str], list[float]] = {}
        self.wrong: list[str] = []

    def add(self, kind: str, truth: Truth, told: Truth) -> None:
        """Compare what was told of a viewing with what played."""
        of_truth, of_told = msgspec.structs.asdict(truth), msgspec.structs.asdict(told)
        for number in DURATIONS:
            self._by.setdefault((kind, number), []).append(abs(of_truth[number] - of_told[number]))
        self.wrong += [f"{kind}: {name} {of_told[name]}" for name in COUNTS if of_truth[name] != of_told[name]]

    def table(self) -> str:
        """Return the errors in milliseconds, a row for each kind, and one for all."""
        kinds = list(dict.fromkeys(kind for kind, _ in self._by))
        lines = ["| viewing | " + " | ".join(name.removesuffix("_s") for name in DURATIONS) + " |"]
        lines.append("|---" * (len(DURATIONS) + 1) + "|")
        for kind in [*kinds, "all"]:
            of_kinds = kinds if kind == "all" else [kind]
            cells = []
            for number in DURATIONS:
                errors = [error for each in of_kinds for error in self._by[each, number]]
                cells.append(f"{_p95(errors) * 1000:.0f} ({max(errors) * 1000:.0f})")
            lines.append(f"| {kind} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def too_great(self) -> list[str]:
        """Return each kind and number of which fewer than 95 % are near enough."""
        p95_s = {of: _p95(errors) for of, errors in self._by.items()}
        return [
            f"{kind}: {number} {error * 1000:.0f} ms" for (kind, number), error in p95_s.items() if error > NEAR_S
        ]


def _p95(errors: list[float]) -> float:
    return sorted(errors)[min(len(errors) - 1, int(len(errors) * 0.95))]


def ended(ingest: Ingest, session: str) -> SessionFacts:
    """Wait until a session has ended, and return its numbers."""
    until(lambda: ingest.events(session)[-1]["data"]["eventType"] == "sessionEnd")
    return facts_of(ingest, session)


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewings", type=int, default=30, help="of each kind")
    viewings = parser.parse_args().viewings
    errors = Errors()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ingest = stack.enter_context(running(folder / "data"))
        between = stack.enter_context(relay(ingest.url))
        site = stack.enter_context(films(ingest.url, between.url, modules=modules()))
        page = stack.enter_context(opened(site, folder / "profile"))
        closed: list[str] = []
        before = None
        for number in range(viewings // AT_ONCE + 1):
            viewers = Viewers(page, ingest.url)
            if before:
                of_closed = before.kept_samples(page)
                for n, session in enumerate(closed):
                    errors.add("closed", truth_of(of_closed[f"closed {n}"]), told_of(ended(ingest, session)))
            if number == viewings // AT_ONCE:
                break
            between.is_down = True
            threading.Timer(DOWN_S, setattr, (between, "is_down", False)).start()
            for n in range(AT_ONCE):
                for kind, scene in SCENES.items():
                    viewers.view(f"{kind} {n}", ingest.url, scene)
                viewers.view(f"down {n}", between.url, DOWN)
            for n in range(AT_ONCE):
                for kind in (*SCENES, "down"):
                    viewers.wait(f"{kind} {n}")
                    told = told_of(facts_of(ingest, viewers.session(f"{kind} {n}")))
                    errors.add(kind, truth_of(viewers.samples(f"{kind} {n}")), told)
            for n in range(AT_ONCE):
                viewers.view(f"closed {n}", ingest.url, CLOSED)
            page.wait(lambda page: page.evaluate("viewings['closed 1'].video.currentTime > 2"))
            closed = [viewers.session(f"closed {n}") for n in range(AT_ONCE)]
            page.evaluate("document.title = 'left'")
            page.call("Page.navigate", url=f"{site}?again={number}")
            before = viewers
    print("p95 (greatest) of the error, ms")
    print(errors.table())
    print(f"wrong counts: {', '.join(errors.wrong) or 'none'}")
    print(f"more than {NEAR_S * 1000:.0f} ms for 95 %: {', '.join(errors.too_great()) or 'none'}")
    return 1 if errors.wrong or errors.too_great() else 0


if __name__ == "__main__":
    sys.exit(main())
