"""Fills a lake with sessions as a month of live use leaves them, by SQL alone: quick, and in bounded memory.

Every value is a function of the session's number, so the same arguments give the same lake. Sessions are written
in the order in which they closed, commit by commit. Among them are:

* reopened ones (1 in 100; their next version comes hours or days later, and a third may follow), and open ones,
  some of which have a closed version;
* offline viewings that arrive days later, and sessions whose player's clock was wrong by years (1 in 250);
* retried starts (1 in 100), judged already or still to be judged;
* sessions of which the user is known from a tracking session, which may deny consent later;
* sessions with derived ids, without a start, without content, with lists that were cut short.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import duckdb
import msgspec

from lake.catalog import Location, connect
from rigs import big_lake_more

FIRST = datetime(2026, 8, 3, tzinfo=UTC)
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

_MACROS = """
-- A number from 0 to 1 that a session's number and a name give.
CREATE OR REPLACE TEMP MACRO drawn(number, name) AS (hash(number, name) >> 11) / 9007199254740992.0;
-- An integer below `many`, likewise.
CREATE OR REPLACE TEMP MACRO one_of(many, number, name) AS (hash(number, name) % many)::BIGINT;
CREATE OR REPLACE TEMP MACRO hexed(ms) AS lpad(lower(to_hex(ms)), 12, '0');
CREATE OR REPLACE TEMP MACRO moment(ms) AS make_timestamptz((ms * 1000)::BIGINT);
"""

# A session of each number: what its columns are made of.
_BASICS = """
SELECT
    number,
    {first_ms} + (number * {step_ms})::BIGINT AS arrived_ms,
    number % {partitions} AS part,
    drawn(number, 'kind') AS kind,
    kind < 0.01 AS is_retry,
    kind BETWEEN 0.01 AND 0.03 AS is_derived,
    kind BETWEEN 0.03 AND 0.034 AS is_misdated,
    kind BETWEEN 0.034 AND 0.036 AS is_startless,
    kind BETWEEN 0.10 AND 0.11 AS is_reopened,
    kind BETWEEN 0.10 AND 0.102 AS is_reopened_twice,
    CASE
        WHEN is_derived THEN (drawn(number, 'age') * 12 * {day_ms})::BIGINT
        WHEN is_misdated THEN ((drawn(number, 'age') - 0.4) * 3000 * {day_ms})::BIGINT
        ELSE 0
    END AS age_ms,
    arrived_ms - age_ms AS start_ms,
    if(is_retry, 0, (-ln(1 - drawn(number, 'length')) * 1500)::BIGINT % 14000) AS length_s,
    arrived_ms + if(is_derived, 0, length_s * 1000) AS last_ms,
    last_ms + if(drawn(number, 'end') < 0.5 AND NOT is_retry, 1000, 600000) AS closed_ms,
    -- A tracking session is named by three sessions in a row.
    if(kind > 0.3 AND kind < 0.8, number // 3, NULL) AS tracking,
    hexed(if(is_derived, 0, greatest(start_ms, 1))) || '5a' || lpad(lower(to_hex(part)), 4, '0')
        || left(md5('id' || number), 14) || md5('mac' || number) AS session_id
FROM range({low}, {high}) AS numbers(number)
"""

_TRACKING_ID = """
    left(hexed(({first_ms} + ({number} * 3 * {step_ms})::BIGINT)), 8)
        || '-' || hexed(({first_ms} + ({number} * 3 * {step_ms})::BIGINT))[9:12]
        || '-4' || left(md5('t' || {number}), 3) || '-8' || right(md5('t' || {number}), 3)
        || '-' || md5('u' || {number})[1:12]
"""

# A closed session, or (as its version) what its next closing makes of it.
_SESSION = """
SELECT
    session_id,
    {version}::INTEGER AS version,
    'final' AS state,
    if(is_retry OR drawn(number, 'end') >= 0.5, 'idle', 'ended') AS close_reason,
    moment(known_ms) AS as_of,
    number * 3 + {version} AS as_of_offset,
    part::INTEGER AS log_partition,
    (({version} - 1) * 2)::BIGINT AS late_events,
    moment(start_ms - if({version} > 1 AND drawn(number, 'earlier') < 0.2, 90000, 0)) AS started_at,
    moment(start_ms + length_s_played * 1000 + ({version} - 1) * 5000) AS ended_at,
    moment(start_ms) AS start_ts,
    if(close_reason = 'ended', ended_at, NULL) AS end_ts,
    ended_at AS last_event_ts,
    moment(arrived_ms) AS first_received_at,
    moment(if({version} > 1, known_ms, last_ms)) AS last_received_at,
    last_received_at AS last_moved_at,
    if(is_retry, 1, 2 + length_s_played // 10 + ({version} - 1) * 2)::BIGINT AS events,
    0::BIGINT AS events_after_end,
    (drawn(number, 'repeats') < 0.01)::BIGINT AS repeats,
    NOT is_startless AS has_start,
    NOT is_retry AND drawn(number, 'plays') < 0.96 AS is_started,
    is_started AND drawn(number, 'completes') < 0.4 AS is_completed,
    drawn(number, 'resumes') < 0.1 AS is_resumed,
    is_derived AS is_downloaded,
    drawn(number, 'live') < 0.2 AS is_live,
    drawn(number, 'fails') < 0.02 AS is_failed,
    drawn(number, 'capped') < 0.004 AS is_capped,
    if(is_startless, NULL, 'content-' || (1000 * drawn(number, 'content') ** 3)::INTEGER) AS content_id,
    'Name of ' || content_id AS content_name,
    if(is_live, 'live', 'vod') AS content_type,
    if(drawn(number, 'audio') < 0.1, 'audio', 'video') AS stream_type,
    if(is_live, NULL, 600 + one_of(5400, content_id, 'length'))::DOUBLE AS length_s,
    ['web', 'tv', 'ios', 'android'][1 + one_of(4, number, 'player')] AS player_name,
    if(is_live, 'channel-' || one_of(12, number, 'channel'), NULL) AS channel,
    '4.' || one_of(20, number, 'app') AS app_version,
    if(drawn(number, 'own') < 0.1, md5('user' || one_of({users}, number, 'user')), NULL) AS user_id,
    if(user_id IS NULL, NULL, 'visitor.customerIDs') AS user_id_source,
    if(user_id IS NULL, NULL, 1) AS user_id_auth_state,
    if(drawn(number, 'device') < 0.3, md5('device' || one_of({users}, number, 'user')), NULL) AS device_id,
    if(device_id IS NULL, NULL, 'appInstallationId') AS device_id_source,
    CASE
        WHEN drawn(number, 'denial') < 0.02 OR ({version} > 1 AND drawn(number, 'denied late') < 0.1) THEN 'denied'
        WHEN user_id IS NOT NULL THEN 'given'
    END AS consent,
    CASE
        WHEN consent = 'denied' AND drawn(number, 'old worker') < 0.5 THEN NULL
        WHEN tracking IS NULL THEN NULL
        ELSE {tracking_id}
    END AS tracking_session_id,
    if(tracking_session_id IS NULL, NULL, drawn(number, 'verified') < 0.95) AS tracking_verified,
    if(is_started, drawn(number, 'startup') * 3, NULL) AS startup_s,
    if(is_started, (startup_s * 1000)::BIGINT, NULL) AS time_to_start_ms,
    coalesce(startup_s, 2) AS join_s,
    if(drawn(number, 'has ads') < 0.35, 1 + one_of(3, number, 'ads'), 0)::BIGINT AS ads_started,
    if(is_started, length_s_played * 0.9, 0)::DOUBLE AS content_time_s,
    if(is_started AND ads_started > 0, 15.0 * ads_started, 0)::DOUBLE AS ad_time_s,
    content_time_s + ad_time_s AS media_time_s,
    (length_s_played * 0.05)::DOUBLE AS pause_time_s,
    (length_s_played * 0.02)::DOUBLE AS buffer_time_s,
    (length_s_played * 0.01)::DOUBLE AS rebuffer_time_s,
    (drawn(number, 'stall') < 0.05)::DOUBLE AS stall_time_s,
    0::DOUBLE AS gap_s,
    (length_s_played * 0.01)::DOUBLE AS idle_s,
    one_of(3, number, 'pauses') AS pauses,
    one_of(4, number, 'buffers') AS buffers,
    one_of(3, number, 'buffers') AS rebuffers,
    (drawn(number, 'stall') < 0.05)::BIGINT AS stalls,
    one_of(3, number, 'seeks') AS seeks,
    is_failed::BIGINT AS errors,
    (is_failed AND NOT is_started)::BIGINT AS errors_before_start,
    one_of(5, number, 'bitrates') AS bitrate_changes,
    (1 + one_of(8, number, 'bitrate')) * 750000.0 AS average_bitrate_bps,
    if(drawn(number, 'frames') < 0.2, one_of(100, number, 'dropped'), NULL) AS dropped_frames,
    ads_started AS ads_completed,
    0::BIGINT AS ads_skipped,
    0::BIGINT AS ads_aborted,
    0::BIGINT AS ads_outside_break,
    (ads_started > 0)::BIGINT AS ad_breaks,
    ad_breaks AS ad_breaks_completed,
    (drawn(number, 'chapters') < 0.1)::BIGINT AS chapters_started,
    chapters_started AS chapters_completed,
    (drawn(number, 'state') < 0.2)::BIGINT AS states,
    states AS concurrent_states_max,
    if(is_live, NULL, [0, 10, 25, 50, 75, 95][1 + one_of(6, number, 'progress')])::INTEGER AS progress_pct,
    0::DOUBLE AS first_playhead_s,
    content_time_s AS last_playhead_s,
    content_time_s AS unique_played_s,
    one_of(4000, number, 'clock') AS clock_offset_ms,
    one_of(900, number, 'spread') AS clock_spread_ms,
    list_transform(range(ads_started), lambda n: {{
        ad_id: 'ad-' || (one_of(300, number, 'ad') + n) % 300, name: 'Name of the ad', advertiser: 'advertiser',
        campaign_id: 'campaign-' || (one_of(20, number, 'ad') + n) % 20, creative_id: NULL::VARCHAR,
        player_name: player_name, length_s: 15.0, break_index: 0, "position": n,
        started_at: started_at + to_seconds(15 * n), ended_at: started_at + to_seconds(15 * n + 15),
        time_s: 15.0, outcome: 'completed'
    }}) AS ads,
    list_transform(range(ad_breaks), lambda n: {{
        "index": n, name: 'preroll', offset_s: 0.0, ads: ads_started, started_at: started_at,
        ended_at: started_at + to_seconds(15 * ads_started), time_s: ad_time_s, outcome: 'completed'
    }}) AS breaks,
    list_transform(range(chapters_started), lambda n: {{
        "index": n, name: 'chapter', offset_s: 0.0, length_s: 100.0, started_at: started_at, ended_at: ended_at,
        time_s: content_time_s, outcome: 'completed'
    }}) AS chapters,
    list_transform(range(states), lambda n: {{
        name: 'fullscreen', starts: 1, time_s: content_time_s, is_on: false
    }}) AS player_states,
    list_transform(range(is_started::BIGINT * (1 + seeks)), lambda n: {{
        start_s: n * content_time_s / (1 + seeks), end_s: (n + 0.9) * content_time_s / (1 + seeks), passes: 1
    }}) AS played_intervals,
    list_transform(range(errors), lambda n: {{
        "at": ended_at, playhead_s: content_time_s, error_id: 'error-' || one_of(25, number, 'error'),
        source: 'player', is_before_start: NOT is_started
    }}) AS playback_errors,
    0::BIGINT AS events_ignored,
    0::BIGINT AS events_over_limit,
    if(drawn(number, 'flag') < 0.05, ['start_unsaid'], []) AS flags,
    'idle' AS last_doing,
    10::DOUBLE AS ping_interval_s,
    1::DOUBLE AS playback_rate,
    0::DOUBLE AS fast_forward_s,
    0::DOUBLE AS ad_time_outside_breaks_s,
    0::DOUBLE AS seek_buffer_time_s,
    0::BIGINT AS seek_buffers,
    0::BIGINT AS loops,
    0::DOUBLE AS played_error_s,
    list_transform(range(3 + pauses + rebuffers), lambda n: {{
        doing: ['joining', 'playing', 'buffering', 'playing', 'paused', 'playing', 'unknown'][1 + n % 7],
        started_at: started_at + to_milliseconds(n * length_s_played * 1000 // (3 + pauses + rebuffers)),
        ended_at: started_at + to_milliseconds((n + 1) * length_s_played * 1000 // (3 + pauses + rebuffers)),
        head_from_s: n * 10.0, head_to_s: n * 10.0 + 9
    }}) AS spans
FROM (
    SELECT * RENAME (length_s AS length_s_played), {known_ms} AS known_ms
    FROM ({basics})
    WHERE {known_ms} >= {since_ms} AND {known_ms} < {until_ms} AND {which}
)
ORDER BY as_of, session_id
"""
# When each version of a session closes, and which sessions have it.
_VERSIONS = {
    1: ("closed_ms", "true"),
    2: ("closed_ms + 1000 + (drawn(number, 'late') ** 3 * 5 * {day_ms})::BIGINT", "is_reopened"),
    3: ("closed_ms + 5 * {day_ms} + (drawn(number, 'later') * {day_ms})::BIGINT", "is_reopened_twice"),
}
_OLDEST_MS = {1: 16_000_000, 2: 6 * DAY_MS, 3: 7 * DAY_MS}  # from arrival to closing, at most

_TRACKING = """
SELECT
    'created-' || k AS event_id,
    'created' AS event_type,
    {tracking_id} AS tracking_session_id,
    if(drawn(k, 'denies') < 0.02, NULL, 'playout-' || k) AS playout_id,
    if(drawn(k, 'denies') < 0.02 OR drawn(k, 'nobody') < 0.1, NULL, md5('user' || one_of({users}, k, 'user')))
        AS user_id,
    'api' AS source,
    moment({first_ms} + (k * 3 * {step_ms})::BIGINT) AS started_at,
    drawn(k, 'verified') < 0.97 AS verified,
    if(drawn(k, 'denies') < 0.02, 'denied', 'given') AS consent,
    started_at AS received_at,
    (k % {partitions})::INTEGER AS log_partition,
    k * 2 AS log_offset
FROM range({low} // 3, {high} // 3) AS numbers(k)
WHERE drawn(k, 'unknown') > 0.03
"""

_DELETED = """
SELECT * REPLACE (
    replace(event_id, 'created', 'deleted') AS event_id,
    'deleted' AS event_type,
    NULL AS user_id,
    if(drawn(log_offset, 'denies at the end') < 0.05, 'denied', NULL) AS consent,
    received_at + to_seconds((drawn(log_offset, 'after') ** 4 * 864000)::BIGINT) AS received_at,
    log_offset + 1 AS log_offset
)
FROM tracking_events
WHERE event_type = 'created' AND drawn(log_offset, 'is deleted') < 0.3
ORDER BY received_at
"""


class Shape(msgspec.Struct, frozen=True):
    """How much there is: `sessions` over `days`, a file for each `days_a_file`, `small_files` of the last day.

    The requests of starts are kept for `requests_kept_h`: no session whose request is kept may be settled.
    `has_more`: there are also events, dimensions and clocks that were set (see big_lake_more.py).
    """

    sessions: int
    days: float
    partitions: int = 1
    days_a_file: float = 0.25
    small_files: int = 60
    requests_kept_h: int = 23
    first: datetime = FIRST
    has_more: bool = False

    @property
    def first_ms(self) -> int:
        """When the first session arrived."""
        return int(self.first.timestamp() * 1000)

    @property
    def until_ms(self) -> int:
        """What the lake knows as the newest moment."""
        return self.first_ms + int(self.days * DAY_MS)

    @property
    def step_ms(self) -> float:
        """The time from one session to the next."""
        return self.days * DAY_MS / self.sessions

    def windows(self) -> Iterator[tuple[int, int]]:
        """Yield the spans of time of which each commit writes what closed in it."""
        edges = [self.first_ms]
        while edges[-1] < self.until_ms:
            is_last = self.until_ms - edges[-1] <= DAY_MS
            step_ms = DAY_MS // self.small_files if is_last else int(DAY_MS * self.days_a_file)
            edges.append(edges[-1] + step_ms if is_last else min(edges[-1] + step_ms, self.until_ms - DAY_MS))
        edges[-1] = self.until_ms
        return itertools.pairwise(edges)


def fill(
    place: Location,
    shape: Shape,
    *,
    memory: str = "1GB",
    threads: int = 1,
    after: Callable[[duckdb.DuckDBPyConnection, int], None] = lambda lake, until_ms: None,
) -> None:
    """Fill a lake that `init` has made and that is empty; call `after` with the time of each commit."""
    with contextlib.closing(connect(place, read_only=False, memory=memory, threads=threads)) as lake:
        lake.execute(_MACROS + (big_lake_more.MACROS if shape.has_more else ""))
        _fill_tracking(lake, shape)
        _fill_copies(lake, shape)
        for since_ms, until_ms in shape.windows():
            query = " UNION ALL BY NAME ".join(
                f"({_closing(shape, version, since_ms, until_ms)})" for version in _VERSIONS
            )
            lake.execute(f"INSERT INTO session_versions BY NAME {query}")
            after(lake, until_ms)
        _fill_open(lake, shape)
        _fill_requests(lake, shape)
        pass_time(lake, shape, shape.until_ms)
        if shape.has_more:
            big_lake_more.fill_events(lake)


def pass_time(lake: duckdb.DuckDBPyConnection, shape: Shape, until_ms: int) -> None:
    """Let the lake know that its log is read up to a time."""
    newest = datetime.fromtimestamp(until_ms / 1000, UTC)
    for partition in range(shape.partitions):
        ledger = f"ledger_p{partition:03}"
        renewed = f"SELECT * REPLACE (?::TIMESTAMPTZ AS partition_time, ?::TIMESTAMPTZ AS watermark) FROM {ledger}"
        lake.execute(f"CREATE OR REPLACE TEMP TABLE renewed AS {renewed}", [newest] * 2)
        lake.execute(f"DELETE FROM {ledger}")
        lake.execute(f"INSERT INTO {ledger} FROM renewed")


def _names(shape: Shape) -> dict[str, object]:
    return {
        "first_ms": shape.first_ms,
        "step_ms": shape.step_ms,
        "partitions": shape.partitions,
        "day_ms": DAY_MS,
        "users": max(shape.sessions // 5, 1),
    }


def _tracking_id(shape: Shape, number: str) -> str:
    return _TRACKING_ID.format(**_names(shape), number=number)


def _closing(shape: Shape, version: int, since_ms: int, until_ms: int) -> str:
    """Return the query of the sessions whose version closes in a span of time."""
    names = _names(shape)
    known_ms, which = _VERSIONS[version]
    low = max(0, int((since_ms - shape.first_ms - _OLDEST_MS[version]) / shape.step_ms) - 1)
    high = min(shape.sessions, int((min(until_ms, shape.until_ms) - shape.first_ms) / shape.step_ms) + 1)
    query = _SESSION.format(
        version=version,
        known_ms=known_ms.format(**names),
        which=which,
        since_ms=since_ms,
        until_ms=until_ms,
        basics=_BASICS.format(**names, low=low, high=max(low, high)),
        tracking_id=_tracking_id(shape, "tracking"),
        users=names["users"],
    )
    return big_lake_more.with_more(query) if shape.has_more else query


def _fill_tracking(lake: duckdb.DuckDBPyConnection, shape: Shape) -> None:
    a_day = max(1, int(shape.sessions / shape.days))
    for low in range(0, shape.sessions, a_day):
        text = _TRACKING.format(
            **_names(shape), tracking_id=_tracking_id(shape, "k"), low=low, high=min(low + a_day, shape.sessions)
        )
        lake.execute(f"INSERT INTO tracking_events BY NAME {text}")
    lake.execute(f"INSERT INTO tracking_events BY NAME {_DELETED}")


def _fill_open(lake: duckdb.DuckDBPyConnection, shape: Shape) -> None:
    """What closes after the end is open; what closed in the last seconds is still there too."""
    for version, open_ms in ((1, 4 * HOUR_MS), (2, 5 * DAY_MS), (3, DAY_MS)):
        since_ms = shape.until_ms - max(10_000, int(20 * shape.step_ms))
        query = _closing(shape, version, since_ms, shape.until_ms + open_ms)
        for partition in range(shape.partitions):
            lake.execute(
                f"INSERT INTO open_sessions_p{partition:03} BY NAME "
                f"SELECT * REPLACE ('provisional' AS state, NULL AS close_reason, false AS is_completed) "
                f"FROM ({query}) WHERE log_partition = {partition}"
            )


def _asked_from(shape: Shape) -> int:
    """Return the first session whose start's request is still known: those of an hour, but of a few sessions."""
    hour = HOUR_MS / shape.step_ms
    return max(0, shape.sessions - int(max(hour, min(200, shape.requests_kept_h * hour))))


def _fill_copies(lake: duckdb.DuckDBPyConnection, shape: Shape) -> None:
    """Starts that were judged to be copies; some were used later."""
    every = _BASICS.format(**_names(shape), low=0, high=_asked_from(shape))
    lake.execute(
        f"INSERT INTO start_copies SELECT session_id FROM ({every}) "
        "WHERE (is_retry AND drawn(number, 'judged') < 0.9) OR drawn(number, 'used later') < 0.001"
    )


def _fill_requests(lake: duckdb.DuckDBPyConnection, shape: Shape) -> None:
    """Recent starts by their requests; a retry is of the request of the session after it."""
    later_ms = int(shape.step_ms) - 1
    late = _BASICS.format(**_names(shape), low=_asked_from(shape), high=shape.sessions)
    lake.execute(
        "INSERT INTO start_requests "
        f"SELECT session_id, md5('r' || number)[1:16], moment(arrived_ms) FROM ({late}) "
        f"UNION ALL SELECT session_id, md5('r' || (number + 1))[1:16], moment(arrived_ms + {later_ms}) "
        f"FROM ({late}) WHERE is_retry"
    )
