"""The viewers: kinds of player as in the field, and the viewers that a seed gives. Pure.

Players differ in how often they ping and whether they do so while paused, how many requests they have in flight,
how often they try again, whether `play` comes twice, what the playhead is before it is known, and where an error
says what it is.
"""

import hashlib
import random
from typing import Literal

import msgspec

Denial = Literal["Sec-GPC", "DNT", "X-Consent", "metadata"]


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
    says_bitrate: bool = True
    upload: Literal["", "/api/v1/downloaded", "/api/v1/sessions"] = ""


PLAYERS = (
    Player(name="browser", in_flight_max=5, start_posts_max=3, second_play="later"),
    Player(name="phone", start_posts_max=3, second_play="later"),
    Player(
        name="react-native",
        in_flight_max=3,
        second_play="equal",
        plays_early=True,
        error_form="bare",
        says_bitrate=False,
    ),
    Player(name="television", content_type="", pings_while_waiting=False, unknown_playhead=-1.0),
    Player(name="box", content_type="application/x-www-form-urlencoded", ad_ping_s=1.0, error_form="params"),
    Player(name="queue", in_flight_max=3, start_posts_max=8, event_posts_max=8, has_idempotency_keys=True),
    Player(name="offline-phone", start_posts_max=3, ping_s=50.0, ad_ping_s=50.0, upload="/api/v1/sessions"),
    Player(name="offline-tablet", start_posts_max=3, ping_s=50.0, ad_ping_s=50.0, upload="/api/v1/downloaded"),
)
_PLAYERS_OF_TWENTY = (6, 4, 2, 2, 2, 2, 1, 1)


class Persona(msgspec.Struct, frozen=True, kw_only=True):
    """Who a viewer is, in all of its sessions.

    `denial` is the way it says no, if it does; `clock_offset_ms` is its device's clock minus the true one.
    """

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


def make_persona(seed: int, viewer: int) -> Persona:
    """Return the viewer of this seed and number; always the same."""
    rng = random.Random(f"{seed}/{viewer}")
    user_id, device_id = f"user-{opaque(seed, viewer)}", f"device-{opaque(seed, viewer, 'device')}"
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
    kind = rng.choices(("right", "minutes", "zone", "never set"), (65, 20, 10, 5))[0]
    if kind == "right":
        return 0
    if kind == "minutes":
        return rng.randrange(-20 * 60_000, 20 * 60_000)
    if kind == "zone":
        return rng.choice((-8, -6, -5, 1, 2, 9)) * 3_600_000
    return -rng.randrange(1, 9) * 365 * 86_400_000


def opaque(*parts: object) -> str:
    """Return a text that depends only on these parts and reveals nothing about them."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:16]
