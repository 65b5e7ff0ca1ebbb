"""Any record is an event, a tracking event or a bad record, and each of them fits into the lake's columns."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rigs.poison import BAD, CREATED, NOW_MS, ODD, PING, REJECTED, START_PARAMS, ping, record
from rigs.session_model import ModelLake

from consumers.decode import decode
from lake.rows import rows_of
from sessions.event import Bad, Event, Tracking, read_object

NASTY: st.SearchStrategy[Any] = st.sampled_from(
    (
        None,
        True,
        0,
        -1,
        1.5,
        1e308,
        2**63,
        10**40,
        "",
        "\0",
        "'",
        "x" * 300,
        "2025-06-01T00:00:00",
        "2025-06-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        [],
        {},
        [[]],
        {"a": {"b": []}},
    )
)
JSON = st.recursive(
    NASTY | st.text(max_size=20) | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
TYPES = (
    *(
        "playhead.media." + name
        for name in ("ping", "sessionStart", "statesUpdate", "adStart", "error", "sessionEnd")
    ),
    "playhead.tracking.created",
    "playhead.tracking.deleted",
    "playhead.rejected",
    "playhead.media.",
    "",
)
STATES = st.lists(st.fixed_dictionaries({}, optional={"media.state.name": NASTY}), max_size=3)
KEYS = (
    *START_PARAMS,
    "media.ad.id",
    "media.qoe.bitrate",
    "media.qoe.droppedFrames",
    "visitor.customerIDs",
    "statesStart",
)
PARAMS = st.one_of(
    NASTY,
    st.dictionaries(st.sampled_from(KEYS), JSON | STATES, max_size=6),
    st.fixed_dictionaries({key: st.just(value) | NASTY for key, value in START_PARAMS.items()}),
    st.just(START_PARAMS),
)
DATA = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {
            "playerTime": NASTY
            | st.fixed_dictionaries({"playhead": NASTY | st.floats(), "ts": st.just(NOW_MS) | NASTY}),
            "eventType": st.sampled_from([name.removeprefix("playhead.media.") for name in TYPES]) | NASTY,
        },
        optional={"params": PARAMS, "qoeData": PARAMS, "customMetadata": PARAMS, "x": JSON},
    ),
    st.fixed_dictionaries(
        {"session_id": NASTY, "start_time": NASTY, "source": NASTY, "reason": NASTY, "detail": NASTY},
        optional={"user_id": NASTY, "playout_id": NASTY, "verified": NASTY},
    ),
)
VALUES = st.fixed_dictionaries(
    {key: st.just(value) | NASTY for key, value in PING.items() if key not in ("type", "data")}
    | {"type": st.sampled_from(TYPES) | NASTY, "data": DATA},
    optional=dict.fromkeys(("trackingsession", "trackingverified", "consent", "flags", "appendedtime"), NASTY),
)


def encoded(value: Any) -> bytes:
    """Encode JSON, with numbers of any length."""
    return msgspec.json.encode(value, enc_hook=str)


def put_into_rows(values: list[bytes]) -> None:
    """Take these records all the way to the columns of a transaction; whatever cannot be written raises."""
    lake = ModelLake()
    sessions = lake.start()
    entries = [decode(record(value, offset=offset)) for offset, value in enumerate(values)]
    changes = lake.take(sessions, entries, idle_until_ms=NOW_MS + 10**9, renew_open=True)
    stored = len(changes.events) + len(changes.tracking) + len(changes.bad) + len(changes.duplicates)
    assert stored == len(values)
    tables = rows_of([changes], topic="topic")
    assert sum(tables[name].num_rows for name in ("events", "tracking_events", "quarantine", "duplicates")) == len(
        values
    )


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_keeps_its_bytes_and_gets_a_reason(name: str) -> None:
    """Nothing is thrown away, and nothing is raised."""
    value, reason = BAD[name]
    read = record(value)
    found = decode(read)
    assert isinstance(found, Bad)
    assert (found.reason, found.value) == (reason, read.value)
    assert len(found.detail) <= 500
    put_into_rows([read.value])


@pytest.mark.parametrize("name", ODD)
def test_an_odd_record_is_an_event_all_the_same(name: str) -> None:
    """What can be stored is stored, and fits into the columns."""
    read = record(ODD[name])
    assert isinstance(decode(read), Event | Tracking)
    put_into_rows([read.value])


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_random_bytes_are_bad_records(values: list[bytes]) -> None:
    """No bytes are an exception."""
    assert all(isinstance(decode(record(value)), Bad) for value in values)
    put_into_rows(values)


@given(st.lists(VALUES.map(encoded), max_size=6))
@settings(max_examples=500, deadline=None)
def test_json_of_any_wrong_shape_is_decoded_and_fits_into_the_columns(values: list[bytes]) -> None:
    """Whatever the fields hold: decode does not raise, nor does what follows up to the transaction."""
    put_into_rows(values)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_good_record_with_any_of_its_bytes_changed_is_decoded(data: st.DataObject) -> None:
    """Flipped, lost and inserted bytes make a bad record or another event, never an exception."""
    value = bytearray(encoded(PING))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(value) - 1))
        value[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    put_into_rows([bytes(value)])


@pytest.mark.parametrize("ts", [float(NOW_MS), NOW_MS])
@pytest.mark.parametrize("more", [{}, {"unknown": 1}])
def test_an_integer_that_another_producer_wrote_as_a_number_is_one(more: dict[str, Any], ts: float) -> None:
    """Timestamp and required params: by the quick way and by the thorough one."""
    params = {"media.ad.id": "a", "media.ad.length": 30.0, "media.ad.playerName": "p", "media.ad.podPosition": 1.0}
    data = {"playerTime": {"playhead": 2.0, "ts": ts}, "eventType": "adStart", "params": params, **more}
    found = decode(record({**PING, "type": "playhead.media.adStart", "data": data}))
    assert isinstance(found, Event)
    assert (type(found.client_ms), found.client_ms) == (int, NOW_MS)
    assert found.params is not None
    assert b'"media.ad.podPosition":1}' in found.params
    assert b'"media.ad.length":30.0' in found.params


@pytest.mark.parametrize("ts", [NOW_MS + 0.5, 1e300, -1.0, 1e16])
def test_a_timestamp_that_is_no_whole_number_is_a_bad_record(ts: float) -> None:
    """As ingest refuses it."""
    found = decode(record({**PING, "data": {"playerTime": {"playhead": 1.0, "ts": ts}, "eventType": "ping"}}))
    assert isinstance(found, Bad)
    assert found.reason == "invalid_event"


@pytest.mark.parametrize("stamped_ms", [NOW_MS - 120_000, NOW_MS - 1, NOW_MS, NOW_MS + 1, NOW_MS + 120_000])
def test_an_arrival_within_two_minutes_of_the_logs_clock_is_that_of_the_ingest(stamped_ms: int) -> None:
    """Only that nothing arrives after the log has it."""
    found = decode(record(ping(receivedtime=moment(stamped_ms), flags="future_ts")))
    assert isinstance(found, Event)
    assert (found.received_ms, found.flags) == (min(stamped_ms, NOW_MS), ("future_ts",))


def moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


OFF_MS = (120_001, -120_001, 7_200_000, -900_000, -7_200_000, 86_400_000 * 800, -NOW_MS + 1_000, -NOW_MS - 10**12)


@pytest.mark.parametrize("off_ms", OFF_MS)
def test_an_arrival_by_a_wrong_clock_is_when_the_log_took_it(off_ms: int) -> None:
    """An event, a tracking session or a refused body: none is bad for that, and the event says it."""
    received = moment(NOW_MS + off_ms)
    values: list[dict[str, Any]] = [PING, CREATED, REJECTED]
    event, tracking, refused = (decode(record(value | {"receivedtime": received})) for value in values)
    assert isinstance(event, Event)
    assert (event.received_ms, event.flags) == (NOW_MS, ("ingest_clock",))
    assert isinstance(tracking, Tracking)
    assert tracking.received_ms == NOW_MS
    assert isinstance(refused, Bad)
    assert (refused.received_ms, refused.source) == (NOW_MS, "ingest")


@pytest.mark.parametrize(
    ("off_ms", "ts_ms", "flags"),
    [
        (-7_200_000, NOW_MS + 86_000_000, "future_ts"),  # a slow ingest took it for one of the future
        (7_200_000, NOW_MS + 90_000_000, ""),  # a fast one did not
    ],
)
def test_whether_a_player_is_ahead_is_decided_by_the_logs_clock(off_ms: int, ts_ms: int, flags: str) -> None:
    """The flag that an ingest with a wrong clock gave, or did not give, counts for nothing."""
    value = ping("data/playerTime/ts", ts_ms, receivedtime=moment(NOW_MS + off_ms), flags=flags)
    found = decode(record(value))
    assert isinstance(found, Event)
    is_ahead = ts_ms - NOW_MS > 86_400_000
    assert found.flags == (("future_ts", "ingest_clock") if is_ahead else ("ingest_clock",))
    assert found.order_ms == ts_ms


@pytest.mark.parametrize("appended_ms", [-1, 10**17, -(10**17)])
def test_a_log_whose_time_is_no_time_stops_nothing(appended_ms: int) -> None:
    """A topic that keeps its producers' timestamps may have any: it fits into the columns."""
    lake = ModelLake()
    values: list[dict[str, Any] | bytes] = [PING, b"?"]
    entries = [decode(record(value, offset=n, appended_ms=appended_ms)) for n, value in enumerate(values)]
    changes = lake.take(lake.start(), entries, renew_open=True)
    assert rows_of([changes], topic="topic")["events"].num_rows == 1


def test_the_time_of_arrival_is_exact_to_the_millisecond() -> None:
    """No millisecond is lost on the way from text to number."""
    for ms in range(NOW_MS, NOW_MS + 1000):
        text = f"2025-06-01T00:00:00.{ms - NOW_MS:03}Z"
        found = decode(record({**PING, "receivedtime": text}, appended_ms=ms))
        assert isinstance(found, Event)
        assert found.received_ms == ms


def test_identities_with_a_nul_are_made_comparable() -> None:
    """DuckLake cannot compare texts with a NUL: columns that people join by have none; raw JSON keeps it."""
    event = decode(record(ODD["NULs in the envelope"]))
    assert isinstance(event, Event)
    assert (event.source, event.consent, event.flags) == ("\ufffd", "\ufffd", ("\ufffd", "", "odd"))
    assert event.tracking_session_id == "a\ufffdb"
    raw = decode(record(ODD["NULs in texts"]))
    assert isinstance(raw, Event)
    assert read_object(raw.params) == {"\0": "\0", "x": "a\0b"}


def test_an_event_is_decoded_alike_by_the_quick_and_by_the_thorough_way() -> None:
    """An unknown key sends a record the long way round; all the rest of the event comes out the same."""
    values: tuple[Any, ...] = (PING, ODD["NULs in the content"], ODD["a playhead of 1e308"])
    for value in values:
        quick = decode(record(value))
        thorough = decode(record({**value, "data": value["data"] | {"unknown": 1}}))
        assert isinstance(thorough, Event)
        assert read_object(thorough.other) == {"unknown": 1}
        assert msgspec.structs.replace(thorough, other=None) == quick
