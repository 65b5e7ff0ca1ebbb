"""What simulated viewers do: one session's events from a seed, and what is true about them. Pure.

A script knows nothing of the wall clock: its times are milliseconds since its own start. It is written scene by
scene: a function each, which says what the viewer does (`tape.wait`), what its player sends (`tape.post`), and
what that makes true (`tape.add`, `tape.set`).
"""

import random

import msgspec

from players.bodies import FAULTS
from players.personas import Persona, Player, make_persona
from players.scenes import (
    _buffer,
    _change_bitrate,
    _end,
    _fail,
    _first_frame,
    _go_away,
    _mid_roll,
    _next_chapter,
    _open_break,
    _open_chapter,
    _pause,
    _pre_roll,
    _see_the_end,
    _seek,
    _slip,
    _stall,
    _start,
    _start_ad,
    _stitched_ad,
    _toggle_state,
    _watch,
)
from players.tape import DAY_S, Step, Tape

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
    """Return the session of this seed, viewer and number; always the same."""
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
    """Let some events be overtaken, if a player has several requests in flight."""
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
    """Watch something for some seconds."""
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


# ---- main content


# ---- ads


# ---- chapters


# ---- the end


def _leave(tape: Tape) -> None:
    """End as sessions do: after the last frame, stopped before it, by an error, in an ad, or without an event."""
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
