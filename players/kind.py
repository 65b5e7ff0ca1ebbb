"""What a kind of session is: a short function that plays it, its share, and the bounds of its numbers. Pure.

Everything that a kind does not fix is drawn, so each seed is another sibling. Bounds follow from what a player can
report: one ping interval where something happens between two pings, rounding alone where events report it.
"""

import random
from collections.abc import Callable

import msgspec

from players.screen import Content, Screen
from players.viewing import draw_habits, film

EXACT_S = 0.01
"""The error of what events report at both ends: rounding."""
NOON_MS = 1_790_000_000_000

Play = Callable[[random.Random], Screen]


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How far each number may be from what the viewer saw, in seconds; None is a ping interval of the session."""

    watch: float | None = None
    startup: float | None = EXACT_S
    rebuffer: float | None = EXACT_S
    ad: float | None = EXACT_S
    ad_outside: float | None = EXACT_S
    unique: float | None = None
    played: float | None = None
    seeking: float | None = EXACT_S


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind. `share` is its weight in a realistic mix, a thousand in all. `is_long`: it has many events."""

    name: str
    play: Play
    share: float
    bounds: Bounds
    is_long: bool = False


class Kinds(dict[str, Kind]):
    """Kinds by name. A function becomes one by `@kinds.add(...)`."""

    def add(
        self, name: str, share: float, *, is_long: bool = False, **bounds: float | None
    ) -> Callable[[Play], Play]:
        """Return a decorator that makes a kind of a function that plays one session."""

        def added(play: Play) -> Play:
            self[name] = Kind(name=name, play=play, share=share, bounds=Bounds(**bounds), is_long=is_long)
            return play

        return added


def draw_screen(rng: random.Random, content: Content | None = None, **habits: object) -> Screen:
    """Return a screen before anything happens. Habits not given are drawn; content is a film by default."""
    began_ms = NOON_MS + rng.randrange(86_400_000)
    return Screen(rng, draw_habits(rng, **habits), film(rng) if content is None else content, began_ms=began_ms)
