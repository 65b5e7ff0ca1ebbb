"""What happens in a session, scene by scene."""

from typing import Any

from players.personas import Persona
from players.tape import DAY_S, Activity, Tape

STATES = ("fullscreen", "mute", "closedCaptioning", "pictureInPicture")


def _start(tape: Tape) -> None:
    persona, rng = tape.persona, tape.rng
    if tape.is_live:
        tape.position_s = float(rng.randrange(1000, DAY_S))
    elif rng.random() < 0.15:
        tape.set(is_resumed=True)
        tape.position_s = round(tape.length_s * rng.uniform(0.1, 0.6), 3)
    params: dict[str, Any] = {
        "analytics.trackingServer": "metrics.example.com",
        "analytics.reportSuite": "example-suite",
        "visitor.marketingCloudOrgId": "0123456789ABCDEF@ExampleOrg",
        "media.id": tape.content_id,
        "media.length": tape.length_s if not tape.is_live else rng.choice((86_400, 86_400, 0, -1)),
        "media.contentType": rng.choice(("live", "Live")) if tape.is_live else rng.choice(("vod", "VOD")),
        "media.playerName": f"{persona.player.name} player",
        "media.channel": rng.choice(("web", "app", "sports")),
        "media.name": tape.title,
        "media.streamType": "video",
        "media.resume": tape.metrics.is_resumed,
        "media.sdkVersion": rng.choice(("4.1.0", "4.2.0")),
        "media.libraryVersion": f"{persona.player.name}-3.1.0",
        **_identities(persona),
    }
    if persona.player.upload:
        params["media.downloaded"] = True
    metadata = {"page.section": rng.choice(("home", "search"))}
    if persona.denial == "metadata":
        metadata["consent"] = "denied"
    tape.post("sessionStart", params, metadata=metadata)


def _identities(persona: Persona) -> dict[str, Any]:
    identities: dict[str, Any] = {}
    if persona.user_id is not None and persona.user_id_in == "visitorId":
        identities["analytics.visitorId"] = persona.user_id
    if persona.user_id is not None and persona.user_id_in == "customerIDs":
        identities["visitor.customerIDs"] = {"crm": {"id": persona.user_id, "authState": 1}}
    if persona.device_id is not None:
        identities["appInstallationId"] = persona.device_id
    return identities


def _pre_roll(tape: Tape) -> None:
    tape.wait(tape.rng.choice((0.1, 0.6)), "joining")
    _ad_break(tape, pod_index=1, name="pre-roll")


def _first_frame(tape: Tape) -> None:
    """Wait for the first frame; some players report buffering meanwhile, some report it too early."""
    rng = tape.rng
    is_early = tape.player.plays_early and len(tape.steps) == 1
    if not is_early:
        tape.wait(rng.choice((0.25, 0.4, 1.2, 3.7)), "joining")
        if rng.random() < 0.2:
            tape.add(buffers=1)
            tape.post("bufferStart")
            tape.wait(rng.choice((0.3, 2.0)), "first buffering")
    tape.begin_content()
    tape.set(time_to_start_ms=tape.at_ms)
    qoe = {**tape.measure(), "media.qoe.timeToStart": tape.at_ms}
    if is_early:  # its queue stamps `play` before the request that opens the session
        tape.unclear = ("last_playhead_s",)
        tape.post("play", qoe=qoe, early_ms=1)
        tape.unclear = ()
    else:
        tape.post("play", qoe=qoe)
    if tape.player.second_play == "equal":
        tape.post("play")
        tape.post_again()
    elif tape.player.second_play == "later":
        _watch(tape, 1.0)
        tape.post("play")


def _watch(tape: Tape, seconds: float) -> None:
    """Play content, never past its end."""
    tape.wait(min(seconds, tape.left_s), "content")


def _stop(tape: Tape, during: Activity) -> None:
    """Pause, but not in the millisecond in which playing began: the order of the two would be unknown."""
    if tape.steps[-1].at_ms == tape.at_ms:
        tape.wait(0.001, during)
    tape.add(pauses=1)
    tape.post("pauseStart")


def _pause(tape: Tape) -> None:
    _stop(tape, "content")
    tape.wait(tape.rng.choice((0.8, 4.0, 15.0, 45.0)), "paused")
    tape.post("play")


def _seek(tape: Tape) -> None:
    """Seek as SDKs report it: a pause or buffering, then `play` elsewhere. A live stream stops and resumes."""
    if tape.rng.random() < 0.6:
        _stop(tape, "content")
        tape.wait(0.6, "paused")
    else:
        tape.add(buffers=1, rebuffers=1, seek_buffers=0 if tape.is_live else 1)
        tape.unclear = ("seek_buffers", "seek_buffer_time_s")
        tape.post("bufferStart")
        tape.wait(0.6, "rebuffering" if tape.is_live else "seeking")
        tape.unclear = ()
    if tape.is_live:
        tape.post("play")
        return
    to_s = round(tape.rng.uniform(0, tape.length_s * 0.9), 3)
    _land(tape, to_s if abs(to_s - tape.position_s) > 5.0 else tape.position_s + 5.0)


def _land(tape: Tape, to_s: float) -> None:
    """Continue elsewhere; only the following event shows that this was not a slip of one playhead."""
    tape.position_s = round(to_s, 3)
    tape.add(seeks=1)
    tape.unclear = ("seeks",)
    tape.post("play")
    tape.unclear = ()


def _buffer(tape: Tape) -> None:
    tape.add(buffers=1, rebuffers=1)
    tape.post("bufferStart")
    tape.wait(tape.rng.choice((0.3, 1.5, 6.0, 22.0)), "rebuffering")
    tape.post("play")


def _stall(tape: Tape) -> None:
    """Stall without an event: the bitrate drops, the playhead does not move, then playing continues.

    One observation cannot show that, nor can two: only a third one that says the same playhead does. A live
    playhead shows nothing.
    """
    if tape.is_live:
        return
    tape.add(stalls=1)
    tape.unclear = (
        "stalls",
        "stall_time_s",
        "content_time_s",
        "media_time_s",
        "average_bitrate_bps",
        "chapter_time_s",
    )
    _change_bitrate(tape)
    for _ in range(2):
        tape.wait(4.0, "stalled")
        tape.post("ping")
    tape.unclear = ()
    tape.wait(4.0, "stalled")
    tape.post("ping")
    tape.wait(tape.rng.choice((0.7, 5.0, 25.0)), "stalled")
    tape.post("play")


def _go_away(tape: Tape) -> None:
    """Close the lid while playing, and open it again later."""
    tape.post("ping")
    tape.wait(tape.rng.choice((100.0, 180.0) if tape.is_live else (65.0, 100.0, 180.0)), "away")
    tape.post("ping")


def _slip(tape: Tape) -> None:
    """Play on, but send a playhead of 0, -1 or nonsense once, as busy SDKs do; early on it would be ambiguous."""
    if tape.is_live or tape.position_s < 10.0 or tape.left_s < 10.0:
        return
    tape.post("ping")
    _watch(tape, 2.0)
    tape.unclear = ("seeks", "last_playhead_s", "progress_pct", "unique_played_s", "played_passes")
    tape.post("ping", playhead_s=tape.rng.choice((0.0, -1.0, 1e6)))
    tape.unclear = ()
    _watch(tape, 2.0)
    tape.post("ping")


def _fail(tape: Tape) -> None:
    rng = tape.rng
    tape.add(errors=1, errors_before_start=0 if tape.metrics.is_started else 1)
    tape.set(is_failed=True)
    source = rng.choice(("player", "external"))
    match tape.player.error_form:
        case "qoe":
            error_id = rng.choice(("decode-3016", "drm-6001"))
            tape.add_to("errors_by_source", f"{source}/{error_id}", 1)
            tape.post("error", qoe={"media.qoe.errorID": error_id, "media.qoe.errorSource": source})
        case "params":
            tape.add_to("errors_by_source", f"{source}/network-2001", 1)
            tape.post("error", {"media.errorId": "network-2001", "media.errorSource": source})
        case "bare":
            tape.add_to("errors_by_source", "None/None", 1)
            tape.post("error")


def _change_bitrate(tape: Tape) -> None:
    tape.add(bitrate_changes=1)
    if tape.player.says_bitrate:
        tape.post("bitrateChange", qoe=tape.measure())
    else:
        tape.lose_bitrate()
        tape.post("bitrateChange", qoe={})


def _toggle_state(tape: Tape) -> None:
    """Turn a player state on, and mostly off again; some players report two at once."""
    first, second = ({"media.state.name": name} for name in tape.rng.sample(STATES, 2))
    if tape.player.name == "queue":
        tape.turn_on(*first.values(), *second.values())
        tape.post("statesUpdate", {"statesStart": [first, second], "statesEnd": []})
        _watch(tape, 2.0)
        tape.turn_off(*first.values())
        tape.post("statesUpdate", {"statesEnd": [first]})
        return
    tape.turn_on(*first.values())
    tape.post("stateStart", first)
    _watch(tape, 2.0)
    if tape.rng.random() < 0.7:
        tape.turn_off(*first.values())
        tape.post("stateEnd", first)


def _mid_roll(tape: Tape) -> None:
    _ad_break(tape, pod_index=2 + tape.metrics.ad_breaks, name="mid-roll")
    if tape.rng.random() < 0.6:  # the others continue without an event
        tape.post("play")


def _ad_break(tape: Tape, pod_index: int, name: str) -> None:
    rng = tape.rng
    _open_break(tape, pod_index, name)
    for position in range(1, rng.choice((1, 1, 2, 3)) + 1):
        tape.wait(0.2, "idle")
        outcome = rng.choices(("complete", "skip", "abort"), (75, 15, 10))[0]
        _ad(tape, position, outcome)
        if outcome == "abort":
            break
    tape.ad_break = ""
    tape.add(ad_breaks_completed=1)
    tape.post("adBreakComplete")


def _open_break(tape: Tape, pod_index: int, name: str) -> None:
    tape.ad_break = str(pod_index)
    tape.add(ad_breaks=1)
    pod = {
        "media.ad.podIndex": pod_index,
        "media.ad.podSecond": round(tape.position_s, 3),
        "media.ad.podFriendlyName": name,
    }
    tape.post("adBreakStart", pod)


def _ad(tape: Tape, position: int, outcome: str) -> None:
    """Play an ad in a break; it may be paused, or buffer."""
    rng = tape.rng
    length_s = rng.choice((6.0, 10.0, 15.0, 30.0))
    _start_ad(tape, position, length_s)
    if not tape.metrics.is_started and tape.player.second_play == "later":
        tape.post("play")
    tape.wait(length_s if outcome == "complete" else length_s / 3, "ad")
    if rng.random() < 0.1:
        _stop(tape, "ad")
        tape.wait(2.5, "paused")
        tape.post("play")
        tape.wait(1.5, "ad")
    if rng.random() < 0.1:
        tape.add(buffers=1)
        tape.post("bufferStart")
        tape.wait(2.0, "ad buffering")
        tape.post("play")
        tape.wait(1.5, "ad")
    if outcome == "complete":
        tape.add(ads_completed=1)
        tape.post("adComplete")
    elif outcome == "skip":
        tape.add(ads_skipped=1)
        tape.post("adSkip")
    else:
        tape.add(ads_aborted=1)


def _start_ad(tape: Tape, position: int, length_s: float) -> None:
    tape.ad = f"{tape.ad_break}/{position}"
    tape.add(ads_started=1)
    tape.post("adStart", _ad_params(tape, position, length_s), metadata={"ad.slot": str(position)})


def _ad_params(tape: Tape, position: int, length_s: float) -> dict[str, Any]:
    return {
        "media.ad.id": f"ad-{tape.rng.randrange(12)}",
        "media.ad.length": length_s,
        "media.ad.podPosition": position,
        "media.ad.playerName": f"{tape.player.name} ads",
        "media.ad.advertiser": tape.rng.choice(("Example Cars", "Example Soap")),
    }


def _stitched_ad(tape: Tape) -> None:
    """Play an ad that is part of the stream, without a break. A recorded playhead that moves on says content."""
    tape.add(ads_outside_break=1)
    tape.ad = "None/1"
    tape.post("adStart", _ad_params(tape, 1, 6.0), metadata={"ad.slot": "stitched"})
    if tape.is_live or tape.rng.random() < 0.5:
        tape.wait(6.0, "ad outside")
    else:
        _watch(tape, 6.0)
    tape.post("adComplete")


def _open_chapter(tape: Tape) -> None:
    tape.chapter = str(int(tape.chapter or 0) + 1)
    params = {
        "media.chapter.index": int(tape.chapter),
        "media.chapter.offset": round(tape.position_s, 3),
        "media.chapter.length": 20.0,
        "media.chapter.friendlyName": f"Chapter {tape.chapter}",
    }
    tape.add(chapters_started=1)
    tape.add_to("chapters_by_outcome", "open", 1)
    tape.post("chapterStart", params, metadata={"chapter.mood": "calm"})


def _close_chapter(tape: Tape, outcome: str) -> None:
    tape.add_to("chapters_by_outcome", "open", -1)
    tape.add_to("chapters_by_outcome", outcome, 1)


def _next_chapter(tape: Tape) -> None:
    """Go to the next chapter: by completing this one, by skipping it, or without an event for its end."""
    how = tape.rng.choices(("completed", "skipped", "aborted"), (70, 15, 15))[0]
    _close_chapter(tape, how)
    if how == "completed":
        tape.add(chapters_completed=1)
        tape.post("chapterComplete")
    elif how == "skipped":
        tape.post("chapterSkip")
    _open_chapter(tape)


def _see_the_end(tape: Tape) -> None:
    if tape.left_s > 60:
        _stop(tape, "content")
        tape.wait(0.6, "paused")
        _land(tape, tape.length_s - 8.0)
    _watch(tape, 60.0)
    tape.set(is_completed=True, is_failed=False)
    tape.post("sessionComplete")


def _end(tape: Tape) -> None:
    """End the session, and whatever is open in it."""
    if tape.metrics.chapters_by_outcome.get("open"):
        _close_chapter(tape, "aborted")
    if tape.metrics.ad_breaks > tape.metrics.ad_breaks_completed:
        tape.add(ads_aborted=1)
    tape.post("sessionEnd")
