"""What simulated viewers play: from a seed to one session's events, and to what is true about them. Pure.

A script knows nothing of the wall clock: its times are milliseconds since its own start. The truth is not computed
from the events, but kept while they are written: whoever lets eight seconds of content pass adds eight seconds.

The players imitated differ as those in the field do: how often they ping and whether they do so while paused, how
many requests they have in flight, how often they try again, whether `play` comes twice, what the playhead is
before it is known, where an error says what it is.
"""

import hashlib
import random
import zlib
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from players.truth import Metrics

DAY_S = 86_400
Denial = Literal["Sec-GPC", "DNT", "X-Consent", "metadata"]

MARKERS_PCT = (10, 25, 50, 75, 95)

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


class Player(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of player, as its SDK behaves. `*_posts_max` counts the first try as well."""

    name: str
    in_flight_max: int = 1
    start_posts_max: int = 1
    event_posts_max: int = 1
    has_idempotency_keys: bool = False
    content_type: str = "application/json"
    ping_s: float = 10.0
    ad_ping_s: float = 10.0
    pings_while_waiting: bool = True
    second_play: Literal["", "later", "equal"] = ""
    plays_early: bool = False
    unknown_playhead: float = 0.0
    error_form: Literal["qoe", "params", "bare"] = "qoe"
    upload: Literal["", "/api/v1/downloaded", "/api/v1/sessions"] = ""


PLAYERS = (
    Player(name="browser", in_flight_max=5, start_posts_max=3, second_play="later"),
    Player(name="phone", start_posts_max=3, second_play="later"),
    Player(name="react-native", in_flight_max=3, second_play="equal", plays_early=True, error_form="bare"),
    Player(name="television", content_type="", pings_while_waiting=False, unknown_playhead=-1.0),
    Player(name="box", content_type="application/x-www-form-urlencoded", ad_ping_s=1.0, error_form="params"),
    Player(name="queue", in_flight_max=3, start_posts_max=8, event_posts_max=8, has_idempotency_keys=True),
    Player(name="offline-phone", start_posts_max=3, ping_s=50.0, ad_ping_s=50.0, upload="/api/v1/sessions"),
    Player(name="offline-tablet", start_posts_max=3, ping_s=50.0, ad_ping_s=50.0, upload="/api/v1/downloaded"),
)
_PLAYERS_OF_TWENTY = (6, 4, 2, 2, 2, 2, 1, 1)


class Persona(msgspec.Struct, frozen=True, kw_only=True):
    """Who a viewer is, in all of its sessions. `denial` is the way it says no, if it does."""

    viewer: int
    player: Player
    user_id: str | None = None
    user_id_in: Literal["visitorId", "customerIDs", "tracking"] = "visitorId"
    device_id: str | None = None
    denial: Denial | Literal[""] = ""
    clock_offset_ms: int = 0
    tracking: Literal["", "X-JAY-TRACKING", "__Secure-jay_tracking", "metadata"] = ""

    @property
    def may_be_known(self) -> bool:
        """Whether sessions of this viewer may carry its user id."""
        return self.user_id is not None and not self.denial


class Step(msgspec.Struct, frozen=True):
    """One event of a script: when, what (all of the body but `playerTime.ts`), and what is true after it.

    `number` counts events in the order of happening. `fault` names what is wrong with a body that must be refused.
    """

    number: int
    at_ms: int
    body: dict[str, Any]
    so_far: Metrics
    fault: str = ""

    @property
    def event_type(self) -> str:
        return str(self.body["eventType"])


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A session to play. `steps` are in the order of sending, which is not always that of happening.

    `age_ms` is how long before its upload an offline session ended; `posted_twice` says that its player uploads
    it again, as one does whose reply was lost.
    """

    name: str
    persona: Persona
    steps: tuple[Step, ...]
    duration_ms: int
    is_ended: bool
    age_ms: int = 0
    posted_twice: bool = False
    deletes_tracking: bool = False


def make_persona(seed: int, viewer: int) -> Persona:
    """Make the viewer that this seed and number always give."""
    rng = random.Random(f"{seed}/{viewer}")
    user_id, device_id = f"user-{_opaque(seed, viewer)}", f"device-{_opaque(seed, viewer, 'device')}"
    denials: tuple[Denial, ...] = ("Sec-GPC", "DNT", "X-Consent", "metadata")
    return Persona(
        viewer=viewer,
        player=_player_of(seed, viewer),
        user_id=user_id if rng.random() < 0.5 else None,
        user_id_in=rng.choice(("visitorId", "customerIDs", "tracking")),
        device_id=device_id if rng.random() < 0.4 else None,
        denial=rng.choice(denials) if rng.random() < 0.15 else "",
        clock_offset_ms=_clock_offset_ms(rng),
        tracking=rng.choice(("X-JAY-TRACKING", "__Secure-jay_tracking", "metadata")) if rng.random() < 0.5 else "",
    )


def _player_of(seed: int, viewer: int) -> Player:
    """Deal the kinds of player so that each twenty viewers have all of them."""
    twenty = random.Random(seed + viewer // 20).sample(PLAYERS, counts=_PLAYERS_OF_TWENTY, k=20)
    return twenty[viewer % 20]


def _clock_offset_ms(rng: random.Random) -> int:
    """Most clocks are right; some are minutes off, some by a time zone, some were never set."""
    kind = rng.choices(("right", "minutes", "zone", "never set"), (78, 12, 6, 4))[0]
    if kind == "right":
        return 0
    if kind == "minutes":
        return rng.randrange(-20 * 60_000, 20 * 60_000)
    if kind == "zone":
        return rng.choice((-8, -6, -5, 1, 2, 9)) * 3_600_000
    return -rng.randrange(1, 9) * 365 * 86_400_000


def make_script(seed: int, viewer: int, number: int) -> Script:
    """Make the session that this seed, viewer and number always give."""
    persona = make_persona(seed, viewer)
    name = f"{seed}.{viewer}.{number}"
    rng = random.Random(name)
    tape = _Tape(name, rng, persona)
    _play_session(tape)
    steps = tape.steps
    is_offline = bool(persona.player.upload)
    if not is_offline:
        steps = _with_faults(rng, _out_of_order(rng, persona.player, steps))
    return Script(
        name=name,
        persona=persona,
        steps=tuple(steps),
        duration_ms=tape.at_ms,
        is_ended=tape.steps[-1].event_type == "sessionEnd",
        age_ms=rng.randrange(60_000, 20 * 86_400_000) if is_offline else 0,
        posted_twice=is_offline and rng.random() < 0.3,
        deletes_tracking=bool(persona.tracking) and rng.random() < 0.1,
    )


def _opaque(*parts: object) -> str:
    """Make a text that parts always give and that says nothing about them."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:16]


class _Tape:
    """The script being written: the time and playhead it has come to, its steps, and what is true so far."""

    def __init__(self, name: str, rng: random.Random, persona: Persona) -> None:
        self.name, self.rng, self.persona = name, rng, persona
        self.player = persona.player
        self.steps: list[Step] = []
        self.at_ms = 0
        self.mode: Literal["starting", "playing", "paused", "buffering"] = "starting"
        self.in_ad = False
        self.is_live = not self.player.upload and rng.random() < 0.15
        self.metrics = Metrics() if self.is_live else Metrics(unique_played_s=0.0, progress_pct=0)
        self.title, self.length_s = rng.choice(CHANNELS if self.is_live else FILMS)
        self.position_s = float(rng.randrange(1000, DAY_S)) if self.is_live else 0.0
        self.played: list[tuple[float, float]] = []
        self.posted_ms = 0
        self.chapter = 0
        self.dropped_frames = 0
        self.wire_playhead: float | None = None

    @property
    def content_id(self) -> str:
        return f"{'channel' if self.is_live else 'film'}-{zlib.crc32(self.title.encode()):08x}"

    def add(self, **amounts: float) -> None:
        """Add to what is true."""
        sums = {name: round(getattr(self.metrics, name) + amount, 3) for name, amount in amounts.items()}
        self.metrics = msgspec.structs.replace(self.metrics, **sums)

    def set(self, **values: float | bool | None) -> None:
        """State what is true."""
        self.metrics = msgspec.structs.replace(self.metrics, **values)

    def post(
        self,
        event_type: str,
        params: dict[str, Any] | None = None,
        *,
        qoe: dict[str, Any] | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        """Write one event at the present time and playhead."""
        playhead = self.position_s if self.wire_playhead is None else self.wire_playhead
        playhead = round(playhead % DAY_S if self.is_live else playhead, 3)
        body: dict[str, Any] = {"eventType": event_type, "playerTime": {"playhead": playhead}}
        if metadata is not None:
            body["customMetadata"] = {"journal": _opaque(self.name, len(self.steps)), **metadata}
        if params is not None:
            body["params"] = params
        if qoe is not None:
            body["qoeData"] = qoe
        self._mark_progress(playhead)
        self.posted_ms = self.at_ms
        self.steps.append(Step(len(self.steps), self.at_ms, body, self.metrics))

    def _mark_progress(self, playhead: float) -> None:
        if self.is_live or not self.metrics.is_started:
            return
        passed = [marker for marker in MARKERS_PCT if playhead >= self.length_s * marker / 100]
        if passed:
            self.set(progress_pct=max(passed[-1], self.metrics.progress_pct or 0))

    def wait(self, seconds: float) -> None:
        """Let time pass, pinging as this player does."""
        remaining_ms = round(seconds * 1000)
        while remaining_ms > 0:
            ping_ms = round((self.player.ad_ping_s if self.in_ad else self.player.ping_s) * 1000)
            step_ms = max(1, min(remaining_ms, self.posted_ms + ping_ms - self.at_ms))
            self._pass(step_ms)
            remaining_ms -= step_ms
            if self.at_ms - self.posted_ms >= ping_ms:
                if remaining_ms > 0 and self._pings_now():
                    self.post("ping")
                else:
                    self.posted_ms = self.at_ms

    def _pings_now(self) -> bool:
        if self.mode == "starting":
            return False
        return self.player.pings_while_waiting or (self.mode == "playing" and not self.in_ad)

    def _pass(self, milliseconds: int) -> None:
        self.at_ms += milliseconds
        seconds = milliseconds / 1000
        if self.mode == "paused":
            self.add(pause_time_s=seconds)
        elif self.mode == "buffering":
            self.add(buffer_time_s=seconds)
        elif self.in_ad:
            self.add(ad_time_s=seconds, media_time_s=seconds)
        elif self.mode == "playing":
            self.add(content_time_s=seconds, media_time_s=seconds)
            self.played.append((self.position_s, self.position_s + seconds))
            self.position_s = round(self.position_s + seconds, 3)
            if not self.is_live:
                self.set(unique_played_s=round(_union_s(self.played), 3))

    def qoe(self) -> dict[str, Any]:
        """Return the quality of experience a player would add now."""
        self.dropped_frames += self.rng.randrange(4)
        self.set(dropped_frames=self.dropped_frames)
        frames = self.rng.choice((25, 30, 50, 23.5))
        return {
            "media.qoe.bitrate": self.rng.choice((800_000, 2_400_000, 5_800_000)),
            "media.qoe.droppedFrames": self.dropped_frames,
            "media.qoe.framesPerSecond": frames,
        }


def _union_s(intervals: list[tuple[float, float]]) -> float:
    total, end = 0.0, float("-inf")
    for start, stop in sorted(intervals):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def _play_session(tape: _Tape) -> None:
    rng = tape.rng
    is_resumed = not tape.is_live and rng.random() < 0.15
    if is_resumed:
        tape.position_s = round(tape.length_s * rng.uniform(0.1, 0.6), 3)
    _start(tape, is_resumed)
    if rng.random() < 0.05:
        return  # left before the first frame
    _first_frame(tape)
    has_chapters = not tape.is_live and rng.random() < 0.3
    if has_chapters:
        _open_chapter(tape)
    for _ in range(rng.choices((1, 2, 3, 5, 8), (20, 30, 25, 15, 10))[0]):
        _watch(tape, rng.choice((3.0, 7.5, 12.0, 25.0, 40.0)))
        if tape.position_s >= tape.length_s and not tape.is_live:
            break
        rng.choices(
            (_pause, _seek, _buffer, _fail, _change_bitrate, _toggle_state, _mid_roll, _next_chapter),
            (20, 10, 15, 6, 12, 12, 15, 20 if has_chapters else 0),
        )[0](tape)
    _finish(tape)


def _start(tape: _Tape, is_resumed: bool) -> None:
    persona, rng = tape.persona, tape.rng
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
        "media.resume": is_resumed,
        "media.sdkVersion": rng.choice(("4.1.0", "4.2.0")),
        "media.libraryVersion": f"{persona.player.name}-3.1.0",
        **_identities(persona),
    }
    if persona.player.upload:
        params["media.downloaded"] = True
    metadata = {"page.section": rng.choice(("home", "search"))}
    if persona.denial == "metadata":
        metadata["consent"] = "denied"
    if persona.player.unknown_playhead:
        tape.wire_playhead = persona.player.unknown_playhead
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


def _first_frame(tape: _Tape) -> None:
    rng = tape.rng
    if rng.random() < 0.35:
        _ad_break(tape, pod_index=1)
    elif tape.player.plays_early:
        tape.at_ms = -1  # its queue stamps `play` before the request that opens the session
    else:
        tape.wait(rng.choice((0.25, 0.4, 1.2, 3.7)))
        tape.set(startup_s=tape.at_ms / 1000)
    qoe = tape.qoe()
    if tape.metrics.startup_s is not None:
        qoe["media.qoe.timeToStart"] = tape.at_ms
    tape.wire_playhead = None
    _resume(tape, qoe=qoe)
    if tape.player.second_play == "equal":
        tape.post("play")
        tape.post("play")
    elif tape.player.second_play == "later":
        tape.wait(1.0)
        tape.post("play")


def _resume(tape: _Tape, qoe: dict[str, Any] | None = None) -> None:
    tape.mode = "playing"
    if not tape.in_ad:
        tape.set(is_started=True)
    tape.post("play", qoe=qoe)


def _watch(tape: _Tape, seconds: float) -> None:
    """Play content, never past its end."""
    left_s = seconds if tape.is_live else tape.length_s - tape.position_s
    tape.wait(max(0.0, min(seconds, left_s)))


def _stop(tape: _Tape) -> None:
    """Pause. Not in the millisecond in which it began to play: which of the two came first, nobody could tell."""
    if tape.steps[-1].at_ms == tape.at_ms:
        tape.wait(0.001)
    tape.mode = "paused"
    tape.add(pauses=1)
    tape.post("pauseStart")


def _pause(tape: _Tape) -> None:
    _stop(tape)
    tape.wait(tape.rng.choice((0.8, 4.0, 15.0, 45.0)))
    _resume(tape)


def _seek(tape: _Tape, to_s: float | None = None) -> None:
    """Seek as SDKs tell it: a pause, then `play` somewhere else. In a live stream it is but a pause."""
    _stop(tape)
    tape.wait(0.6)
    if not tape.is_live:
        tape.position_s = round(tape.rng.uniform(0, tape.length_s * 0.9), 3) if to_s is None else to_s
    _resume(tape)


def _buffer(tape: _Tape) -> None:
    tape.mode = "buffering"
    tape.add(buffers=1)
    tape.post("bufferStart")
    tape.wait(tape.rng.choice((0.3, 1.5, 6.0, 22.0)))
    _resume(tape)


def _fail(tape: _Tape) -> None:
    tape.add(errors=1)
    source = tape.rng.choice(("player", "external"))
    match tape.player.error_form:
        case "qoe":
            tape.post("error", qoe={"media.qoe.errorID": "decode-3016", "media.qoe.errorSource": source})
        case "params":
            tape.post("error", {"media.errorId": "network-2001", "media.errorSource": source})
        case "bare":
            tape.post("error")


def _change_bitrate(tape: _Tape) -> None:
    tape.add(bitrate_changes=1)
    tape.post("bitrateChange", qoe={} if tape.player.name == "react-native" else tape.qoe())


def _toggle_state(tape: _Tape) -> None:
    name = tape.rng.choice(("fullscreen", "mute", "closedCaptioning", "pictureInPicture"))
    if tape.player.name == "queue":
        tape.post("statesUpdate", {"statesStart": [{"media.state.name": name}], "statesEnd": []})
        _watch(tape, 2.0)
        tape.post("statesUpdate", {"statesEnd": [{"media.state.name": name}]})
        return
    tape.post("stateStart", {"media.state.name": name})
    _watch(tape, 2.0)
    if tape.rng.random() < 0.8:
        tape.post("stateEnd", {"media.state.name": name})


def _mid_roll(tape: _Tape) -> None:
    _ad_break(tape, pod_index=2 + tape.metrics.ad_breaks)
    if tape.rng.random() < 0.6:  # the others go on playing without saying so
        tape.post("play")


def _ad_break(tape: _Tape, pod_index: int) -> None:
    rng = tape.rng
    tape.add(ad_breaks=1)
    pod = {
        "media.ad.podIndex": pod_index,
        "media.ad.podSecond": round(max(tape.position_s, 0.0), 3),
        "media.ad.podFriendlyName": "pre-roll" if tape.mode == "starting" else "mid-roll",
    }
    tape.post("adBreakStart", pod)
    for position in range(1, rng.choice((1, 1, 2, 3)) + 1):
        outcome = rng.choices(("complete", "skip", "abort"), (75, 15, 10))[0]
        _ad(tape, position, outcome)
        if outcome == "abort":
            break
    tape.post("adBreakComplete")


def _ad(tape: _Tape, position: int, outcome: str) -> None:
    rng = tape.rng
    length_s = rng.choice((6.0, 10.0, 15.0, 30.0))
    params = {
        "media.ad.id": f"ad-{rng.randrange(12)}",
        "media.ad.length": length_s,
        "media.ad.podPosition": position,
        "media.ad.playerName": f"{tape.player.name} ads",
        "media.ad.advertiser": rng.choice(("Example Cars", "Example Soap")),
    }
    tape.in_ad = True
    tape.add(ads_started=1)
    tape.post("adStart", params, metadata={"ad.slot": str(position)})
    if tape.mode == "starting" and tape.player.second_play == "later":
        _resume(tape)
    tape.wait(length_s if outcome == "complete" else length_s / 3)
    if tape.mode == "playing" and rng.random() < 0.1:
        _pause(tape)
        tape.wait(1.5)
    tape.in_ad = False
    if outcome == "complete":
        tape.add(ads_completed=1)
        tape.post("adComplete")
    elif outcome == "skip":
        tape.add(ads_skipped=1)
        tape.post("adSkip")


def _open_chapter(tape: _Tape) -> None:
    tape.chapter += 1
    params = {
        "media.chapter.index": tape.chapter,
        "media.chapter.offset": round(tape.position_s, 3),
        "media.chapter.length": 20.0,
        "media.chapter.friendlyName": f"Chapter {tape.chapter}",
    }
    tape.add(chapters_started=1)
    tape.post("chapterStart", params, metadata={"chapter.mood": "calm"})


def _next_chapter(tape: _Tape) -> None:
    if tape.rng.random() < 0.8:
        tape.add(chapters_completed=1)
        tape.post("chapterComplete")
    else:
        tape.post("chapterSkip")
    _open_chapter(tape)


def _finish(tape: _Tape) -> None:
    """End as sessions end: to the last frame, stopped on the way, or just gone."""
    rng = tape.rng
    if not tape.is_live and rng.random() < 0.5:
        if tape.length_s - tape.position_s > 60:
            _seek(tape, to_s=round(tape.length_s - 8.0, 3))
        _watch(tape, 60.0)
        tape.set(is_completed=True)
        tape.post("sessionComplete")
        if rng.random() < 0.6:
            tape.post("sessionEnd")
    elif rng.random() < 0.6 or tape.player.upload:
        tape.post("sessionEnd")


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


def body_of(step: Step, *, start_ms: int, metadata: dict[str, str] | None = None) -> dict[str, Any]:
    """Complete the body of a step whose script began at `start_ms` (since 1970, by the player's clock)."""
    body = dict(step.body)
    body["playerTime"] = {**body["playerTime"], "ts": start_ms + step.at_ms}
    if metadata and "customMetadata" in body:
        body["customMetadata"] = {**body["customMetadata"], **metadata}
    return body


def bytes_of(body: dict[str, Any], fault: str = "") -> bytes:
    """Encode a body as it goes over the wire, spoiled where the script says so."""
    return FAULTS[fault](body) if fault else msgspec.json.encode(body)


def _without_ts(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode({**body, "playerTime": {"playhead": 0}})


def _ts_as_text(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode({**body, "playerTime": {"playhead": 0, "ts": str(body["playerTime"]["ts"])}})


def _cut_off(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode(body)[:-9]


def _unknown_type(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode({**body, "eventType": "resume"})


def _not_a_number(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode(body).replace(b'"playhead":', b'"playhead":NaN,"was":', 1)


FAULTS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "without ts": _without_ts,
    "ts as text": _ts_as_text,
    "cut off": _cut_off,
    "unknown type": _unknown_type,
    "not a number": _not_a_number,
}
