"""Consent: which signals of a request give it, and which deny it.

Consent is never guessed. A signal gives consent only in the words listed here; whatever else it says is a denial,
and so is a signal that is there and empty. One denial among several signals denies. Nothing here has effects.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

CONSENT: Final = "consent"
# The words of a grant, in any case, quoted or not.
GRANTS: Final = frozenset(
    ("1", "true", "yes", "y", "on", "ok", "granted", "grant", "given", "allowed", "allow", "accepted", "accept")
) | frozenset(("agreed", "agree", "consented", "permitted", "enabled", "opt-in", "optin", "opt_in", "opted-in"))
# Our purposes. A grant or denial of only others (`ads=1`) does not give or deny them.
PURPOSES: Final = frozenset(
    ("analytics", "analytics_storage", "statistics", "statistic", "stats", "measurement", "audience_measurement")
) | frozenset(("performance", "tracking", "all", CONSENT))


class GpcSupport(msgspec.Struct, rename="camel", frozen=True):
    """The reply of `/.well-known/gpc.json`: that `Sec-GPC` is respected, and since when this is stated."""

    gpc: bool = True
    last_update: str = "2026-11-28"


_parts = re.compile("[,;&]").split
_EDGES: Final = " \t\r\n\f\v\"'"
_OFF: Final = frozenset((b"0", b""))
_decode = msgspec.json.Decoder().decode


def grants(value: Any) -> bool:
    """Return whether the value of a consent signal grants some of our purposes and denies none of them.

    A grant is `true`, `1`, a word of GRANTS, or a list of purposes of which at least one is ours and ours are all
    granted: `analytics=1; ads=0` in a text, `{"analytics": true}` in JSON.
    """
    if type(value) is str:
        return _grants_text(value)
    if type(value) is dict:
        return _grants_purposes([(purpose, _is_grant(inner)) for purpose, inner in value.items()])
    return _is_grant(value)


def _grants_text(text: str) -> bool:
    if text.lstrip(_EDGES)[:1] == "{":
        try:
            value = _decode(text.strip())
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return False
        return type(value) is dict and grants(value)
    pairs = []
    for part in _parts(text):
        if word := part.strip(_EDGES):
            purpose, mark, value = word.partition("=" if "=" in word else ":")
            pairs.append((purpose, _is_grant(value)) if mark else (CONSENT, _is_grant(word)))
    return _grants_purposes(pairs)


def _grants_purposes(pairs: list[tuple[str, bool]]) -> bool:
    ours = [granted for purpose, granted in pairs if purpose.strip(_EDGES).lower() in PURPOSES]
    return bool(ours) and all(ours)


def _is_grant(value: Any) -> bool:
    if type(value) is str:
        return value.strip(_EDGES).lower() in GRANTS
    return type(value) in (bool, int, float) and value == 1


def headers_deny(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether the headers deny consent: `X-Consent`, Global Privacy Control, Do Not Track.

    The last two are off at `0` or empty; at anything else they are on. A header that was sent several times has
    its values joined by commas, and each of them counts.
    """
    for name in (b"sec-gpc", b"dnt"):
        signal = headers.get(name)
        if signal is not None and not all(part.strip(b' \t"') in _OFF for part in signal.split(b",")):
            return True
    consent = headers.get(b"x-consent")
    return consent is not None and not grants(consent.decode("latin-1"))
