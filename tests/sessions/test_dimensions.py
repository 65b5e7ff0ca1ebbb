"""What a sessionStart says by which sessions are compared: documented keys, and the operator's own."""

from typing import Any

import pytest
from rigs.watched import START, folded, made

from sessions.dimensions import ANY_KEYS, DimensionKeys
from sessions.facts import SessionFacts
from sessions.fold import Fold


def of_start(
    params: dict[str, Any], metadata: dict[str, Any] | None = None, *, keys: DimensionKeys = ANY_KEYS
) -> SessionFacts:
    """Fold a session that is a sessionStart alone, with more params and with custom metadata."""
    fold = Fold(keys=keys)
    fold.step(made((0, "sessionStart", 0, {"params": START | params, "custom_metadata": metadata}), 0))
    return fold.facts()


@pytest.mark.parametrize(
    ("said", "season"), [("3", "3"), (3, "3"), (3.5, "3.5"), (True, "true"), (False, "false"), (" 3 ", "3")]
)
def test_scalars_are_texts(said: Any, season: str) -> None:
    """A season may be sent as a text, a number or a boolean."""
    assert of_start({"media.season": said}).season == season


@pytest.mark.parametrize("said", [None, "", " ", "-", "null", "undefined", "(removed)", ["3"], "x" * 257])
def test_what_is_no_value_is_unknown(said: Any) -> None:
    """Placeholders, blanks, lists, and texts that are too long; in custom metadata too."""
    facts = of_start({"media.season": said}, {"group": said})
    assert (facts.season, facts.dims) == (None, None)


def test_codes_are_in_lower_case_and_titles_as_they_were_sent() -> None:
    """Also a code so long that it is not remembered."""
    facts = of_start({"media.network": "NBC", "media.show": "The Show", "media.genre": "NEWS" * 64})
    assert (facts.network, facts.show, facts.genre) == ("nbc", "The Show", "news" * 64)


def test_a_key_of_the_operator_goes_before_the_documented_key() -> None:
    """The first of them that has a value, in custom metadata or in params; ids are no value."""
    keys = DimensionKeys.parse("network = channel.id, network=brand,show=title", "")
    documented = {"media.network": "NBC", "media.show": "The Show", "title": "A Title"}
    facts = of_start(documented, {"channel.id": "0" * 32, "brand": "One"}, keys=keys)
    assert (facts.network, facts.show) == ("one", "A Title")
    assert of_start(documented, {"channel.id": "Two", "brand": "One"}, keys=keys).network == "two"
    assert of_start(documented, keys=keys).network == "nbc"


def test_custom_metadata_are_dims_but_for_ids_consent_and_what_is_too_long() -> None:
    """The first 16 by name."""
    left_out = {"user": "0" * 32, "adsConsent": "yes", "a" * 65: "x", "b\0": "x", "value": "x" * 257}
    assert of_start({}, {"group": "B", "tier": 2, **left_out}).dims == {"group": "B", "tier": "2"}
    many = {f"key{n:02}": str(n) for n in range(30)}
    assert of_start({}, many).dims == {f"key{n:02}": str(n) for n in range(16)}


def test_the_operator_may_name_the_only_keys_that_are_dims() -> None:
    """All others stay in the events."""
    keys = DimensionKeys.parse("", "group, tier")
    assert of_start({}, {"group": "B", "noise": "x"}, keys=keys).dims == {"group": "B"}


SAID = {"media.show": "A show", "media.genre": "Drama", "media.season": "2", "analytics.reportSuite": "Suite"}


def test_sessions_that_say_the_same_share_it() -> None:
    """100,000 may be open: each adds a reference to its dimensions, and one to each text of its own metadata."""
    one, other = Fold(), Fold()
    for offset, fold in enumerate((one, other)):
        more = {"params": START | SAID, "custom_metadata": {"group": "B", "tier": "gold"}}
        fold.step(made((0, "sessionStart", 0, more), offset, session=f"session {offset}"))
    assert one.start is not None
    assert other.start is not None
    assert one.start.dimensions is other.start.dimensions
    assert all(text is same for text, same in zip(one.start.own, other.start.own, strict=True))
    assert one.start.own == ("group", "B", "tier", "gold")


def test_the_sessionstart_that_counts_says_it_wherever_it_arrives() -> None:
    """A later event of the session says nothing, and neither does a repeated start."""
    play = (5, "play", 0, {"custom_metadata": {"group": "from the play"}})
    begun = (0, "sessionStart", 0, {"params": START | SAID, "custom_metadata": {"group": "B"}})
    again = (0, "sessionStart", 0, {**begun[3], "flags": ("repeat",)})
    for rows in ((begun, play, again), (begun, again, play)):
        facts = folded(*rows)
        assert (facts.dims, facts.show, facts.genre, facts.site) == ({"group": "B"}, "A show", "drama", "suite")
