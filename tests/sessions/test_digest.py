"""What a player says, in a digest: equal exactly where the words are."""

import json
import random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from rigs.drawn_sessions import T0
from rigs.watched import made

from sessions.event import Event

TEXTS = st.sampled_from(["", "a", "\u00e9", "e\u0301", "\U0001f600", "1", "null", "\x00"])
NUMBERS = st.sampled_from([0, 1, -1, 10, 1 << 53, (1 << 53) + 1, 1 << 70, -(1 << 64)]) | st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, 0.1, 1e-7, 10.0, 2.0**53, 2.0**70, 1e300, 1.5]
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.none() | st.dictionaries(TEXTS, VALUES, max_size=3)


def spelled(value: Any, chance: random.Random) -> str:
    """Write a value as JSON in one of the ways to do so: order of keys, space, exponents, escapes."""
    if isinstance(value, dict):
        keys = chance.sample(list(value), len(value))
        return "{" + ", ".join(f"{spelled(key, chance)}: {spelled(value[key], chance)}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + " ,".join(spelled(inner, chance) for inner in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=chance.random() < 0.5)
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    ways = [repr(value)]
    if isinstance(value, float) or abs(value) <= 1 << 53:
        ways += [f"{value:.25e}", repr(float(value))]
    if value == int(value):
        ways.append(str(int(value)))
    return chance.choice(ways)


def meant(value: Any) -> Any:
    """Return a value that equals another where JSON means the same: true is no 1, but 1.0 is."""
    if isinstance(value, dict):
        return {key: meant(inner) for key, inner in value.items()}
    return [meant(inner) for inner in value] if isinstance(value, list) else (isinstance(value, bool), value)


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.lists(
        st.tuples(OBJECTS, OBJECTS, st.sampled_from([0.0, -0.0, 1.0, 2.5]), st.sampled_from(["ping", "play"]))
    ),
    st.randoms(use_true_random=False),
)
def test_digests_are_equal_exactly_where_the_words_are(said: list[Any], chance: random.Random) -> None:
    """However the JSON is spelled: equal digests, the same words, and equal values are one and the same."""
    events: list[tuple[Event, Any]] = []
    for params, other, head, name in [*said, *said]:
        texts = {
            key: None if value is None else spelled(value, chance).encode()
            for key, value in (("params", params), ("other", other))
        }
        offset, more = (
            len(events),
            {"order_ms": T0, "received_ms": T0 + chance.randrange(9), "flags": ("off_schema",)},
        )
        event = msgspec.structs.replace(made((0, name, head, more), offset), **texts)
        events.append((event, (meant(params), meant(other), head, name)))
    for event, meaning in events:
        for known, known_meaning in events:
            is_same = meaning == known_meaning
            assert (event.words() == known.words()) == is_same
            assert event.says_the_same(known) == is_same


def test_the_digest_tells_the_parts_of_an_event_apart() -> None:
    """The same object as params, as qoeData, as metadata and as unknown keys are four things to say."""
    event = made((0, "ping", 0), 0)
    said = [
        msgspec.structs.replace(event, **{part: b"{}"}) for part in ("params", "qoe", "custom_metadata", "other")
    ]
    assert len({each.words() for each in [event, *said]}) == 5
