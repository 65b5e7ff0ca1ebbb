"""The client for web players in Chromium: what Playhead says of a viewing is what played."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from bench_client import Errors
from rigs.browser import needs_chromium, opened
from rigs.films import films
from rigs.ingest import Ingest, running
from rigs.viewers import DURATIONS, SCENES, Truth, Viewers, differences, facts_of, modules, told_of, truth_of

NEAR_S = 0.25
OUTLIERS_MAX = 1
"""Of 28 durations so many may be further off, as a machine that is busy may stop a page for a while."""
OUTLIER_S_MAX = 0.5
pytestmark = needs_chromium


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """An ingest."""
    with running(tmp_path_factory.mktemp("ingest") / "data") as ingest:
        yield ingest


@pytest.fixture(scope="module")
def viewers(ingest: Ingest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewers]:
    """Viewers on a page of another origin, whose policy allows the ingest and nothing else."""
    folder = tmp_path_factory.mktemp("browser")
    with films(ingest.url, modules=modules()) as site, opened(site, folder / "profile") as page:
        page.evaluate("""
            window.violations = [];
            addEventListener('securitypolicyviolation', ({blockedURI}) => violations.push(blockedURI)); 0
        """)
        viewers = Viewers(page, ingest.url)
        for name, scene in SCENES.items():
            viewers.view(name, ingest.url, scene)
        yield viewers


def test_what_is_told_is_what_played(viewers: Viewers, ingest: Ingest) -> None:
    """Pauses, seeks, buffering, a speed, a loop, hls.js, Shaka: durations are near the truth, counts are exact."""
    off: dict[tuple[str, str], tuple[float, float]] = {}
    for name in SCENES:
        viewers.wait(name)
        told = told_of(facts_of(ingest, viewers.session(name)))
        found = differences(truth_of(viewers.samples(name)), told, within_s=NEAR_S)
        assert found.keys() <= set(DURATIONS), (name, found, viewers.said(name))
        off |= {(name, number): values for number, values in found.items()}
    assert len(off) <= OUTLIERS_MAX, off
    assert all(abs(told - truth) < OUTLIER_S_MAX for truth, told in off.values()), off


def test_scenes_are_what_they_are_called(viewers: Viewers) -> None:
    """The truth itself has a pause, seeks, buffering, loops: otherwise nothing would be compared above."""
    truths = {}
    for name in SCENES:
        viewers.wait(name)
        truths[name] = truth_of(viewers.samples(name))
    assert truths["parts"].is_completed
    assert (truths["parts"].pauses, truths["parts"].seeks) == (1, 1)
    assert truths["throttled"].buffer_s > 1
    assert truths["fast"].unique_s > truths["fast"].content_s + 1
    assert truths["loop"].loops == 2
    assert truths["sought"].seeks == 3


def test_times_always_increase(viewers: Viewers) -> None:
    """By a millisecond at least, within each session; and each event was accepted at once."""
    for name in SCENES:
        viewers.wait(name)
        said = viewers.said(name)
        times = [each["event"]["playerTime"]["ts"] for each in said]
        assert all(earlier < later for earlier, later in itertools.pairwise(times)), (name, times)
        assert {each["status"] for each in said} == {201, 204}, said


def test_adapters_tell_the_bitrate(viewers: Viewers, ingest: Ingest) -> None:
    """Of hls.js and of Shaka Player: one of those that the stream has."""
    for name in ("hls", "shaka"):
        viewers.wait(name)
        bitrate = facts_of(ingest, viewers.session(name)).average_bitrate_bps
        assert bitrate is not None, name
        assert 40_000 <= bitrate <= 60_000, name


def test_dropped_frames_are_those_of_the_element(viewers: Viewers, ingest: Ingest) -> None:
    """Which hls.js and Shaka Player play in: as many as it counts at the end."""
    for name in ("hls", "shaka"):
        viewers.wait(name)
        quality = f"viewings.{name}.video.getVideoPlaybackQuality()"
        counted = viewers.page.evaluate(f"[{quality}.droppedVideoFrames, {quality}.totalVideoFrames]")
        told = facts_of(ingest, viewers.session(name)).dropped_frames or 0
        assert told == counted[0], (name, counted)
        assert counted[1] > 0


def test_a_strict_policy_is_kept(viewers: Viewers) -> None:
    """The page allows scripts and connections of the ingest: the client asks for nothing else."""
    for name in SCENES:
        viewers.wait(name)
    assert viewers.page.evaluate("violations") == []


def test_the_fields_of_a_truth_are_compared() -> None:
    """By hand: a second of play, a second of pause, a seek, half a second of waiting, a second of play."""
    samples = [(n * 20.0, n * 0.02, 0, 0, 1.0) for n in range(51)]
    samples += [(1_000 + n * 20.0, 1.0, 1, 0, 1.0) for n in range(1, 51)]
    samples += [(2_000 + n * 20.0, 11.0, 0, 0, 1.0) for n in range(1, 26)]
    samples += [(2_500 + n * 20.0, 11.0 + n * 0.02, 0, 0, 1.0) for n in range(1, 51)]
    truth = truth_of(samples)
    assert (truth.seeks, truth.loops, truth.pauses, truth.is_completed) == (1, 0, 1, False)
    durations = (truth.content_s, truth.pause_s, truth.buffer_s, truth.unique_s)
    assert durations == pytest.approx((2.0, 1.0, 0.5, 2.0), abs=0.05)


def test_the_measurement_fails_if_more_than_a_twentieth_is_too_far_off() -> None:
    """Of 30 viewings one may be; of two it says which number of which kind."""
    truth = Truth(2.0, 1.0, 0.5, 2.0, 1, 0, 1, False)
    errors = Errors()
    for error_s, said in ((0.3, []), (0.4, ["sought: pause_s 300 ms"])):
        errors.add("sought", truth, msgspec.structs.replace(truth, pause_s=1.0 + error_s))
        for _ in range(28 if not said else 0):
            errors.add("sought", truth, truth)
        assert errors.too_great() == said
    assert errors.wrong == []


def test_films_are_there() -> None:
    """Small, and with the command that made them."""
    folder = Path(__file__).parents[1] / "data" / "film"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 200_000
    assert "ffmpeg" in (folder / "make.sh").read_text()
