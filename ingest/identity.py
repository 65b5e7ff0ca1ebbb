"""Identities and consent: what of a request says who the viewer is, and whether we may know.

A user identity is a name that the viewer's provider knows; sending one says that consent was given, unless a
denial comes with it. A device identity belongs to an app or a browser. Both are replaced by pseudonyms before
anything is written; where consent is denied they are dropped. A device identity links all sessions of a viewer who
never said who they are, so it is dropped as well, unless the operator wants such links. Nothing here has effects.
"""

import hmac
from collections.abc import Mapping, Set
from typing import Any, ClassVar, Final, Literal

import msgspec

from schemas.media import is_flat

Namespace = Literal["user", "device"]
Consent = Literal["given", "denied"]

CUSTOMER_IDS: Final = "visitor.customerIDs"
NAMESPACES: Final[dict[str, Namespace]] = {
    CUSTOMER_IDS: "user",
    "analytics.visitorId": "user",
    "visitor.marketingCloudUserId": "device",
    "analytics.aid": "device",
    "appInstallationId": "device",
}
REFUSED_NAMESPACES: Final[dict[str, Namespace]] = {
    name.lower(): namespace for name, namespace in {**NAMESPACES, "user_id": "user", "userId": "user"}.items()
}
REMOVED: Final = "(removed)"
CONSENT_KEY: Final = "consent"
# Custom metadata keys in which a player may name its tracking session, by id or token.
TRACKING_KEYS: Final = ("tracking_session_id", "jay_tracking")

_DENIALS: Final = frozenset(
    ("0", "false", "no", "none", "off", "denied", "deny", "declined", "decline", "refused", "rejected")
) | frozenset(("revoked", "withdrawn", "optout", "opt-out", "opt_out"))
_PURPOSES: Final = frozenset(("analytics", "consent", "tracking", "measurement", "all"))
_NO_IDENTITY: Final = frozenset(("authState", "primary"))


def pseudonym(key: bytes, namespace: str, value: str) -> str:
    """Return the pseudonym of an identity: 32 hex characters of HMAC-SHA256 over namespace and value.

    Equal values of one namespace have equal pseudonyms; values of two namespaces cannot be compared.
    """
    return hmac.digest(key, namespace.encode() + b"\0" + value.encode(), "sha256")[:16].hex()


def denies(text: str) -> bool:
    """Tell whether a consent text denies analytics: `denied`, `0`, `analytics=0`, `ads=1; analytics=denied`..."""
    for part in text.lower().replace(";", ",").replace("&", ",").split(","):
        purpose, equals, value = part.partition("=" if "=" in part else ":")
        if not equals:
            purpose, value = "consent", part
        if purpose.strip() in _PURPOSES and value.strip() in _DENIALS:
            return True
    return False


def headers_deny(headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether the request's headers deny consent: `X-Consent`, Global Privacy Control, Do Not Track."""
    if headers.get(b"sec-gpc", b"").strip() == b"1" or headers.get(b"dnt", b"").strip() == b"1":
        return True
    consent = headers.get(b"x-consent")
    return consent is not None and denies(consent.decode("latin-1"))


def event_denies(event: Mapping[str, Any]) -> bool:
    """Tell whether the event's own custom metadata denies consent."""
    metadata = event.get("customMetadata")
    if type(metadata) is not dict or CONSENT_KEY not in metadata:
        return False
    value = metadata[CONSENT_KEY]
    return denies(msgspec.json.encode(value).decode().strip('"'))


class Veiled(msgspec.Struct, frozen=True):
    """JSON with pseudonyms for identities, and what that says about consent."""

    value: Any
    consent: Consent | None


class Veil:
    """Replaces the identities of JSON events by pseudonyms; drops them where consent is denied."""

    namespaces: ClassVar[Mapping[str, Namespace]] = NAMESPACES

    def __init__(self, key: bytes, *, links_devices: bool) -> None:
        self._key = key
        self._names = frozenset(self.namespaces)
        self._kept: frozenset[Namespace] = frozenset(("user", "device") if links_devices else ("user",))

    def over(self, value: Any, *, denied: bool) -> Veiled:
        """Veil one JSON value, wherever in it identities stand; what is given is left as it is."""
        found: set[Namespace] = set()
        veiled = self._walk(value, frozenset() if denied else self._kept, found)
        return Veiled(veiled, "denied" if denied else "given" if "user" in found else None)

    def _walk(self, value: Any, kept: Set[Namespace], found: set[Namespace]) -> Any:
        if type(value) is list:
            return [self._walk(inner, kept, found) for inner in value]
        if type(value) is not dict or (value.keys().isdisjoint(self._names) and is_flat(value)):
            return value
        veiled = value
        for name, inner in value.items():
            if name in self.namespaces:
                replaced = self._take(inner, self.namespaces[name], kept, found)
            elif type(inner) is dict or type(inner) is list:
                replaced = self._walk(inner, kept, found)
                if replaced is inner:
                    continue
            else:
                continue
            if veiled is value:
                veiled = dict(value)
            if replaced is None:
                del veiled[name]
            else:
                veiled[name] = replaced
        return veiled

    def _take(self, value: Any, namespace: Namespace, kept: Set[Namespace], found: set[Namespace]) -> Any:
        """Replace an identity, and note that there was one; None where it is dropped, or none."""
        replaced = self._replace(value, namespace) if namespace in kept else None
        if replaced is not None:
            found.add(namespace)
        return replaced

    def _replace(self, value: Any, namespace: Namespace) -> Any:
        """Replace each scalar of an identity's value, whatever its shape; None where nothing identifies."""
        if isinstance(value, dict):
            entries = {name: self._replace_entry(name, inner, namespace) for name, inner in value.items()}
            entries = {name: inner for name, inner in entries.items() if inner is not None}
            return entries if entries.keys() - _NO_IDENTITY else None
        if isinstance(value, list):
            replaced = [self._replace(inner, namespace) for inner in value]
            return [inner for inner in replaced if inner is not None] or None
        if value is None or value == "":
            return None
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        return pseudonym(self._key, namespace, text)

    def _replace_entry(self, name: str, value: Any, namespace: Namespace) -> Any:
        if name in _NO_IDENTITY and isinstance(value, bool | int):
            return value
        return self._replace(value, namespace)


class RefusedVeil(Veil):
    """A veil over JSON of which nothing is known but that it was refused.

    It may have identities in any shape: JSON inside a string, name and value side by side. The tracking API's
    names are identities too, and what names a tracking session is dropped: it may be a token, which holds the
    viewer's name.
    """

    namespaces = REFUSED_NAMESPACES

    def _walk(self, value: Any, kept: Set[Namespace], found: set[Namespace]) -> Any:
        if type(value) is str:
            return REMOVED if _names_identity(value) else value
        if type(value) is list:
            taken = any(type(inner) is str and _names_identity(inner) for inner in value)
            return [
                REMOVED if taken and type(inner) is not dict else self._walk(inner, kept, found) for inner in value
            ]
        if type(value) is not dict:
            return value
        taken = any(type(inner) is str and _names_identity(inner) for inner in value.values())
        veiled = {}
        for name, inner in value.items():
            namespace = self.namespaces.get(name.lower())
            if namespace is not None:
                replaced = self._take(inner, namespace, kept, found)
                if replaced is not None:
                    veiled[name] = replaced
            elif name not in TRACKING_KEYS:
                hides = taken and type(inner) not in (dict, list)
                veiled[name] = REMOVED if hides else self._walk(inner, kept, found)
        return veiled


def _names_identity(text: str) -> bool:
    lowered = text.lower()
    return any(name in lowered for name in REFUSED_NAMESPACES)
