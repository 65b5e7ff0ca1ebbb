"""What a player's developer copies from the documentation counts as the documentation says."""

import json
from typing import Any

import pytest
from rigs.visits import DATA
from rigs.whole import Stack

DOCUMENTED = json.loads((DATA / "documented_examples.json").read_text())


def documented(stack: Stack, name: str) -> dict[str, Any]:
    """Post a session of examples; return its row, its ads, chapters, states and errors in it."""
    events = DOCUMENTED["online"][name]
    return stack.session(stack.play(events), events=len(events))


def test_examples_of_events_give_their_numbers(stack: Stack) -> None:
    """Ads 5 s and 3 s, content 25 + 15 + 80 s, buffering 2 s, a pause of 4 s, full screen 27 s, an error."""
    row = documented(stack, "as the pages of events have them")
    assert (row["content_id"], row["content_type"], row["player_name"]) == ("film-77", "vod", "Web Player")
    assert (row["ad_time_s"], row["ads_completed"], row["ads_skipped"], row["ad_breaks_completed"]) == (8, 1, 1, 1)
    assert (row["content_time_s"], row["buffer_time_s"], row["pause_time_s"]) == (120, 2, 4)
    assert (row["is_completed"], row["chapters_completed"], row["chapters_started"]) == (True, 1, 2)
    assert (row["average_bitrate_bps"], row["bitrate_changes"], row["flags"]) == (3200, 1, ["bitrate_kbps"])
    assert [(error["error_id"], error["source"]) for error in row["playback_errors"]] == [
        ("media-error-9", "player")
    ]
    assert [(state["name"], state["time_s"]) for state in row["player_states"]] == [("fullscreen", 27)]
    flagged = stack.ask(
        "SELECT event_type, flags FROM events WHERE session_id = ? AND len(flags) > 0 ORDER BY log_offset",
        row["session_id"],
    )
    lacking = ("sessionStart", "adStart", "adStart")
    assert [(found["event_type"], found["flags"]) for found in flagged] == [
        (event_type, ["off_schema"]) for event_type in lacking
    ]


def test_quality_in_params_counts_as_in_qoe_data(stack: Stack) -> None:
    """Five pages of the documentation have it there."""
    row = documented(stack, "as the pages of variables have quality")
    assert (row["time_to_start_ms"], row["dropped_frames"]) == (1500, 3)
    assert (row["average_bitrate_bps"], row["bitrate_changes"], row["flags"]) == (4500, 3, ["bitrate_kbps"])
    sent = stack.ask(
        "SELECT params::JSON->>'$.\"media.qoe.bitrate\"' AS bitrate, qoe FROM events "
        "WHERE session_id = ? AND event_type = 'bitrateChange' ORDER BY log_offset",
        row["session_id"],
    )
    assert [(found["bitrate"], found["qoe"]) for found in sent] == [("4500", None), (None, None), (None, None)]


def test_bare_names_and_other_spellings_of_the_timelines_count(stack: Stack) -> None:
    """`bitrate` in qoeData, `media.qoe.media.errorSource`; an error without either is an error."""
    row = documented(stack, "as the timelines have them")
    assert (row["average_bitrate_bps"], row["ad_time_s"], row["flags"]) == (10_000, 7, ["bitrate_kbps"])
    errors = [(error["error_id"], error["source"]) for error in row["playback_errors"]]
    assert errors == [("e-22", "external"), (None, None)]


def test_names_in_any_case_are_one_name(stack: Stack) -> None:
    """`fullScreen` ends as `fullscreen`, `Live` is live; an update that names no state is flagged."""
    row = documented(stack, "as the page of several states has them")
    assert (row["content_type"], row["is_live"]) == ("live", True)
    states = {state["name"]: (state["starts"], state["time_s"], state["is_on"]) for state in row["player_states"]}
    assert states == {"mute": (1, 2, False), "pictureInPicture": (1, 2, False), "fullscreen": (1, 3, False)}
    (flagged,) = stack.ask(
        "SELECT event_type FROM events WHERE session_id = ? AND list_contains(flags, 'no_state')",
        row["session_id"],
    )
    assert flagged["event_type"] == "statesUpdate"


@pytest.mark.parametrize("path", DOCUMENTED["offline"])
def test_a_session_played_offline_comes_as_its_examples_have_it(stack: Stack, path: str) -> None:
    """At the route of its own without the flag, at the older one with it."""
    reply = stack.post(path, DOCUMENTED["offline"][path])
    assert reply.status_code == 201, reply.text
    row = stack.session(reply.headers["location"].rpartition("/")[2], events=6)
    assert (row["content_time_s"], row["is_completed"], row["is_downloaded"]) == (35, True, True)
