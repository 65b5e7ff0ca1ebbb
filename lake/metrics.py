"""The metrics: what each is called, what it means, and the SQL that makes it, in one table.

Vendors use the same words for different numbers. Here each number has a name of its own, with the source in the
name where sources differ, and stands beside the others. Every row below is a column of the views `metrics` and
`metrics_by_...` and a row of the table `metric_catalog`; a new metric is one row.

Numerator and denominator are SQL over one row of the view `counted_sessions`; `of` is the set of its sessions.
Aggregates are ratios of sums, never means of ratios, but where a source defines a mean per session (`mean`). A
session without a value is left out of both sums. What the events do not show is named at the end, so that
nobody looks for it in vain.
"""

from typing import Literal

import duckdb
import msgspec

How = Literal["sum", "ratio", "mean", "median", "p95"]

# The sets of sessions: their names in the catalogue, and how a session is told to belong.
ALL = "sessions, open ones included"
STARTED = "sessions whose main content played, open ones included"
ATTEMPTS = "closed sessions with a sessionStart"
MEDIA_STARTS = "closed sessions with a sessionStart that resumes nothing"
PLAYS = "closed sessions whose main content played"
OVER_1_S = "closed sessions with a sessionStart, but exits within 1 s"
RECORDED = "closed sessions of content of known length whose main content played"
SETS = {
    ALL: "true",
    STARTED: "is_started",
    ATTEMPTS: "is_closed AND has_start",
    MEDIA_STARTS: "is_closed AND has_start AND NOT is_resumed",
    PLAYS: "is_closed AND is_started",
    OVER_1_S: "is_closed AND has_start AND (is_started OR is_failed OR age_s >= 1)",
    RECORDED: "is_closed AND is_started AND recorded_length_s > 0",
}


class Metric(msgspec.Struct, frozen=True):
    """One metric over sessions. `unlike` is what it is often confused with."""

    name: str
    meaning: str
    unit: str
    how: How
    numerator: str
    denominator: str = ""
    source: str = "Playhead"
    of: str = ALL
    unlike: str = ""

    @property
    def sql(self) -> str:
        """The aggregate over `counted_sessions`."""
        within = f"FILTER (WHERE {SETS[self.of]})"
        value = f"({self.numerator})::DOUBLE"
        match self.how:
            case "sum" if self.unit == "count":
                return f"coalesce(sum(({self.numerator})::BIGINT) {within}, 0)::BIGINT"
            case "sum":
                return f"sum({value}) {within}"
            case "ratio":
                both = f"FILTER (WHERE {SETS[self.of]} AND ({self.numerator}) IS NOT NULL)"
                return f"sum({value}) {within} / nullif(sum(({self.denominator})::DOUBLE) {both}, 0)"
            case "mean":
                return f"avg({value}) {within}"
            case "median":
                return f"quantile_cont({value}, 0.5) {within}"
            case "p95":
                return f"quantile_cont({value}, 0.95) {within}"


class Entry(msgspec.Struct, frozen=True):
    """A metric that is no column of `metrics`: a column of sessions, a view, a macro, or nothing at all."""

    name: str
    meaning: str
    unit: str
    stands: str
    query: str | None
    numerator: str = ""
    denominator: str = ""
    source: str = "Playhead"
    of: str = ALL
    unlike: str = ""


ADOBE, CTA, MUX = "Adobe Media Analytics", "CTA-2066", "Mux Data"
EXO, RELIC, CONVIVA, SNOWPLOW = "ExoPlayer PlaybackStats", "New Relic", "Conviva", "Snowplow"

METRICS: tuple[Metric, ...] = (
    # ---- how many
    Metric("sessions", "Sessions, retried starts left out.", "count", "sum", "true", unlike="media_starts_adobe"),
    Metric("open_sessions", "Sessions that are not closed yet.", "count", "sum", "NOT is_closed"),
    Metric(
        "media_starts_adobe",
        "Sessions with a sessionStart that resumes nothing.",
        "count",
        "sum",
        "has_start AND NOT is_resumed",
        source=ADOBE,
        unlike="content_starts_adobe; sessions",
    ),
    Metric(
        "content_starts_adobe",
        "Sessions whose main content played.",
        "count",
        "sum",
        "is_started",
        source=ADOBE,
        unlike="media_starts_adobe",
    ),
    Metric(
        "content_completes_adobe",
        "Sessions with a sessionComplete, wherever the playhead stood.",
        "count",
        "sum",
        "is_completed",
        source=ADOBE,
        unlike="completion_ratio_snowplow",
    ),
    Metric(
        "estimated_streams_adobe",
        "One stream for each half hour of media time begun.",
        "count",
        "sum",
        "floor(media_time_s / 1800) + 1",
        source=ADOBE,
        unlike="media_starts_adobe",
    ),
    # ---- how long
    Metric(
        "content_time_s",
        "Main content playing, by the clock; may exceed the content's length.",
        "s",
        "sum",
        "content_time_s",
        source=f"{ADOBE}; {SNOWPLOW}",
        unlike="media_time_s (with ads); watched_s (with waiting); unique_played_s (each second once)",
    ),
    Metric("ad_time_s", "Ads in breaks playing.", "s", "sum", "ad_time_s", source=ADOBE),
    Metric(
        "media_time_s",
        "Content and ads playing.",
        "s",
        "sum",
        "media_time_s",
        source=ADOBE,
        unlike="content_time_s",
    ),
    Metric(
        "watched_s",
        "Content, waiting for the first frame, and stalls; pauses and ads left out.",
        "s",
        "sum",
        "watched_s",
        source=f"{CTA}; {MUX}",
        unlike="content_time_s",
    ),
    Metric(
        "unique_played_s",
        "Seconds of content played, each once a session.",
        "s",
        "sum",
        "unique_played_s",
        source=ADOBE,
        unlike="content_time_s",
    ),
    Metric("pause_time_s", "Paused.", "s", "sum", "pause_time_s", source=ADOBE),
    Metric(
        "content_time_per_content_start_s_adobe",
        "Mean content time of a session whose main content played.",
        "s",
        "ratio",
        "content_time_s",
        "is_started::INT",
        source=ADOBE,
        of=STARTED,
        unlike="media_time_per_media_start_s_adobe",
    ),
    Metric(
        "media_time_per_media_start_s_adobe",
        "Mean media time of a session, ads included, whether content played or not.",
        "s",
        "ratio",
        "media_time_s",
        "1",
        source=ADOBE,
        of=MEDIA_STARTS,
        unlike="content_time_per_content_start_s_adobe",
    ),
    Metric(
        "content_time_s_median",
        "Median content time of a session.",
        "s",
        "median",
        "content_time_s",
        of=STARTED,
        unlike="content_time_per_content_start_s_adobe",
    ),
    Metric(
        "average_minute_audience_adobe",
        "Viewers in the average minute of the content: content time by its length, summed.",
        "viewers",
        "sum",
        "content_time_s / recorded_length_s",
        source=ADOBE,
        unlike="audience_by_minute (an hour by the clock, not the content's length)",
    ),
    # ---- start
    Metric(
        "startup_s_mean_cta2066",
        "Mean wait from sessionStart to the first frame of main content, ads and pauses left out.",
        "s",
        "mean",
        "startup_s",
        source=CTA,
        of=STARTED,
        unlike="startup_s_median_mux (an ad's frame is the first)",
    ),
    Metric(
        "startup_s_median_newrelic",
        "Median of the same wait.",
        "s",
        "median",
        "startup_s",
        source=RELIC,
        of=STARTED,
        unlike="startup_s_median_mux",
    ),
    Metric(
        "startup_s_p95_newrelic",
        "95th percentile of the same wait.",
        "s",
        "p95",
        "startup_s",
        source=RELIC,
        of=STARTED,
    ),
    Metric(
        "startup_s_median_mux",
        "Median wait for the first frame of anything, a pre-roll ad included.",
        "s",
        "median",
        "first_frame_s",
        source=MUX,
        unlike="startup_s_median_newrelic",
    ),
    Metric("startup_s_p95_mux", "95th percentile of the same wait.", "s", "p95", "first_frame_s", source=MUX),
    Metric(
        "startup_score_mux",
        "Mean of 100 x 8 / (8 + wait in seconds).",
        "score 0-100",
        "mean",
        "800 / (8 + first_frame_s)",
        source=MUX,
    ),
    Metric(
        "time_to_start_ms_median_adobe",
        "Median of what players themselves measured and sent.",
        "ms",
        "median",
        "time_to_start_ms",
        source=ADOBE,
        unlike="startup_s_median_newrelic (measured between events)",
    ),
    # ---- failures
    Metric(
        "start_failure_ratio_conviva",
        "Attempts that ended with an error before main content played.",
        "ratio",
        "ratio",
        "(is_failed AND NOT is_started)::INT",
        "1",
        source=CONVIVA,
        of=ATTEMPTS,
        unlike="exit_before_start_ratio_conviva (no error)",
    ),
    Metric(
        "playback_failure_ratio_conviva",
        "Plays that ended with an error, of closed plays.",
        "ratio",
        "ratio",
        "is_failed::INT",
        "1",
        source=CONVIVA,
        of=PLAYS,
        unlike="playback_failure_ratio_mux (of all views)",
    ),
    Metric(
        "playback_failure_ratio_mux",
        "Plays that ended with an error, of all attempts.",
        "ratio",
        "ratio",
        "(is_failed AND is_started)::INT",
        "1",
        source=MUX,
        of=ATTEMPTS,
        unlike="playback_failure_ratio_conviva (of plays)",
    ),
    Metric(
        "playback_failure_ratio_cta2066",
        "Sessions that ended with an error, before or after the first frame.",
        "ratio",
        "ratio",
        "is_failed::INT",
        "1",
        source=CTA,
        of=ATTEMPTS,
        unlike="playback_failure_ratio_mux (after the first frame)",
    ),
    Metric(
        "success_ratio_pillarbox",
        "Sessions without an error at their end; errors of business cannot be told apart here.",
        "ratio",
        "ratio",
        "(NOT is_failed)::INT",
        "1",
        source="Pillarbox",
        of=ATTEMPTS,
        unlike="playback_success_score_mux",
    ),
    Metric(
        "exit_before_start_ratio_conviva",
        "Attempts that ended before main content played, without an error.",
        "ratio",
        "ratio",
        "(NOT is_started AND NOT is_failed)::INT",
        "1",
        source=CONVIVA,
        of=ATTEMPTS,
        unlike="drop_before_start_ratio_adobe (errors too)",
    ),
    Metric(
        "exit_before_start_ratio_mux",
        "The same, exits within 1 s left out.",
        "ratio",
        "ratio",
        "(NOT is_started AND NOT is_failed)::INT",
        "1",
        source=MUX,
        of=OVER_1_S,
        unlike="exit_before_start_ratio_conviva",
    ),
    Metric(
        "abandoned_before_ready_ratio_exoplayer",
        "Playbacks left before they were ready; playbacks in the background cannot be told apart here.",
        "ratio",
        "ratio",
        "(NOT is_started AND NOT is_failed)::INT",
        "1",
        source=EXO,
        of=ATTEMPTS,
    ),
    Metric(
        "drop_before_start_ratio_adobe",
        "Media starts that closed without main content, errors and exits in pre-rolls included.",
        "ratio",
        "ratio",
        "(NOT is_started)::INT",
        "1",
        source=ADOBE,
        of=MEDIA_STARTS,
        unlike="exit_before_start_ratio_conviva",
    ),
    Metric(
        "preroll_drop_ratio_adobe",
        "(media starts - content starts) / media starts.",
        "ratio",
        "ratio",
        "1 - is_started::INT",
        "1",
        source=ADOBE,
        of=MEDIA_STARTS,
        unlike="drop_before_start_ratio_adobe (the same sessions, by another road)",
    ),
    Metric(
        "playback_success_score_mux",
        "Mean of 100 for a play, 50 for an exit before it, 0 for a failure.",
        "score 0-100",
        "mean",
        "CASE WHEN is_failed THEN 0 WHEN is_started THEN 100 ELSE 50 END",
        source=MUX,
        of=OVER_1_S,
        unlike="success_ratio_pillarbox",
    ),
    Metric(
        "errors",
        "Error events.",
        "count",
        "sum",
        "errors",
        source=ADOBE,
        unlike="playback_failure_ratio_cta2066 (errors that ended the session)",
    ),
    Metric(
        "error_impacted_ratio_adobe",
        "Sessions with an error event.",
        "ratio",
        "ratio",
        "(errors > 0)::INT",
        "1",
        source=ADOBE,
    ),
    # ---- rebuffering
    Metric(
        "rebuffer_ratio_cta2066",
        "Stalled time by watched time.",
        "ratio",
        "ratio",
        "stalled_s",
        "watched_s",
        source=CTA,
        unlike="rebuffer_ratio_newrelic",
    ),
    Metric(
        "rebuffer_ratio_mux",
        "Total rebuffering by total watch time.",
        "ratio",
        "ratio",
        "stalled_s",
        "watched_s",
        source=MUX,
        unlike="rebuffer_ratio_newrelic",
    ),
    Metric(
        "rebuffer_ratio_exoplayer",
        "Rebuffering by play, join, rebuffering and seek time together.",
        "ratio",
        "ratio",
        "stalled_s",
        "content_time_s + startup_wait_s + stalled_s",
        source=f"{EXO}, getRebufferTimeRatio",
        unlike="wait_ratio_exoplayer",
    ),
    Metric(
        "rebuffer_ratio_newrelic",
        "Stalled time by content time; can exceed 1.",
        "ratio",
        "ratio",
        "stalled_s",
        "content_time_s",
        source=RELIC,
        unlike="rebuffer_ratio_cta2066",
    ),
    Metric(
        "rebuffer_ratio_adobe",
        "Buffering by content time: before the first frame and in ads too, stalls left out.",
        "ratio",
        "ratio",
        "buffer_time_s",
        "content_time_s",
        source=f"{ADOBE}, buffer duration rate",
        unlike="rebuffer_ratio_newrelic; stall_ratio_adobe",
    ),
    Metric(
        "stall_ratio_adobe",
        "Time in which the playhead stood over 3 events and more, by content time.",
        "ratio",
        "ratio",
        "stall_time_s",
        "content_time_s",
        source=ADOBE,
        unlike="rebuffer_ratio_adobe (what players call buffering)",
    ),
    Metric(
        "rebuffer_ratio_infinite_streaming",
        "Stalled time by stalled and content time.",
        "ratio",
        "ratio",
        "stalled_s",
        "stalled_s + content_time_s",
        source="infinite-streaming",
        unlike="rebuffer_ratio_newrelic",
    ),
    Metric(
        "wait_ratio_exoplayer",
        "Waiting, before the first frame and later, by all of it with content.",
        "ratio",
        "ratio",
        "startup_wait_s + stalled_s",
        "watched_s",
        source=EXO,
        unlike="rebuffer_ratio_exoplayer (only later)",
    ),
    Metric(
        "rebuffers_per_session_cta2066",
        "Stalls and rebufferings of a session, in the mean.",
        "per session",
        "ratio",
        "rebuffers + stalls",
        "1",
        source=CTA,
        unlike="rebuffers_per_minute_mux",
    ),
    Metric(
        "rebuffers_per_second_exoplayer",
        "Stalls and rebufferings for a second of content.",
        "1/s",
        "ratio",
        "rebuffers + stalls",
        "content_time_s",
        source=f"{EXO}, getRebufferRate",
    ),
    Metric(
        "rebuffers_per_minute_mux",
        "Stalls and rebufferings for a minute watched.",
        "1/min",
        "ratio",
        "60 * (rebuffers + stalls)",
        "watched_s",
        source=MUX,
        unlike="rebuffers_per_second_exoplayer (of content)",
    ),
    Metric(
        "rebuffers_per_hour",
        "Stalls and rebufferings for an hour of content.",
        "1/h",
        "ratio",
        "3600 * (rebuffers + stalls)",
        "content_time_s",
    ),
    Metric(
        "time_between_rebuffers_s_exoplayer",
        "Content time for each stall or rebuffering.",
        "s",
        "ratio",
        "content_time_s",
        "rebuffers + stalls",
        source=EXO,
    ),
    Metric(
        "smoothness_score_mux",
        "Mean of the session's 50 / sqrt(1 + (n / 2)^2) + 50 exp(-10 ratio).",
        "score 0-100",
        "mean",
        "50 / sqrt(1 + pow((rebuffers + stalls) / 2.0, 2)) + 50 * exp(-10 * stalled_s / nullif(watched_s, 0))",
        source=MUX,
        of=STARTED,
    ),
    Metric(
        "buffer_impacted_ratio_adobe",
        "Sessions with buffering.",
        "ratio",
        "ratio",
        "(buffers > 0)::INT",
        "1",
        source=ADOBE,
    ),
    Metric(
        "stall_impacted_ratio_adobe",
        "Sessions with a stall.",
        "ratio",
        "ratio",
        "(stalls > 0)::INT",
        "1",
        source=ADOBE,
    ),
    Metric(
        "pause_impacted_ratio_adobe",
        "Sessions with a pause.",
        "ratio",
        "ratio",
        "(pauses > 0)::INT",
        "1",
        source=ADOBE,
    ),
    # ---- picture
    Metric(
        "average_bitrate_bps_adobe",
        "Bitrate, weighted by the content time in which it was played.",
        "bit/s",
        "ratio",
        "average_bitrate_bps * content_time_s",
        "content_time_s",
        source=f"{ADOBE}; {EXO}; {RELIC}",
        unlike="average_bitrate_bps_median (sessions count alike)",
    ),
    Metric(
        "average_bitrate_bps_median",
        "Median of the sessions' average bitrates.",
        "bit/s",
        "median",
        "average_bitrate_bps",
    ),
    Metric("bitrate_changes", "bitrateChange events.", "count", "sum", "bitrate_changes", source=ADOBE),
    Metric(
        "bitrate_change_impacted_ratio_adobe",
        "Sessions with a bitrateChange.",
        "ratio",
        "ratio",
        "(bitrate_changes > 0)::INT",
        "1",
        source=ADOBE,
    ),
    Metric(
        "dropped_frames_impacted_ratio_adobe",
        "Sessions with dropped frames, of those that report them.",
        "ratio",
        "ratio",
        "(dropped_frames > 0)::INT",
        "1",
        source=ADOBE,
    ),
    # ---- how far
    Metric(
        "completion_ratio_adobe_content",
        "Content completes by content starts; a jump to the end counts, a timeout never.",
        "ratio",
        "ratio",
        "is_completed::INT",
        "1",
        source=ADOBE,
        of=PLAYS,
        unlike="completion_ratio_snowplow; completion_ratio_adobe_media",
    ),
    Metric(
        "completion_ratio_adobe_media",
        "Content completes by media starts.",
        "ratio",
        "ratio",
        "is_completed::INT",
        "1",
        source=ADOBE,
        of=MEDIA_STARTS,
        unlike="completion_ratio_adobe_content",
    ),
    Metric(
        "completion_ratio_snowplow",
        "Plays of which 99 % of the content was watched, each second once.",
        "ratio",
        "ratio",
        "(unique_played_s >= 0.99 * recorded_length_s)::INT",
        "1",
        source=SNOWPLOW,
        of=RECORDED,
        unlike="completion_ratio_adobe_content (says the player)",
    ),
    Metric(
        "watched_ratio",
        "Seconds of content played, each once, by the contents' lengths.",
        "ratio",
        "ratio",
        "unique_played_s",
        "recorded_length_s",
        of=RECORDED,
        unlike="watched_ratio_mean_snowplow",
    ),
    Metric(
        "watched_ratio_mean_snowplow",
        "Mean of the sessions' shares of their content played.",
        "ratio",
        "mean",
        "unique_played_s / recorded_length_s",
        source=f"{SNOWPLOW}; {CONVIVA}",
        of=RECORDED,
        unlike="watched_ratio (long contents weigh more)",
    ),
    # ---- ads and chapters
    Metric("ads_started", "Ads started in ad breaks.", "count", "sum", "ads_started", source=ADOBE),
    Metric(
        "ad_completion_ratio_adobe",
        "Ads completed, of those started.",
        "ratio",
        "ratio",
        "ads_completed",
        "ads_started",
        source=ADOBE,
        unlike="ad_delivery, by ad",
    ),
    Metric(
        "ads_per_media_start_adobe",
        "Ads started for a media start.",
        "per session",
        "ratio",
        "ads_started",
        "1",
        source=ADOBE,
        of=MEDIA_STARTS,
    ),
    Metric(
        "ad_time_per_ad_s_adobe",
        "Time an ad played, in the mean.",
        "s",
        "ratio",
        "ad_time_s",
        "ads_started",
        source=ADOBE,
    ),
    Metric(
        "ad_rate_adobe", "Ad time by content time.", "ratio", "ratio", "ad_time_s", "content_time_s", source=ADOBE
    ),
    Metric(
        "pause_rate_adobe",
        "Pause time by content time.",
        "ratio",
        "ratio",
        "pause_time_s",
        "content_time_s",
        source=ADOBE,
    ),
    Metric(
        "time_to_start_rate_adobe",
        "Time to start, as reported, by content time.",
        "ratio",
        "ratio",
        "time_to_start_ms / 1000",
        "content_time_s",
        source=ADOBE,
    ),
    Metric(
        "chapter_completion_ratio_adobe",
        "Chapters completed, of those started.",
        "ratio",
        "ratio",
        "chapters_completed",
        "chapters_started",
        source=ADOBE,
    ),
)

_CONTENT = "(SELECT any_value(content_id) FROM counted_sessions)"
_NEWEST = "(SELECT max(started_at) FROM counted_sessions)"
_DAY = f"{_NEWEST} - INTERVAL 1 DAY, {_NEWEST}"
_SLOT = f"{{programme: 'the last hour', since: {_NEWEST} - INTERVAL 1 HOUR, until: {_NEWEST}}}"
NO = "not measured"
SESSION = "column of sessions"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "startup_s",
        "Wait for the first frame of main content, ads and pauses left out.",
        "s",
        SESSION,
        "SELECT startup_s FROM sessions",
        source=CTA,
        of=STARTED,
    ),
    Entry(
        "progress_pct",
        "Farthest of the markers 10, 25, 50, 75, 95 % that the playhead reached; a jump passes several.",
        "pct",
        SESSION,
        "SELECT progress_pct FROM sessions",
        source=ADOBE,
        unlike="unique_played_s: reached is not watched",
    ),
    Entry(
        "stall_time_s",
        "Playing by the player's word while the playhead stands over 3 events and more.",
        "s",
        SESSION,
        "SELECT stall_time_s FROM sessions",
        source=ADOBE,
        unlike="buffer_time_s: what the player calls buffering",
    ),
    Entry(
        "dropped_frames",
        "Last count the player sent; it counts up.",
        "count",
        SESSION,
        "SELECT dropped_frames FROM sessions",
        source=ADOBE,
    ),
    Entry(
        "gap_s",
        "Time about which nothing is known: no event for over a minute, and the playhead does not bear it out.",
        "s",
        SESSION,
        "SELECT gap_s FROM sessions",
    ),
    Entry(
        "chapter_time_s",
        "Main content playing while the chapter is open.",
        "s",
        "column time_s of chapters",
        "SELECT time_s FROM chapters",
        source=ADOBE,
    ),
    Entry(
        "player_state_time_s",
        "How long a player state was on, whatever the player did; 10 states at most.",
        "s",
        "column time_s of player_states",
        "SELECT name, time_s FROM player_states",
        source=ADOBE,
    ),
    Entry(
        "concurrent_sessions_adobe",
        "Sessions active within the minute, pauses included.",
        "sessions",
        "column sessions of concurrency_by_minute",
        "SELECT minute, sessions FROM concurrency_by_minute",
        source=f"{ADOBE}, classic reports",
        unlike="concurrent_plays_max_conviva (at one moment)",
    ),
    Entry(
        "concurrent_viewers_adobe",
        "Distinct viewers with a session active within the minute; a session without a user counts as one viewer.",
        "viewers",
        "column viewers of concurrency_by_minute",
        "SELECT minute, viewers FROM concurrency_by_minute",
        source=f"{ADOBE}, workspace panel",
        unlike="concurrent_sessions_adobe",
    ),
    Entry(
        "concurrent_plays_max_conviva",
        "Most sessions active at one moment of the minute, of those whose main content played.",
        "sessions",
        "column plays_max of concurrency_by_minute",
        "SELECT minute, plays_max FROM concurrency_by_minute",
        source=CONVIVA,
        of=STARTED,
        unlike="concurrent_sessions_adobe",
    ),
    Entry(
        "concurrent_viewers_mux",
        "Sessions starting, playing or buffering now; without pauses, and without buffering of over 5 minutes.",
        "sessions",
        "view watching_now",
        "SELECT viewers FROM watching_now",
        source=MUX,
        of="open sessions",
        unlike="concurrent_viewers_adobe",
    ),
    Entry(
        "average_minute_audience",
        "Sessions playing main content in the mean over a stretch of time: seconds played in it by its seconds.",
        "viewers",
        "table macro audience_by_minute",
        f"SELECT avg(average_audience) FROM audience_by_minute({_DAY})",
        "seconds of main content playing",
        "seconds of the stretch",
        unlike="average_minute_audience_adobe (by the content's length)",
    ),
    Entry(
        "average_minute_audience_programme",
        "Sessions playing main content in the mean over a slot of a schedule that the caller gives.",
        "viewers",
        "column average_audience of table macro programme_audience",
        f"SELECT programme, average_audience FROM programme_audience([{_SLOT}])",
        "seconds of main content playing within the slot",
        "seconds of the slot",
        source=f"{ADOBE}, scheduleTimePlayed",
        unlike="average_minute_audience_adobe (by the content's length); concurrent_viewers_adobe (pauses too)",
    ),
    Entry(
        "programme_reach",
        "Viewers that played any main content in a slot of a schedule; a session without a user is one viewer.",
        "viewers",
        "column viewers of table macro programme_audience",
        f"SELECT programme, viewers FROM programme_audience([{_SLOT}])",
        "distinct viewers with main content playing within the slot",
        unlike="average_minute_audience_programme (by how long they played)",
    ),
    Entry(
        "start_funnel",
        "Sessions that reached each step, and those that ended there.",
        "sessions",
        "view start_funnel; table macro start_funnel_of",
        "FROM start_funnel",
        of="closed sessions with a sessionStart, of content of known length",
        unlike="retention: reached is not watched",
    ),
    Entry(
        "leaving_points",
        "Where in the content the last playhead of those was who did not complete.",
        "sessions",
        "table macro leaving_points",
        f"FROM leaving_points({_CONTENT})",
        of=RECORDED,
    ),
    Entry(
        "absolute_retention_ratio",
        "Views of the seconds of a bucket, all passes, by starts; can exceed 1.",
        "ratio",
        "table macro retention",
        f"SELECT absolute_retention_ratio FROM retention({_CONTENT})",
        "seconds of the bucket played, all passes",
        "starts x seconds of the bucket",
        source="YouTube Analytics",
        of=STARTED,
        unlike="unique_retention_ratio",
    ),
    Entry(
        "unique_retention_ratio",
        "Sessions that played the seconds of a bucket, by starts.",
        "ratio",
        "table macro retention",
        f"SELECT unique_retention_ratio FROM retention({_CONTENT})",
        "seconds of the bucket played, once a session",
        "starts x seconds of the bucket",
        of=STARTED,
        unlike="absolute_retention_ratio; progress_pct",
    ),
    Entry(
        "relative_retention_ratio",
        "A content's absolute retention by the mean of others of similar length, part by part; can exceed 1.",
        "ratio",
        "table macro relative_retention",
        f"SELECT from_ratio, relative_retention_ratio FROM relative_retention({_CONTENT})",
        "absolute retention of the part",
        "mean of the others' absolute retention of the part, each content once",
        source="YouTube Analytics",
        of=STARTED,
        unlike="absolute_retention_ratio; relative_retention_rank_ratio_youtube",
    ),
    Entry(
        "relative_retention_rank_ratio_youtube",
        "Share of contents of similar length that keep less in the same part, equal ones half; 0.5 is the median.",
        "ratio",
        "column rank_ratio of table macro relative_retention",
        f"SELECT from_ratio, rank_ratio FROM relative_retention({_CONTENT})",
        "other contents that keep less, and half of those that keep as much",
        "other contents of similar length",
        source="YouTube Analytics, relativeRetentionPerformance",
        of=STARTED,
        unlike="relative_retention_ratio (by how much)",
    ),
    Entry(
        "heat_ratio",
        "Most replayed: views of the bucket by those of the bucket viewed most.",
        "ratio",
        "table macro heat_map",
        f"SELECT heat_ratio FROM heat_map({_CONTENT})",
        of=STARTED,
        unlike="absolute_retention_ratio",
    ),
    Entry(
        "segment_views_adobe",
        "Sessions that played any of each five minutes of a content.",
        "sessions",
        "column sessions of table macro retention",
        f"SELECT from_s, sessions FROM retention({_CONTENT}, bucket_s := 300)",
        source=ADOBE,
        of=STARTED,
    ),
    Entry(
        "ad_delivery",
        "Each ad's starts, and how they ended.",
        "ads",
        "view ad_delivery",
        "FROM ad_delivery",
        source=ADOBE,
        unlike="ads outside of ad breaks: their time is content",
    ),
    Entry(
        "ad_break_delivery",
        "Ad breaks by place, those without an ad included.",
        "ad breaks",
        "view ad_break_delivery",
        "FROM ad_break_delivery",
    ),
    Entry(
        "error_ranking",
        "Errors by id and source, and whom they hit.",
        "errors",
        "view error_ranking",
        "FROM error_ranking",
        source=ADOBE,
    ),
    Entry(
        "retained_ratio",
        "Of the viewers first seen in a week, those who came back in each later week.",
        "ratio",
        "view cohorts_by_week",
        "FROM cohorts_by_week",
        "viewers of the cohort seen in the week",
        "viewers of the cohort",
        of="sessions with a user",
        unlike="retention of a content",
    ),
    Entry(
        "viewer_status",
        "new: first seen in the window; returning: in it and before; lapsed: not in it, but in the one before.",
        "viewers",
        "table macro viewers_between",
        f"FROM viewers_between({_DAY})",
        of="sessions with a user",
    ),
    Entry(
        "watched_next",
        "What the same viewer played next, within a time.",
        "sessions",
        "view sequences; table macro sequences_within",
        "FROM sequences",
        of="sessions with a user whose main content played",
    ),
    Entry(
        "data_quality",
        "How many events and sessions are late, flagged, repeated, without start, retried, or of a wrong clock.",
        "count",
        "view data_quality",
        "FROM data_quality",
        of="all sessions, retried starts included",
    ),
    Entry(
        "connection_induced_rebuffer_ratio",
        "Rebuffering without what seeking causes: events do not say which rebuffering a seek caused.",
        "ratio",
        NO,
        None,
        source=CONVIVA,
        unlike="rebuffer_ratio_cta2066",
    ),
    Entry(
        "seek_distance_s",
        "How far seeks moved the playhead, at least: beyond what playing explains.",
        "s of content",
        "column distance_s of table macro seeks_between",
        f"SELECT sum(abs(distance_s)), sum(distance_s) FILTER (distance_s > 0) FROM seeks_between({_DAY})",
        "distance_s of seeks, without its sign; of those above 0, forward; of those below, backward",
        unlike="seek_time_s: how long seeking took; sessions.seeks: how often",
    ),
    Entry(
        "seek_time_s",
        "Time spent seeking: players send a pause or nothing. sessions.seeks counts seeks.",
        "s",
        NO,
        None,
        source=f"{CTA}; {EXO}",
    ),
    Entry(
        "average_bitrate_bps_cta2066",
        "Bits played by media time: at playback rate 1, the only one sent, it is average_bitrate_bps_adobe.",
        "bit/s",
        NO,
        None,
        source=CTA,
    ),
    Entry(
        "video_quality_score",
        "Upscaling: no event carries the sizes of picture and screen.",
        "score 0-100",
        NO,
        None,
        source=MUX,
    ),
    Entry(
        "play_rate",
        "Plays by impressions: an impression sends no event.",
        "ratio",
        NO,
        None,
        source=f"{SNOWPLOW}; Matomo",
    ),
    Entry(
        "business_failure_ratio",
        "Failures of rights and subscriptions: errors carry an id and a source, whose meaning is the player's.",
        "ratio",
        NO,
        None,
        source=f"{CONVIVA}; Pillarbox",
    ),
    Entry(
        "streaming_performance_index",
        "Share of streams without any fault: it needs the thresholds of a business.",
        "ratio",
        NO,
        None,
        source=CONVIVA,
    ),
    Entry(
        "live_latency_s", "Behind the live edge: no event carries it.", "s", NO, None, source="CTA-5004-B (CMCD)"
    ),
)


def columns_sql() -> str:
    """Return every metric as a column of a SELECT over `counted_sessions`."""
    return ",\n".join(f"    {metric.sql} AS {metric.name}" for metric in METRICS)


def catalog_rows() -> list[tuple[str | None, ...]]:
    """Return the rows of `metric_catalog`, in the order of its columns."""
    rows: list[tuple[str | None, ...]] = []
    for metric in METRICS:
        how = {"median": "median of ", "p95": "95th percentile of ", "mean": "mean of "}.get(metric.how, "sum of ")
        below = f"sum of {metric.denominator}" if metric.denominator else None
        below = "number of sessions" if metric.denominator == "1" else below
        rows.append(
            (
                metric.name,
                metric.meaning,
                metric.unit,
                how + metric.numerator,
                below,
                metric.source,
                metric.of,
                metric.unlike or None,
                "column of metrics and metrics_by_...",
                f"SELECT {metric.name} FROM metrics",
            )
        )
    for entry in ENTRIES:
        above, below = entry.numerator or None, entry.denominator or None
        of, unlike = entry.of, entry.unlike or None
        rows.append(
            (
                entry.name,
                entry.meaning,
                entry.unit,
                above,
                below,
                entry.source,
                of,
                unlike,
                entry.stands,
                entry.query,
            )
        )
    return rows


def fill_catalog(connection: duckdb.DuckDBPyConnection) -> None:
    """Write `metric_catalog` anew."""
    connection.execute("DELETE FROM metric_catalog")
    rows = catalog_rows()
    places = "(" + ", ".join(["?"] * len(rows[0])) + ")"
    values = [value for row in rows for value in row]
    connection.execute(f"INSERT INTO metric_catalog VALUES {', '.join([places] * len(rows))}", values)
