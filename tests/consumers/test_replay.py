"""A record that is replayed is the event that it would have been, and moves no clock."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from rigs.lake import Lake, record_value, write_told
from rigs.poison import NOW_MS, ODD, PING, record

from consumers.decode import decode
from consumers.replay import read_again, value_of
from lake.quarantine import Entry
from sessions.event import Bad

HOUR_MS = 3_600_000


def quarantined(value: bytes | dict[str, Any], *, received_ms: int = NOW_MS) -> Entry:
    """Return a record as the quarantine has it."""
    arrived = datetime.fromtimestamp(received_ms / 1000, UTC)
    return Entry(0, 7, arrived, "worker", "invalid_event", "", record(value).value, *[None] * 8)


def replayed(entry: Entry) -> bytes:
    """Return the value that a replay appends."""
    event = read_again(entry)
    assert not isinstance(event, Bad)
    return value_of(entry)


@pytest.mark.parametrize("name", ODD)
def test_whatever_can_be_decoded_is_the_same_event_when_it_is_replayed(name: str) -> None:
    """Hours later, with the arrival and the flags that it would have had; only its offset is another."""
    entry = quarantined(ODD[name])
    value = replayed(entry)
    again = decode(record(value, offset=99, appended_ms=NOW_MS + 24 * HOUR_MS))
    assert again == msgspec.structs.replace(read_again(entry), offset=99, is_replay=True)
    added = {"replayof", "appendedtime"}
    kept = {key: text for key, text in msgspec.json.decode(value).items() if key not in added}
    assert kept == msgspec.json.decode(entry.value)


def test_a_replay_that_cannot_be_decoded_either_is_bad_again() -> None:
    """A worker of an older release may read it."""
    value = msgspec.json.encode(
        {**PING, "type": "playhead.media.rewind", "replayof": "0:7", "appendedtime": PING["time"]}
    )
    again = decode(record(value, appended_ms=NOW_MS + HOUR_MS))
    assert isinstance(again, Bad)
    assert (again.reason, again.received_ms, again.is_replay) == ("invalid_event", NOW_MS, True)


def test_a_replay_leaves_the_watermark_where_it_is(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its arrival is long ago, which otherwise shows that the log's clock was put back."""
    lake = Lake(tmp_path_factory.mktemp("lake"))
    now_ms = NOW_MS + HOUR_MS
    old = replayed(quarantined(record_value("e1", "aa" * 32, ts=NOW_MS, received_ms=NOW_MS)))
    new = record_value("e2", "bb" * 32, ts=now_ms, received_ms=now_ms)
    with lake.writer() as writer:
        write_told(writer, writer.load(0, None), [(now_ms, new), (now_ms + 1, old)])
    ((watermark,),) = lake.ask("SELECT epoch_ms(watermark) FROM ledger")
    assert watermark >= now_ms
    assert lake.ask("SELECT event_id, epoch_ms(received_at), flags FROM events ORDER BY 1") == [
        ("e1", NOW_MS, []),
        ("e2", now_ms, []),
    ]
