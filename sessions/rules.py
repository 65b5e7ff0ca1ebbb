"""The rules whose names a session's `flags` may have: what each means, and an example.

A session has the flag of a rule that decided anything of its final numbers. Where the rules are: at the head of
`admission.py` the first two, of `identity.py` the third, of `clock_steps.py` the next three, of `oddities.py` the
next three, of `silence.py`, `speed.py`, `evidence.py`, `player.py`, `ads.py`, `playhead.py` and `played.py` the
others.
"""

import msgspec


class Rule(msgspec.Struct, frozen=True):
    """One rule, as the data dictionary and `session show` explain it."""

    flag: str
    meaning: str
    example: str


RULES = (
    Rule(
        "end_ignored",
        "a sessionEnd took no effect: it was far earlier than events that had arrived",
        "an end that says 12:00 arrives after a ping that says 12:06: the session goes on",
    ),
    Rule(
        "over_limit",
        "it has more events than a session folds",
        "of 25,000 events the first 20,000 count",
    ),
    Rule(
        "tracking_changed",
        "its events name more than one tracking session",
        "the start names one, a later ping another: the first holds",
    ),
    Rule(
        "clock_set",
        "the player's clock was set while the session ran: events are dated by the clock that it began with",
        "a television starts a month behind, and gets the time after a minute: no gap of a month",
    ),
    Rule(
        "clock_unsteady",
        "the player's clock was set more than three times: events are dated by their arrival",
        "a clock that is an hour further off every few minutes",
    ),
    Rule(
        "clock_odd",
        "an event is dated by its arrival, as its timestamp lies far ahead of the others",
        "the last ping says that it is an hour later than it can be: no gap of an hour",
    ),
    Rule(
        "bitrate_kbps",
        "its bitrates are probably kbit/s: nothing is converted",
        "all bitrates of the session are under 100,000",
    ),
    Rule(
        "playhead_units",
        "its playheads are probably no seconds: nothing is converted",
        "content of 600 s, and a playhead of 250,000",
    ),
    Rule(
        "out_of_place",
        "an event made no sense where it came",
        "an adComplete without an adStart, or an ad outside of a break",
    ),
    Rule(
        "long_silence",
        "a silence was longer than what the player did allows: that time is unknown",
        "buffering starts, the device sleeps, the next event comes after 3 hours: 3 hours of gap_s",
    ),
    Rule(
        "not_borne_out",
        "in a silence the playhead moved less than the clock: the difference is unknown",
        "55 s without an event while playing, and 2 s further: 2 s of content, 53 s of gap_s",
    ),
    Rule(
        "steady_rate",
        "a speed other than 1 was found from the playhead",
        "a ping every 10 s, each 15 s further: 1.5x, all of it played, no seek",
    ),
    Rule(
        "fast_forward",
        "the playhead ran faster than twice the clock, and no speed was named: not played",
        "+15 s pressed every 10 s, each ping 25 s further: content time, but no unique play, and one seek",
    ),
    Rule(
        "playhead_stood",
        "the player reported that it played, and the playhead did not move: a stall",
        "pings at 10, 20 and 30 s all say 10: 20 s of stall_time_s",
    ),
    Rule(
        "playhead_never_moved",
        "the player said that it played, and the playhead never moved: unknown",
        "30 pings in 300 s of recorded video all say 0: 300 s of gap_s",
    ),
    Rule(
        "stood_at_end",
        "the playhead stayed at the end of the content: idle",
        "content of 30 s, and pings up to 60 s that say 30: 30 s of idle_s",
    ),
    Rule(
        "stood_after_error",
        "the playhead did not move after an error: idle",
        "an error at 20 s, and pings up to 50 s that say 20: 30 s of idle_s, no stall",
    ),
    Rule(
        "stood_at_zero",
        "the playhead fell to 0 and stayed there: idle",
        "a player that is torn down at 20 minutes goes on to send pings that say 0",
    ),
    Rule(
        "play_unsaid",
        "the playhead moved on although the player did not say that it played: content",
        "no play after a bufferStart, and pings that move on for 20 minutes: 20 minutes of content",
    ),
    Rule(
        "break_unclosed",
        "an ad break was never closed, and content played on",
        "the adBreakComplete is lost, and pings move on after the ad: content from there on",
    ),
    Rule(
        "startup_unknown",
        "no play tells when content started, or starting contained a long silence",
        "the first play comes 3 hours after the sessionStart: startup_s is null",
    ),
    Rule(
        "ad_too_long",
        "an ad was reported to play longer than its length and 5 s: the rest is unknown",
        "an ad of 15 s whose end is lost in live content, and pings for 10 minutes: 20 s of ad_time_s",
    ),
    Rule(
        "looped",
        "the playhead passed the end and went on from 0",
        "a clip of 60 s, pings that say 50 and then 0: 10 s played, no seek",
    ),
    Rule(
        "playhead_reset",
        "the last events say that the playhead is 0: the one before them is the last",
        "pings up to 1200, then a sessionEnd that says 0: last_playhead_s is 1200",
    ),
    Rule(
        "ranges_joined",
        "too many ranges were played to keep all: the nearest were joined",
        "400 seeks to 400 places: unique_played_s is right within played_error_s",
    ),
)
