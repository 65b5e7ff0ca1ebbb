"""Identities: the parts of a request that identify the viewer, and the pseudonyms that replace them.

A user identity is a name that the viewer's provider knows; sending one under a documented key says that consent
was given, unless a denial comes with it. A device identity belongs to an app or a browser. Both are replaced by
pseudonyms before anything is written, under whatever name they come; where consent is denied they are dropped. A
device identity links all sessions of a viewer who never said who they are, so it is dropped as well, unless the
operator wants such links. Nothing here has effects.
"""

import hmac
import re
from collections.abc import Set
from typing import Any, Final, Literal, TypeVar

import msgspec

from ingest.consent import grants
from ingest.names import DOCUMENTED_IDENTITIES, Names, Namespace, holds_address
from schemas.media import NESTED_KEYS, is_flat
from schemas.settings import Settings, listed

Consent = Literal["given", "denied"]
Replaced = tuple[
    Any, Consent | None
]  # JSON with pseudonyms for identities, and the consent that follows from them

SCANNED_BYTES_MAX: Final = 65_536  # in a larger body, an array, all texts are examined, event by event
REMOVED: Final = "(removed)"
METADATA: Final = "customMetadata"
DEVICE_MARK: Final = "device:"  # before a key of the setting `identity_keys`
NOBODY: Final = frozenset(
    (
        "undefined",
        "null",
        "nil",
        "none",
        "nan",
        "na",
        "n/a",
        "anonymous",
        "anon",
        "guest",
        "nobody",
        "unknown",
        "empty",
    )
) | frozenset(("not set", "notset", "not_set", "not available", "object object", "true", "false"))
_EDGES: Final = " \t\r\n\"'`()[]{}<>-_.:;,/#"

_one_character = re.compile(r"[\W_]*(?:([^\W_])(?:[\W_]|\1)*)?").fullmatch
_NO_IDENTITY: Final = frozenset(("authState", "primary"))


def pseudonym(key: bytes, namespace: str, value: str) -> str:
    """Return the pseudonym of an identity: 32 hex characters of HMAC-SHA256 over namespace and value.

    Equal values of one namespace have equal pseudonyms; values of two namespaces cannot be compared.
    """
    return hmac.digest(key, namespace.encode() + b"\0" + value.encode(), "sha256")[:16].hex()


def is_nobody(identity: str) -> bool:
    """Return whether an identity is a placeholder: `undefined`, `(none)`, zeros, one repeated character, blank.

    A single letter, or a single digit but 0, is somebody's.
    """
    lowered = identity.strip(_EDGES).lower()
    if lowered in NOBODY:
        return True
    one = _one_character(lowered)
    return one is not None and (one[1] is None or one[1] == "0" or lowered.count(one[1]) > 1)


class Pseudonymizer:
    """Replaces the identities in JSON events with pseudonyms, or drops them if consent is denied.

    `metadata_keys` are the custom metadata keys that may be kept; None: all. What names a tracking session is
    always dropped: it may be a token, which holds the viewer's name.
    """

    def __init__(
        self, key: bytes, *, links_devices: bool, names: Names | None = None, metadata_keys: Set[str] | None = None
    ) -> None:
        self._key = key
        self._names = Names() if names is None else names
        self._kept: frozenset[Namespace] = frozenset(("user", "device") if links_devices else ("user",))
        self._metadata_keys = metadata_keys

    def has_to_read(self, body: bytes) -> bool:
        """Return whether the texts in a JSON body must be examined for identities."""
        return len(body) > SCANNED_BYTES_MAX or self._names.may_stand_in(body)

    def over_event(self, event: dict[str, Any], *, denied: bool, reads_texts: bool) -> Replaced:
        """Pseudonymize a validated event, which has objects only where the protocol does.

        An event whose keys all are content, and whose texts need not be read, is left as it is.
        """
        if reads_texts or self._metadata_keys is not None or self._odd(event):
            return self.over(event, denied=denied or self.denies(event), reads_texts=reads_texts)
        odd = {name: names for name, part in event.items() if type(part) is dict and (names := self._odd(part))}
        if not odd:
            return event, "denied" if denied else None
        denied = denied or (any(map(self._may_deny, odd.values())) and self.denies(event))
        kept = frozenset() if denied else self._kept
        found: set[Namespace] = set()
        pseudonymized = dict(event)
        for name, names in odd.items():
            pseudonymized[name] = self._walk_object(event[name], names, kept, found, False)
        return pseudonymized, _consent(found, denied=denied)

    def _may_deny(self, names: Set[str]) -> bool:
        return not NESTED_KEYS.isdisjoint(names) or "consent" in map(self._names.meaning, names)

    def denies(self, value: Any) -> bool:
        """Return whether a consent key, at any depth, has a value other than a grant."""
        if type(value) is list:
            return any(self.denies(inner) for inner in value)
        if type(value) is not dict:
            return False
        for name in self._odd(value):
            if self._names.meaning(name) == "consent" and not grants(value[name]):
                return True
        return not is_flat(value) and any(self.denies(inner) for inner in value.values())

    def over(self, value: Any, *, denied: bool, reads_texts: bool = True) -> Replaced:
        """Pseudonymize one JSON value at any depth; the argument is not changed.

        `reads_texts` is False if it is known that no text in it holds an identity.
        """
        found: set[Namespace] = set()
        pseudonymized = self._walk(value, frozenset() if denied else self._kept, found, reads_texts)
        return pseudonymized, _consent(found, denied=denied)

    def text(self, text: str, *, denied: bool) -> str:
        """Pseudonymize one text, which is replaced as a whole if it contains an identity."""
        return self._text(text, frozenset() if denied else self._kept)

    def _odd(self, value: dict[str, Any]) -> Set[str]:
        """Return the names in an object that are not known to be content; usually there are none."""
        content = self._names.content
        return frozenset() if content.issuperset(value) else set(value).difference(content)

    def _walk(self, value: Any, kept: Set[Namespace], found: set[Namespace], reads_texts: bool) -> Any:
        if type(value) is str:
            return self._text(value, kept) if reads_texts else value
        if type(value) is list:
            return [self._walk(inner, kept, found, reads_texts) for inner in value]
        return (
            self._walk_object(value, self._odd(value), kept, found, reads_texts) if type(value) is dict else value
        )

    def _walk_object(
        self,
        value: dict[str, Any],
        odd: Set[str],
        kept: Set[Namespace],
        found: set[Namespace],
        reads_texts: bool,
    ) -> dict[str, Any]:
        if not odd and not reads_texts and is_flat(value):
            return value
        pseudonymized = dict(value)
        identities: dict[str, Any] = {}
        for name in odd:
            meaning = self._names.meaning(name)
            if meaning == "content" or meaning == "consent":
                continue
            identity = pseudonymized.pop(name)
            if (meaning != "user" and meaning != "device") or meaning not in kept:
                continue
            if (replaced := self._replace(identity, meaning)) is not None:
                identities[name] = replaced
                if name in DOCUMENTED_IDENTITIES:
                    found.add(meaning)
        if reads_texts or not is_flat(pseudonymized):
            for name, inner in pseudonymized.items():
                allowed = self._allowed(inner) if name == METADATA else inner
                pseudonymized[name] = self._walk(allowed, kept, found, reads_texts)
        pseudonymized.update(identities)
        return pseudonymized

    def _allowed(self, metadata: Any) -> Any:
        """Return custom metadata without the keys that must not be stored; consent is always kept."""
        if self._metadata_keys is None or type(metadata) is not dict:
            return metadata
        return {
            name: value
            for name, value in metadata.items()
            if name in self._metadata_keys or self._names.meaning(name) == "consent"
        }

    def _text(self, text: str, kept: Set[Namespace]) -> str:
        if holds_address(text):
            is_whole = "user" in kept and not re.search(r"[\s<>,;:/?=&%]", text)
            return pseudonym(self._key, "user", text) if is_whole else REMOVED
        return REMOVED if self._names.assigns_identity(text) else text

    def _replace(self, value: Any, namespace: Namespace) -> Any:
        """Replace each scalar in an identity's value, whatever its shape; return None if nothing identifies."""
        if isinstance(value, dict):
            entries = {
                REMOVED if holds_address(name) else name: self._replace_entry(name, inner, namespace)
                for name, inner in value.items()
            }
            entries = {name: inner for name, inner in entries.items() if inner is not None}
            return entries if entries.keys() - _NO_IDENTITY else None
        if isinstance(value, list):
            replaced = [self._replace(inner, namespace) for inner in value]
            return [inner for inner in replaced if inner is not None] or None
        if value is None or value is True or value is False:
            return None
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        return None if is_nobody(text) else pseudonym(self._key, namespace, text)

    def _replace_entry(self, name: str, value: Any, namespace: Namespace) -> Any:
        if name in _NO_IDENTITY and isinstance(value, bool | int):
            return value
        return self._replace(value, namespace)


def _consent(found: Set[Namespace], *, denied: bool) -> Consent | None:
    return "denied" if denied else "given" if "user" in found else None


class RefusedPseudonymizer(Pseudonymizer):
    """A pseudonymizer for refused JSON, of which nothing else is known.

    It may have identities in any shape: JSON inside a string, name and value side by side.
    """

    def _walk(self, value: Any, kept: Set[Namespace], found: set[Namespace], reads_texts: bool) -> Any:
        if type(value) is list and any(type(inner) is str and self._mentions(inner) for inner in value):
            return [self._walk(inner, kept, found, True) if type(inner) is dict else REMOVED for inner in value]
        if type(value) is dict:
            scalars = {name: inner for name, inner in value.items() if self._is_plain(name, inner)}
            if any(type(inner) is str and self._mentions(inner) for inner in scalars.values()):
                value = {**value, **dict.fromkeys(scalars, REMOVED)}
        return super()._walk(value, kept, found, True)

    def _text(self, text: str, kept: Set[Namespace]) -> str:
        pseudonymized = super()._text(text, kept)
        return REMOVED if pseudonymized is text and self._mentions(text) else pseudonymized

    def _mentions(self, text: str) -> bool:
        return self._names.mentions_identity(text)

    def _is_plain(self, name: str, value: Any) -> bool:
        return type(value) not in (dict, list) and self._names.meaning(name) == "content"


AnyPseudonymizer = TypeVar("AnyPseudonymizer", bound=Pseudonymizer)


def read_pseudonymizer(kind: type[AnyPseudonymizer], settings: Settings) -> AnyPseudonymizer:
    """Return the pseudonymizer of the settings. Raises NotReady if its key is missing."""
    added = listed(settings.identity_keys)
    names = Names(
        users=[name for name in added if not name.startswith(DEVICE_MARK)],
        devices=[name.removeprefix(DEVICE_MARK) for name in added if name.startswith(DEVICE_MARK)],
    )
    return kind(
        settings.key_of_pseudonyms(),
        links_devices=settings.link_devices,
        names=names,
        metadata_keys=frozenset(listed(settings.metadata_keys)) or None,
    )
