"""The bar of filters: periods of one's own, any dimension, and what of an address is unknown."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rigs.lake import Lake, record_value, write_told
from rigs.pages import reading

from lake.reading import Reader
from notebooks import questions
from notebooks.filters import Choice

START_MS = 1_763_712_000_000  # 2025-11-21 08:00, a minute from session to session
GENRES = ("drama", "drama", "it's", "news", None)
HOSTILE = "x'] IS NOT NULL OR true --"


def genres(folder: Path) -> Lake:
    """Make a lake of sessions of these genres; those of drama have the group A, and all have a hostile key."""
    lake = Lake(folder)
    with lake.writer() as writer:
        held = writer.load(0, None)
        told = []
        for number, genre in enumerate(GENRES):
            at_ms = START_MS + number * 60_000
            named: dict[str, Any] = {} if genre is None else {"media.genre": genre}
            own = {"customMetadata": {"group": "A" if genre == "drama" else "B", HOSTILE: "1"}}
            event = record_value(f"e{number}", f"s{number}", "sessionStart", ts=at_ms, received_ms=at_ms, **named)
            record = msgspec.json.decode(event)
            record["data"] |= own
            told.append((at_ms, msgspec.json.encode(record)))
        write_told(writer, held, told)
    return lake


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the lake of `genres`."""
    data = tmp_path_factory.mktemp("filters") / "data"
    genres(data)
    return data


@pytest.fixture
def asked(folder: Path) -> Iterator[tuple[Reader, Choice]]:
    """The lake, and the choice of all of it."""
    with reading(folder, timedelta(hours=1)) as found:
        yield found


def test_a_point_is_whole_within_the_period(asked: tuple[Reader, Choice]) -> None:
    """A period that begins and ends within a minute draws neither of both, and says how many it left out."""
    lake, every = asked
    since = datetime.fromtimestamp(START_MS / 1000, UTC)
    choice = msgspec.structs.replace(every, since=since - timedelta(seconds=10), until=every.until)
    rows = questions.metrics(lake, choice, ["sessions"], by=choice.bucket, order="value")
    drawn = questions.points(rows, choice, {"sessions": "sessions"})
    assert len(rows) == len(GENRES)
    assert [point["at"][11:16] for point in drawn] == ["08:00", "08:01", "08:02", "08:03"]
    late = msgspec.structs.replace(choice, since=since + timedelta(microseconds=-1), until=every.until)
    assert questions.points(rows, late, {"sessions": "sessions"}) == drawn
    short = msgspec.structs.replace(choice, since=since + timedelta(microseconds=1))
    assert questions.points(rows, short, {"sessions": "sessions"}) == drawn[1:]
    assert "(2 sessions)" in questions.points_in_words(rows, short)
