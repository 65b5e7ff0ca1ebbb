"""An identity's name is found however it is spelled, and whatever a player puts before and after it."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rigs.identities import KEY, keep
from rigs.ingest import session_start

from ingest.identity import Pseudonymizer, RefusedPseudonymizer, pseudonym
from ingest.names import DOCUMENTED_IDENTITIES, Names
from schemas.paths import DOCUMENTED_KEYS

# Names in words, whose parts are joined as a player writes names.
LONG: Final[Mapping[str, tuple[str, ...]]] = {
    "user": (
        *("phone", "phones", "mobile phone", "cell phone", "phone no", "phone number", "tel no", "mobile number"),
        *("mail", "email", "e mail", "msisdn", "user id", "user uid", "user guid", "user name", "login id"),
        *("login name", "viewer id", "visitor id", "customer id", "customer name", "customer number"),
        *("subscriber id", "subscriber number", "account id", "account number", "account guid", "member id"),
        *("member number", "person id", "household id", "crm id", "first name", "last name", "birth date"),
        *("user display name", "customer mobile", "user nickname", "user full name", "user tel", "user login"),
    ),
    "device": (
        *("idfa", "idfv", "openudid", "imei", "imsi", "aaid", "serial number", "client id", "device id"),
        *("device uuid", "advertising id", "installation id", "android id", "cookie id", "browser id"),
        *("ip address", "client ip", "mac address", "device ip", "device gaid", "android gaid", "roku rida"),
    ),
}
# Other names end in these when they are written together, so only an owner may stand before them.
SHORT: Final[Mapping[str, tuple[str, ...]]] = {
    "user": ("uid", "login", "tel", "full name"),
    "device": ("gaid", "rida", "tifa", "udid", "meid", "ecid", "mcid", "ip", "ifa"),
}
OWNERS: Final = ("", "my", "current user", "viewer", "customer", "account")
STYLES: Final[Mapping[str, Callable[[list[str]], str]]] = {
    "lower": "".join,
    "upper": lambda words: "".join(words).upper(),
    "camel": lambda words: "".join([words[0], *(word.capitalize() for word in words[1:])]),
    "pascal": lambda words: "".join(word.capitalize() for word in words),
    "snake": "_".join,
    "screaming": lambda words: "_".join(words).upper(),
    "kebab": "-".join,
    "dots": ".".join,
    "spaces": " ".join,
}
ENDS: Final = ("", "2", "01", "hash", "hashed", "sha256", "md5", "1 hash")
named = st.sampled_from(
    [
        (namespace, before, word)
        for kind, befores in ((LONG, (*OWNERS, "home", "preferred", "x")), (SHORT, OWNERS))
        for namespace, words in kind.items()
        for word in words
        for before in befores
    ]
)
# Of a documented key's words, and of what is usual in the field, these sound like identities and are none.
CONTENT: Final = (
    *("headphone", "headphones", "has microphone", "smartphone", "earphones", "is iphone", "phone model", "hotel"),
    *("intel", "titel", "kapitel", "mobile", "is mobile", "display name", "channel display name", "screen name"),
    *("home id", "theme id", "game id", "frame id", "codec id", "rec id", "liga id", "saga id", "manga id"),
    *("cloud id", "content uid", "video uid", "druid", "clip", "is vip", "zip", "drm profile id", "fifa"),
    *("is new user", "last login", "show full name", "studio id", "user guide", "thumbnail", "florida"),
    *("ad account id", "publisher account id", "ad client id", "guid", "player version", "season number"),
)


@given(name=named, style=st.sampled_from(list(STYLES)), end=st.sampled_from(ENDS), denied=st.booleans())
@example(name=("user", "", "home phone"), style="lower", end="", denied=True)
@example(name=("device", "my", "idfa"), style="upper", end="", denied=False)
@example(name=("user", "", "phone"), style="snake", end="2", denied=True)
@example(name=("user", "", "phone"), style="camel", end="hash", denied=False)
def test_identities_are_replaced_however_their_names_are_spelled(
    name: tuple[str, str, str], style: str, end: str, denied: bool
) -> None:
    """In accepted and in refused bodies: by their pseudonym, and under a denial the key is gone."""
    namespace, before, word = name
    key = STYLES[style](" ".join((before, word, end)).split())
    wanted = {} if denied else {key: pseudonym(KEY, namespace, "canary")}
    body = {**session_start(), "customMetadata": {key: "canary", "plan": "gold"}}
    accepted, _ = Pseudonymizer(KEY, links_devices=True).over_event(body, denied=denied, reads_texts=False)
    refused = keep({**body, "eventType": "none"}, RefusedPseudonymizer(KEY, links_devices=True), denied=denied)
    for kept in (accepted, refused):
        assert kept["customMetadata"] == {**wanted, "plan": "gold"}


@pytest.mark.parametrize("words", CONTENT)
def test_names_that_only_sound_like_identities_are_content(words: str) -> None:
    """However they are spelled, but with dots, after which a name begins: analysts keep the dimension."""
    names = Names()
    keys = [write(words.split()) for style, write in STYLES.items() if style != "dots"]
    assert {key: names.meaning(key) for key in keys} == dict.fromkeys(keys, "content")


def test_no_key_of_the_protocol_and_of_the_examples_is_taken_for_an_identity() -> None:
    """Whatever is documented, and what the documentation's examples and the timelines have, in two spellings."""
    names = Names()
    keys = set(DOCUMENTED_KEYS)
    for path in (Path(__file__).parents[1] / "data").glob("*.json"):
        keys |= set(_keys(json.loads(path.read_text())))
    assert len(keys) > 100
    for key in keys:
        meant = names.meaning(key)
        if meant in ("user", "device"):
            assert key in DOCUMENTED_IDENTITIES or key in {"user_id", "userId"}
        elif meant == "content":
            assert names.meaning(re.sub(r"[\W_]", "", key).lower()) == "content"


def _keys(value: Any) -> list[str]:
    """Return the keys of JSON at any depth."""
    if isinstance(value, list):
        return [key for inner in value for key in _keys(inner)]
    if not isinstance(value, dict):
        return []
    return [
        *(key for key in value if re.fullmatch(r"[\w.]+", key)),
        *(key for inner in value.values() for key in _keys(inner)),
    ]
