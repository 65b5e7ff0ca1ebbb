"""One session while it plays, as the page `/demo` asks for it."""

import time
from pathlib import Path

import pytest
from rigs.lake import Lake, record_value, write_values

from lake.live import Live
from schemas.faults import NotReady
from schemas.ids import mint_media_session

COLUMNS = ("state", "events", "content_time_s", "spans")
DAY_MS = 86_400_000


def test_a_session_grows_from_look_to_look(tmp_path: Path) -> None:
    """Before its first event there is nothing but the age of others; then its row is that of `sessions`."""
    lake = Lake(tmp_path / "data")
    live = Live(lake.place, length_ms=DAY_MS)
    now_ms = time.time_ns() // 1_000_000
    session = mint_media_session([b"key"], partition=0, started_ms=now_ms, entropy=bytes).id
    with lake.writer() as writer:
        held = writer.load(0, None)
        assert live.look(session, COLUMNS).behind_s is None

        def write(*events: tuple[str, int, float]) -> None:
            values = [
                record_value(f"{name}{at_ms}", session, name, ts=now_ms + at_ms, received_ms=now_ms, playhead=head)
                for name, at_ms, head in events
            ]
            write_values(writer, held, values, appended_ms=now_ms)

        write(("sessionStart", -12_000, 0.0), ("play", -11_000, 0.0))
        first = live.look(session, COLUMNS)
        write(("ping", -1_000, 10.0))
        second = live.look(session, COLUMNS)
    assert first.timeline is not None
    assert second.timeline is not None
    assert [len(first.timeline.lines), len(second.timeline.lines)] == [2, 3]
    assert second.behind_s is not None
    assert second.behind_s < 60
    shown = lake.ask(f"SELECT {', '.join(COLUMNS)} FROM sessions WHERE session_id = '{session}'")
    assert [tuple(second.row.values())] == shown
    assert second.row["content_time_s"] == 10.0


@pytest.mark.parametrize("session", ["", "nonsense", "0" * 64, "f" * 64])
def test_a_session_that_nobody_has_is_nothing(tmp_path: Path, session: str) -> None:
    """An id may be invented, and name a partition that there is not."""
    found = Live(Lake(tmp_path / "data").place, length_ms=DAY_MS).look(session, COLUMNS)
    assert (found.timeline, found.row) == (None, {})


def test_a_lake_that_is_made_later_is_looked_at(tmp_path: Path) -> None:
    """Until then it is missing by name."""
    folder = tmp_path / "data"
    folder.mkdir()
    live = Live(Lake(tmp_path / "other").place, length_ms=DAY_MS)
    (tmp_path / "other" / "lake").rename(folder / "lake")
    with pytest.raises(NotReady, match="playhead init"):
        live.look("", COLUMNS)
    (folder / "lake").rename(tmp_path / "other" / "lake")
    assert live.look("", COLUMNS).behind_s is None
    assert "content_time_s" in live.meanings()
