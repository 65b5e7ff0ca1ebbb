"""Ad breaks and ads: which started, how long each played, how it ended.

* A break keeps the main player's state and gives it back at its end; inside it an ad plays from its start on.
* An ad outside of a break is not an ad: its time is what the main player does.
* An ad or a break ends with its own end, or is aborted: by the next one, by the end of its break, by the end of
  the session.
* Gap: an ad may be silent for `gap_ms` and its own length.
"""

from typing import Any

from msgspec.structs import replace

from sessions.event import Event, read_object
from sessions.facts import Ad, AdBreak, Outcome, shifted
from sessions.params import common, integer, number
from sessions.player import settle
from sessions.state import AD, CONTENT, GAP, State, with_entry


def play_ad(state: State, now: int) -> None:
    """Count the time up to this event, with an ad playing."""
    silent = now - state.now_ms
    state.times[AD if silent <= state.gap_ms or _is_within_ad(state, silent) else GAP] += silent


def start_break(state: State, event: Event) -> None:
    """Start an ad break; what is open of the break before is aborted."""
    close_ad(state, "aborted")
    close_break(state, "aborted")
    params = read_object(event.params)
    state.ad_breaks += 1
    state.break_base_ads = state.ads_started
    state.ad_break = AdBreak(
        index=integer(params.get("media.ad.podIndex")),
        name=common(params.get("media.ad.podFriendlyName")),
        offset_s=number(params.get("media.ad.podSecond")),
        ads=0,
        started_ms=event.order_ms,
        ended_ms=event.order_ms,
        time_s=0.0,
        outcome="open",
    )
    state.in_break = True
    state.break_player = CONTENT
    settle(state)


def finish_break(state: State, outcome: Outcome) -> None:
    """End the ad break, and give the player back to main content."""
    close_ad(state, "aborted")
    close_break(state, outcome)
    state.in_break = False
    settle(state)


def close_break(state: State, outcome: Outcome) -> None:
    """Put the ad break that is open, if any, into the list."""
    if state.ad_break is not None:
        state.ad_breaks_completed += outcome == "completed"
        state.breaks = with_entry(state, state.breaks, _break_so_far(state, outcome))
        state.ad_break = None


def _break_so_far(state: State, outcome: Outcome) -> AdBreak:
    assert state.ad_break is not None
    return replace(
        state.ad_break,
        ads=state.ads_started - state.break_base_ads,
        ended_ms=state.now_ms,
        time_s=(state.now_ms - state.ad_break.started_ms) / 1000,
        outcome=outcome,
    )


def start_ad(state: State, event: Event) -> None:
    """Start an ad of the break; the ad before is aborted."""
    if not state.in_break:
        state.ads_outside_break += 1
        return
    close_ad(state, "aborted")
    params = read_object(event.params)
    state.ads_started += 1
    state.ad_base_ms = state.times[AD]
    state.ad = Ad(
        ad_id=common(params.get("media.ad.id")),
        name=common(params.get("media.ad.name")),
        advertiser=common(params.get("media.ad.advertiser")),
        campaign_id=common(params.get("media.ad.campaignId")),
        creative_id=common(params.get("media.ad.creativeId")),
        player_name=common(params.get("media.ad.playerName")),
        length_s=number(params.get("media.ad.length")),
        break_index=state.ad_break.index if state.ad_break is not None else None,
        position=integer(params.get("media.ad.podPosition")),
        started_ms=event.order_ms,
        ended_ms=event.order_ms,
        time_s=0.0,
        outcome="open",
    )
    state.break_player = CONTENT
    settle(state)


def close_ad(state: State, outcome: Outcome) -> None:
    """Put the ad that is open, if any, into the list."""
    if state.ad is not None:
        state.ads_completed += outcome == "completed"
        state.ads_skipped += outcome == "skipped"
        state.ads_aborted += outcome == "aborted"
        state.ads = with_entry(state, state.ads, _ad_so_far(state, outcome))
        state.ad = None
        settle(state)


def _ad_so_far(state: State, outcome: Outcome) -> Ad:
    assert state.ad is not None
    time_s = (state.times[AD] - state.ad_base_ms) / 1000
    return replace(state.ad, ended_ms=state.now_ms, time_s=time_s, outcome=outcome)


def _is_within_ad(state: State, silent_ms: int) -> bool:
    length_s = state.ad.length_s if state.ad is not None else None
    return length_s is not None and silent_ms <= state.gap_ms + length_s * 1000


def facts_of_ads(state: State, offset_ms: int) -> dict[str, Any]:
    """Return what is known of ads, by the names of `SessionFacts`; moments are corrected by `offset_ms`."""
    ads = state.ads if state.ad is None else (*state.ads, _ad_so_far(state, "open"))
    breaks = state.breaks if state.ad_break is None else (*state.breaks, _break_so_far(state, "open"))
    return {
        "ads_started": state.ads_started,
        "ads_completed": state.ads_completed,
        "ads_skipped": state.ads_skipped,
        "ads_aborted": state.ads_aborted,
        "ads_outside_break": state.ads_outside_break,
        "ad_breaks": state.ad_breaks,
        "ad_breaks_completed": state.ad_breaks_completed,
        "ads": [shifted(ad, offset_ms) for ad in ads],
        "breaks": [shifted(ad_break, offset_ms) for ad_break in breaks],
    }
