"""What simulated viewers do: from a seed to one session's events, and to what is true about them. Pure.

A script knows nothing of the wall clock: its times are milliseconds since its own start. It is written scene by
scene: a function each, which says what the viewer does (`tape.wait`), what its player sends (`tape.post`), and
what that makes true (`tape.add`, `tape.set`).
"""

import random
from typing import Any

import msgspec

from players.bodies import FAULTS
from players.personas import Persona, Player, make_persona
from players.tape import DAY_S, Activity, Step, Tape

# Names, and lengths in seconds.
FILMS = (
    ("Sintel, the trailer", 60.0),
    ("Spring – erste Bilder für alle", 93.5),
    ("Caminandes: Llamigos", 180.0),
    ("Big Buck Bunny", 600.0),
    ("Elephants Dream", 600.0),
    ("The long documentary, part 1", 2700.0),
    ("The long documentary, part 2", 2700.0),
)
CHANNELS = (("News around the clock", float(DAY_S)), ("Sports, live", float(DAY_S)))
STATES = ("fullscreen", "mute", "closedCaptioning", "pictureInPicture")


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A session to play. `steps` are in the order of sending, which is not always that of happening.

    `is_glance` says that it is short and played in real time. `age_ms` is how long before its upload an offline
    session ended; `posted_twice` says that its player uploads it again, as one does whose reply was lost.
    """

    name: str
    persona: Persona
    steps: tuple[Step, ...]
    duration_ms: int
    is_ended: bool
    is_glance: bool = False
    age_ms: int = 0
    posted_twice: bool = False
    deletes_tracking: bool = False


def make_script(seed: int, viewer: int, number: int) -> Script:
    """Make the session that this seed, viewer and number always give."""
    persona = make_persona(seed, viewer)
    name = f"{seed}.{viewer}.{number}"
    rng = random.Random(name)
    is_offline = bool(persona.player.upload)
    is_live = not is_offline and rng.random() < 0.15
    title, length_s = rng.choice(CHANNELS if is_live else FILMS)
    tape = Tape(name, rng, persona, title=title, length_s=length_s, is_live=is_live)
    is_glance = not is_offline and rng.random() < 0.3
    if is_glance:
        _glance(tape)
    else:
        _play_session(tape)
    steps = tape.steps
    if not is_offline:
        steps = _with_faults(rng, _out_of_order(rng, persona.player, steps))
    return Script(
        name=name,
        persona=persona,
        steps=tuple(steps),
        duration_ms=tape.at_ms,
        is_ended=tape.steps[-1].event_type == "sessionEnd",
        is_glance=is_glance,
        age_ms=rng.randrange(60_000, 20 * 86_400_000) if is_offline else 0,
        posted_twice=is_offline and rng.random() < 0.3,
        deletes_tracking=bool(persona.tracking) and rng.random() < 0.1,
    )


def _out_of_order(rng: random.Random, player: Player, steps: list[Step]) -> list[Step]:
    """Let an event be overtaken now and then, where a player has several requests in flight."""
    if player.in_flight_max == 1:
        return steps
    steps = list(steps)
    for index in range(1, len(steps) - 2):
        if rng.random() < 0.06 and steps[index + 1].at_ms != steps[index].at_ms:
            steps[index], steps[index + 1] = steps[index + 1], steps[index]
    return steps


def _with_faults(rng: random.Random, steps: list[Step]) -> list[Step]:
    """Put a body that must be refused into some sessions, as buggy players do."""
    if rng.random() < 0.08:
        fault = rng.choice(tuple(FAULTS))
        index = rng.randrange(len(steps))
        steps = [*steps[:index], msgspec.structs.replace(steps[index], fault=fault), *steps[index:]]
    return steps


# ---- whole sessions


def _glance(tape: Tape) -> None:
    """Look at something for some seconds."""
    _start(tape)
    _first_frame(tape)
    _watch(tape, 2.0)
    _toggle_state(tape)
    _watch(tape, tape.rng.choice((0.5, 2.0)))
    if tape.rng.random() < 0.7:
        _end(tape)


def _play_session(tape: Tape) -> None:
    rng = tape.rng
    _start(tape)
    first = rng.choices(("", "pre-roll", "error", "leave"), (52, 35, 8, 5))[0]
    if first == "pre-roll":
        _pre_roll(tape)
    elif first == "error":
        _fail(tape)
        tape.wait(0.4, "joining")
    if first == "leave" or (first == "error" and rng.random() < 0.3):
        if rng.random() < 0.5:
            _end(tape)
        return
    _first_frame(tape)
    has_chapters = not tape.is_live and rng.random() < 0.3
    if has_chapters:
        _open_chapter(tape)
    scenes = {
        _pause: 20,
        _seek: 10,
        _buffer: 15,
        _stall: 8,
        _go_away: 4,
        _slip: 6,
        _fail: 6,
        _change_bitrate: 14,
        _toggle_state: 14,
        _mid_roll: 15,
        _stitched_ad: 4,
        _next_chapter: 20 if has_chapters else 0,
    }
    for _ in range(rng.choices((1, 2, 3, 5, 8), (20, 30, 25, 15, 10))[0]):
        _watch(tape, rng.choice((3.0, 7.5, 12.0, 25.0, 40.0)))
        if not tape.left_s:
            break
        rng.choices(tuple(scenes), tuple(scenes.values()))[0](tape)
    _leave(tape)


# ---- the beginning


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
    """Wait for the first frame; some buffer meanwhile and say so, some tell of it too early."""
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


# ---- main content


def _watch(tape: Tape, seconds: float) -> None:
    """Play content, never past its end."""
    tape.wait(min(seconds, tape.left_s), "content")


def _stop(tape: Tape, during: Activity) -> None:
    """Pause. Not in the millisecond in which it began to play: which of the two came first, nobody could tell."""
    if tape.steps[-1].at_ms == tape.at_ms:
        tape.wait(0.001, during)
    tape.add(pauses=1)
    tape.post("pauseStart")


def _pause(tape: Tape) -> None:
    _stop(tape, "content")
    tape.wait(tape.rng.choice((0.8, 4.0, 15.0, 45.0)), "paused")
    tape.post("play")


def _seek(tape: Tape) -> None:
    """Seek as SDKs tell it: a pause or buffering, then `play` elsewhere. A live stream only stops and goes on."""
    if tape.rng.random() < 0.6:
        _stop(tape, "content")
        tape.wait(0.6, "paused")
    else:
        tape.add(buffers=1, rebuffers=1)
        tape.post("bufferStart")
        tape.wait(0.6, "rebuffering")
    if tape.is_live:
        tape.post("play")
        return
    to_s = round(tape.rng.uniform(0, tape.length_s * 0.9), 3)
    _land(tape, to_s if abs(to_s - tape.position_s) > 5.0 else tape.position_s + 5.0)


def _land(tape: Tape, to_s: float) -> None:
    """Play on elsewhere; only the event after it shows that this was no slip of one playhead."""
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
    """Stand still without saying so: the bitrate goes down, the playhead stands, in the end it plays on.

    One event cannot show that, nor can two: only a third one that says the same playhead does.
    """
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
    tape.wait(4.0, "stalled")
    tape.post("ping")
    tape.unclear = ()
    tape.wait(4.0, "stalled")
    tape.post("ping")
    tape.wait(tape.rng.choice((0.7, 5.0, 25.0)), "stalled")
    tape.post("play")


def _go_away(tape: Tape) -> None:
    """Close the lid while it plays, and open it again a while later."""
    tape.post("ping")
    tape.wait(tape.rng.choice((65.0, 100.0, 180.0)), "away")
    tape.post("ping")


def _slip(tape: Tape) -> None:
    """Play on, but say 0, -1 or nonsense once, as an SDK does whose player is busy; early on nobody could tell."""
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
    """Turn a player state on, and mostly off again; some players tell of two at once."""
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


# ---- ads


def _mid_roll(tape: Tape) -> None:
    _ad_break(tape, pod_index=2 + tape.metrics.ad_breaks, name="mid-roll")
    if tape.rng.random() < 0.6:  # the others go on playing without saying so
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
    """Play an ad that is part of the stream and in no break: it is told of, but to the player it is content."""
    tape.add(ads_outside_break=1)
    tape.post("adStart", _ad_params(tape, 1, 6.0), metadata={"ad.slot": "stitched"})
    _watch(tape, 6.0)
    tape.post("adComplete")


# ---- chapters


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
    """Go on to the next chapter: with the end of this one, by skipping it, or without a word about it."""
    how = tape.rng.choices(("completed", "skipped", "aborted"), (70, 15, 15))[0]
    _close_chapter(tape, how)
    if how == "completed":
        tape.add(chapters_completed=1)
        tape.post("chapterComplete")
    elif how == "skipped":
        tape.post("chapterSkip")
    _open_chapter(tape)


# ---- the end


def _leave(tape: Tape) -> None:
    """End as sessions end: after the last frame, stopped on the way, by an error, in an ad, or just gone."""
    rng = tape.rng
    if not tape.is_live and rng.random() < 0.5:
        _see_the_end(tape)
        if rng.random() < 0.6:
            tape.wait(rng.choice((0.0, 2.0)), "idle")
            _end(tape)
        return
    if rng.random() < 0.1:
        _watch(tape, 1.0)
        _fail(tape)
    elif tape.left_s > 5.0 and rng.random() < 0.15:
        _watch(tape, 3.0)
        _open_break(tape, 90, "the last")
        _start_ad(tape, 1, 10.0)
        tape.wait(4.0, "ad")
    if rng.random() < 0.6 or tape.player.upload:
        _end(tape)


def _see_the_end(tape: Tape) -> None:
    if tape.left_s > 60:
        _stop(tape, "content")
        tape.wait(0.6, "paused")
        _land(tape, tape.length_s - 8.0)
    _watch(tape, 60.0)
    tape.set(is_completed=True, is_failed=False)
    tape.post("sessionComplete")


def _end(tape: Tape) -> None:
    """End, and with the session whatever is open."""
    if tape.metrics.chapters_by_outcome.get("open"):
        _close_chapter(tape, "aborted")
    if tape.metrics.ad_breaks > tape.metrics.ad_breaks_completed:
        tape.add(ads_aborted=1)
    tape.post("sessionEnd")
