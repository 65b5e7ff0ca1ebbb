"""Ad breaks and ads: which started, how long each played, how it ended.

* A break keeps the main player's state and gives it back at its end; inside it an ad plays from its start on.
* An ad or a break ends with its own end, or is aborted: by the next one, by the end of its break, by the end of
  the session, by an unsaid play (`evidence.py`).
* `ad_too_long`: an ad plays no longer than its length and 5 s (`AD_MARGIN_MS`); more of its time is unknown, and
  follows. Of no or zero length: no bound but silence. Pauses and buffering in it do not count towards the bound.
* An ad outside of a break (server-side insertion) has a row among the ads, without a break, and is counted in
  `ads_outside_break` and in no other count of ads. Its time is `ad_time_outside_breaks_s`, not `ad_time_s`. It
  plays while main content is at join or content. In recorded content that is at content, an interval is main
  content, not the ad, where both playheads are known and it moved back, or forward by a fifth of the interval or
  more, and by more than 0. More time than its bound (length and 5 s) is join or content, whichever main content is
  at. At content it is over then: aborted at the event with which the bound was reached, unless that ends it; at
  join, it stays open until content starts. It ends by its own end, by the next ad or break, or as above. An end of
  a break that did not start ends none; sessionComplete does not either.
* `break_unclosed`: the end of a break is lost, and a play comes after its ads: when no ad of the break is open but
  one was, or the open one, of known length, has played to within 1 s of it (`OVER_MS`), and the play does not end
  a pause or buffering of the ads. If the first event 5 s (`RESUMED_MS`) or more after it, or the first error,
  sessionStart or event of a chapter, is no event of ads or breaks, and until then none of them came, nor a pause,
  buffering or play, it was a play of main content: the ad and the break are aborted at its moment, a buffering
  that the break interrupted has ended, main content has played since. Its playhead and that of the last event
  before the one that decides are a range if they are known and it moved forward by no more than max(1, rate) x
  seconds and 2 s; these two are progress. If that last event does not know the playhead, it may be a slip.
* Silence: `silence.py`.
"""

from typing import Any

from msgspec.structs import replace

from sessions.event import Event, read_object
from sessions.evidence import observe_from_here
from sessions.facts import Ad, AdBreak, Outcome, shifted
from sessions.params import common, integer, number
from sessions.player import settle
from sessions.playhead import follow, make_progress
from sessions.spans import count, count_rest
from sessions.state import AD, AD_OVER, CONTENT, FAR_FUTURE, OUTSIDE, State, with_entry

AD_MARGIN_MS = 5_000
STANDS = 0.2


def play_ad(state: State, now: int) -> None:
    """Count the time up to this event, with an ad of a break playing."""
    ms = now - state.now_ms
    within_ms = min(ms, _room_ms(state, AD))
    count(state, AD, within_ms)
    if within_ms < ms:
        count_rest(state, AD_OVER, ms - within_ms, state.now_ms + within_ms, state.head)


def _room_ms(state: State, what: int) -> int:
    """Return for how long the ad that is open may still play."""
    length_s = state.ad.length_s if state.ad is not None else None
    if not length_s or state.only_claims:
        return FAR_FUTURE
    return max(0, int(length_s * 1000) + AD_MARGIN_MS - (state.times[what] - state.ad_base_ms))


def play_outside(state: State, now: int, head: float) -> None:
    """Count the time up to this event, with an ad open outside of a break."""
    ms = now - state.now_ms
    if state.main == CONTENT and state.is_recorded and _is_content(state.head, head, ms):
        follow(state, now, head, ms)
        if head > state.head_max:
            make_progress(state, head)
        return
    within_ms = min(ms, _room_ms(state, OUTSIDE))
    count(state, OUTSIDE, within_ms)
    if within_ms < ms:
        count_rest(state, state.main, ms - within_ms, state.now_ms + within_ms, state.head)


def _is_content(was: float, head: float, ms: int) -> bool:
    """Return whether the playhead says that content played, and not an ad outside of a break."""
    if was < 0.0 or head < 0.0:
        return False
    return head < was or (head > was and head - was >= STANDS * ms / 1000)


def end_overdue_ad(state: State) -> None:
    """End an ad outside of a break that has played for as long as it may."""
    if not _room_ms(state, OUTSIDE):
        close_ad(state, "aborted")


def start_break(state: State, event: Event) -> None:
    """Start an ad break; what is open of the break before is aborted."""
    close_ad(state, "aborted")
    close_break(state, "aborted")
    state.resumed_ms = FAR_FUTURE
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
    observe_from_here(state)


def finish_break(state: State, outcome: Outcome) -> None:
    """End the ad break, and give the player back to main content."""
    if not state.in_break:
        return
    close_ad(state, "aborted")
    close_break(state, outcome)
    leave_break(state)
    settle(state)
    observe_from_here(state)


def leave_break(state: State) -> None:
    """Be outside of ad breaks from here on."""
    state.in_break = False
    state.resumed_ms = FAR_FUTURE


def close_break(state: State, outcome: Outcome, *, at_ms: int | None = None) -> None:
    """Put the ad break that is open, if any, into the list; it ended now, or at another moment."""
    if state.ad_break is not None:
        state.ad_breaks_completed += outcome == "completed"
        state.breaks = with_entry(state, state.breaks, _break_so_far(state, outcome, at_ms))
        state.ad_break = None


def _break_so_far(state: State, outcome: Outcome, at_ms: int | None = None) -> AdBreak:
    assert state.ad_break is not None
    ended_ms = state.now_ms if at_ms is None else at_ms
    return replace(
        state.ad_break,
        ads=state.ads_started - state.break_base_ads,
        ended_ms=ended_ms,
        time_s=(ended_ms - state.ad_break.started_ms) / 1000,
        outcome=outcome,
    )


def start_ad(state: State, event: Event) -> None:
    """Start an ad, of the break or outside of one; the ad before is aborted."""
    close_ad(state, "aborted")
    state.resumed_ms = FAR_FUTURE
    params = read_object(event.params)
    state.is_ad_outside = not state.in_break
    state.ads_outside_break += state.is_ad_outside
    state.ads_started += state.in_break
    state.ad_base_ms = state.times[OUTSIDE if state.is_ad_outside else AD]
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


def close_ad(state: State, outcome: Outcome, *, at_ms: int | None = None) -> None:
    """Put the ad that is open, if any, into the list; it ended now, or at another moment."""
    if state.ad is not None:
        if not state.is_ad_outside:
            state.ads_completed += outcome == "completed"
            state.ads_skipped += outcome == "skipped"
            state.ads_aborted += outcome == "aborted"
        state.ads = with_entry(state, state.ads, _ad_so_far(state, outcome, at_ms))
        state.ad = None
        state.is_ad_outside = False
        settle(state)


def _ad_so_far(state: State, outcome: Outcome, at_ms: int | None = None) -> Ad:
    assert state.ad is not None
    time_s = (state.times[OUTSIDE if state.is_ad_outside else AD] - state.ad_base_ms) / 1000
    return replace(state.ad, ended_ms=state.now_ms if at_ms is None else at_ms, time_s=time_s, outcome=outcome)


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
