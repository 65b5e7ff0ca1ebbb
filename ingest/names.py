"""What the name of a key says of its value: whom it identifies, consent, a tracking session, or nothing of these.

Names are compared without case and separators: `user_id`, `userId`, `User-ID` and `user.id` are one name. A name
with dots also means what its end means: `context.device.email` is an e-mail address. So does any name that ends in
a word which few others end in: `homephone`, `MYIDFA`. Keys that the protocol documents are content under their
documented spelling, but for the identities among them.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Set
from typing import Final, Literal

from ingest.consent import PURPOSES
from schemas.media import NESTED_KEYS
from schemas.paths import DOCUMENTED_KEYS

Namespace = Literal["user", "device"]
Meaning = Literal["content", "user", "device", "consent", "tracking", "address"]

CUSTOMER_IDS: Final = "visitor.customerIDs"
# The identities that the protocol documents: these alone give consent, and become the user or device of a session.
DOCUMENTED_IDENTITIES: Final[Mapping[str, Namespace]] = {
    CUSTOMER_IDS: "user",
    "analytics.visitorId": "user",
    "visitor.marketingCloudUserId": "device",
    "analytics.aid": "device",
    "appInstallationId": "device",
}
_DOCUMENTED: Final = DOCUMENTED_KEYS - DOCUMENTED_IDENTITIES.keys()

# Parts of names, without separators, at any position.
_DEVICE_PARTS: Final = re.compile(
    "deviceid|deviceuuid|deviceuid|deviceserial|devicefingerprint|browserfingerprint|androidid"
    "|advertisingid|googleadid|amazonadid|appleadid|identifierforadvert|identifierforvendor"
    "|installationid|installid|cookieid|browserid|ipaddr|clientip|userip|viewerip|remoteip|remoteaddr|forwardedfor"
    "|macaddr|marketingclouduserid|marketingcloudid|marketingcloudvisitorid|experiencecloudid|analyticsaid"
)
_NAMED: Final = ("user", "login", "viewer", "visitor", "customer", "subscriber")
_USER_PARTS: Final = re.compile(
    "|".join(f"{who}{what}" for who in _NAMED for what in ("id", "name", "uid", "uuid", "guid(?!e)"))
    + "|"
    + "|".join(f"{who}{what}" for who in ("member", "account", "person") for what in ("uid", "uuid", "guid(?!e)"))
    + "|userphone|email|phonenumber|mobilenumber|msisdn|firstname|lastname|surname|dateofbirth|birthdate"
)
# Ends of names, whatever is before them: `homePhone`, `MYIDFA`; and what ends like them, and is content.
_DEVICE_ENDS: Final = ("idfa", "idfv", "openudid", "imei", "imsi", "aaid", "serialnumber", "clientid")
_USER_ENDS: Final = (
    *("phone", "phones", "phoneno", "mail", "mails", "telno", "crmid", "accountid", "accountno"),
    *("memberid", "personid", "householdid"),
    *("accountnumber", "customernumber", "membernumber", "subscribernumber", "usernumber"),
)
_CONTENT_ENDS: Final = (
    *("headphone", "headphones", "earphone", "earphones", "microphone", "microphones", "smartphone"),
    *("smartphones", "megaphone", "saxophone", "gramophone", "speakerphone"),
    *("adaccountid", "advertiseraccountid", "publisheraccountid", "adclientid", "oauthclientid"),
)
_CONTENT_NAMES: Final = frozenset(("iphone", "isiphone"))
# Short words, in which other names end too: `homeId` in meid, `codecId` in ecid, `ligaId` in gaid, `cloudId` in
# udid, `hotel` in tel, `druid` in uid, `clip` in ip. So they are whole names, or follow a dot or an owner: `uid`,
# `app.uid`, `myUid`. Those called words are also found where separators or capitals set them apart: `x_gaid`.
_DEVICE_WORDS: Final = ("gaid", "rida", "tifa", "udid", "meid", "ecid", "mcid")
_DEVICE_NAMES: Final = (*_DEVICE_WORDS, "ip", "ipv", "ifa")  # ipv: ipv4 and ipv6 without their digits
_USER_WORDS: Final = ("tel",)
_USER_NAMES: Final = (*_USER_WORDS, "uid", "user", "login", "fullname")
_NAMES_OF_USERS: Final = (*_USER_NAMES, "displayname", "nickname", "mobile")
_USERS: Final = (*_NAMED, "member", "account", "contact", "home", "my")
_DEVICES: Final = (*_USERS, "device", "app", "client", "android", "google", "roku", "tv", "player", "browser")
_IDENTITY_ENDS: Final = (*_DEVICE_ENDS, *_USER_ENDS, *_DEVICE_NAMES, *_NAMES_OF_USERS)
_DIGITS: Final = "0123456789"
_HASHES: Final = ("hashed", "hash", "sha", "md")  # without the digits of sha256 and md5
_NUMBERED: Final = (*_DIGITS, *_HASHES)
_CUSTOMER_IDS: Final = "customerids"
_STATE_ENDS: Final = ("authstate", "primary")  # flattened customer ids have these besides the id

_CONSENT_NAMES: Final = frozenset(
    ("consent", "userconsent", "xconsent", "consentgiven", "hasconsent", "consentstatus", "consentstate")
) | frozenset(
    name
    for purpose in (purpose.replace("_", "") for purpose in PURPOSES)
    for name in (f"consent{purpose}", f"{purpose}consent")
)
# What may hold a token or an id of a tracking session.
TRACKING_KEYS: Final = ("tracking_session_id", "jay_tracking")
_TRACKING_PARTS: Final = re.compile("trackingsessionid|jaytracking|trackingtoken")

# A domain with a point in it follows the @; but `poster@2x.png` is a picture.
_ADDRESS: Final = re.compile(
    r"[^\s@](?:@|%40)(?!\dx\.(?:png|jpe?g|webp|gif|svg|avif|heic)\b)[\w-]+(?:\.[\w-]+)*\.[^\W\d_]{2}",
    re.IGNORECASE,
)
# The same in JSON's bytes, or an escape where it may go on. Bytes above ASCII count as letters.
_address_in_json = re.compile(
    rb"@(?:[\w\x80-\xff-]++(?:\.[\w\x80-\xff-]++)*\.[A-Za-z\x80-\xff]{2}|[\w.\x80-\xff-]*+\\)"
).match
# `name=` and `"name":` in a text. Runs are taken whole and begun once: linear in the text.
_ASSIGNED: Final = re.compile(r"""(?<![\w.\-])([\w.\-]++)(?:\s*+=|\\*+["']\s*+:)""")
_ASSIGNED_LOOSELY: Final = re.compile(r"""(?<![\w.\-])([\w.\-]++)\\*+["']?+\s*+[=:]""")
_NAME_BYTES: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
# Escapes that may hide a quotation mark, or any other character of ASCII.
_ESCAPED: Final = re.compile(rb"""\\(?:"|u00[2-7])""")
_WORDS: Final = re.compile(r"[^\W\d_]?[a-z0-9]+|[A-Z0-9]+(?![a-z])")
_SEPARATORS: Final = re.compile(r"[\W_]+")

LEARNT_MAX: Final = 20_000
LEARNT_CHARACTERS_MAX: Final = 64
ASSIGNED_MAX: Final = 256
ADDRESSES_MAX: Final = 64
ENDS_MAX: Final = 4


def squash(text: str) -> str:
    """Return a text without case and separators."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _SEPARATORS.sub("", text.casefold())


def _bare(name: str) -> str:
    """Return a squashed name without number and kind of hash: `phone` of `phone2` and `phonesha256`."""
    bare = name.rstrip(_DIGITS)
    for kind in _HASHES:
        bare = bare.removesuffix(kind)
    return bare.rstrip(_DIGITS)


def _end_meaning(name: str, whole: str, ends: Set[str]) -> Meaning:
    """Return what the end of a name says of its value. `ends`: the squashed name, and what follows its dots."""
    if whole.endswith(_NUMBERED):
        whole, ends = _bare(whole), {_bare(end) for end in ends}
    if not whole.endswith(_IDENTITY_ENDS) or whole.endswith(_CONTENT_ENDS) or whole in _CONTENT_NAMES:
        return "content"
    if whole.endswith(_DEVICE_ENDS) or not ends.isdisjoint(_DEVICE_NAMES):
        return "device"
    if whole.endswith(_USER_ENDS) or not ends.isdisjoint(_USER_NAMES):
        return "user"
    words = _WORDS.findall(name[-LEARNT_CHARACTERS_MAX:].rstrip(_DIGITS + "_-. "))
    last = words[-1].casefold() if words else ""
    if last in _DEVICE_WORDS or _is_owned(whole, _DEVICE_NAMES, by=_DEVICES):
        return "device"
    return "user" if last in _USER_WORDS or _is_owned(whole, _NAMES_OF_USERS, by=_USERS) else "content"


def _is_owned(whole: str, names: tuple[str, ...], *, by: tuple[str, ...]) -> bool:
    """Return whether a squashed name ends in an owner and one of the names: `currentUserIp`."""
    return any(whole.endswith(name) and whole.removesuffix(name).endswith(by) for name in names)


def is_consent(name: str) -> bool:
    """Return whether the value of a key is a signal of consent."""
    return squash(name) in _CONSENT_NAMES


def holds_address(text: str) -> bool:
    """Return whether a text contains something like an e-mail address."""
    return ("@" in text or "%40" in text) and _ADDRESS.search(text) is not None


class Names:
    """The meanings of names, cached within bounds: the same names recur in every event.

    `content` holds the names that are known to be content, except those with nested values, which contain names of
    their own.
    """

    def __init__(self, *, users: Iterable[str] = (), devices: Iterable[str] = ()) -> None:
        self._more: dict[str, Meaning] = {
            **{squash(name): "user" for name in users},
            **{squash(name): "device" for name in devices},
        }
        self._documented = {name for name in _DOCUMENTED if squash(name) not in self._more}
        self._documented -= NESTED_KEYS  # what is content and holds no more than that
        self.content: set[str] = set(self._documented)
        self._others: dict[str, Meaning] = dict(DOCUMENTED_IDENTITIES)

    def meaning(self, name: str) -> Meaning:
        """Return what a name says of its value."""
        known = self._others.get(name)
        if known is not None:
            return known
        if name in self.content:
            return "content"
        found = self._classify(name)
        if len(name) <= LEARNT_CHARACTERS_MAX:
            self._learn(name, found)
        return found

    def identifies(self, name: str) -> bool:
        """Return whether a value of this name is nothing to be kept as it is."""
        return self.meaning(name) in ("user", "device", "tracking", "address")

    def _learn(self, name: str, found: Meaning) -> None:
        if len(self.content) + len(self._others) >= LEARNT_MAX:
            self.content.clear()
            self.content.update(self._documented)
            self._others = dict(DOCUMENTED_IDENTITIES)
        if found == "content" and name not in NESTED_KEYS:
            self.content.add(name)
        else:
            self._others[name] = found

    def _classify(self, name: str) -> Meaning:
        if holds_address(name):
            return "address"
        whole = squash(name)
        segments = name.rsplit(".", ENDS_MAX)
        ends = {whole, *(squash(".".join(segments[index:])) for index in range(1, len(segments)))}
        for end in ends & self._more.keys():
            return self._more[end]
        if ends & _CONSENT_NAMES:
            return "consent"
        if _TRACKING_PARTS.search(whole):
            return "tracking"
        if _CUSTOMER_IDS in whole:
            return "content" if whole.endswith(_STATE_ENDS) else "user"
        by_end = _end_meaning(name, whole, ends)
        if by_end == "device" or _DEVICE_PARTS.search(whole):  # `useridfa` is no user's id
            return "device"
        return "user" if _USER_PARTS.search(whole) else by_end

    def assigns_identity(self, text: str) -> bool:
        """Return whether a text gives a value to a name that identifies: in a query, a cookie, or JSON."""
        return ("=" in text or '"' in text) and self._is_any_identity(_ASSIGNED, text)

    def may_stand_in(self, body: bytes) -> bool:
        """Return whether a text in a JSON body may hold an address, or give a value to a name that identifies.

        It looks at the few characters that this takes, so that the texts of most events need not be read. An `@`
        alone is no address: organizations are called `0123456789ABCDEF@AdobeOrg` in each sessionStart.
        """
        at = body.find(b"@")
        if at >= 0 and body.count(b"@", at) > ADDRESSES_MAX:
            return True
        while at >= 0:
            if _address_in_json(body, at) is not None:
                return True
            at = body.find(b"@", at + 1)
        # One character is found 10 times as fast as three.
        if (b"%" in body and b"%40" in body) or (b"\\" in body and _ESCAPED.search(body) is not None):
            return True
        if b"=" not in body:
            return False
        parts = body.split(b"=", ASSIGNED_MAX + 1)
        return len(parts) > ASSIGNED_MAX or any(self._ends_in_identity(part) for part in parts[:-1])

    def _ends_in_identity(self, text: bytes) -> bool:
        end = text[-LEARNT_CHARACTERS_MAX:].rstrip()
        before = end.rstrip(_NAME_BYTES)
        if not before or before[-1] >= 0x80:  # the name is longer than what is seen of it, or not in ASCII
            return True
        if before.endswith(b"\\"):  # an escape, of which the last letter may belong to the name, or not
            return True
        name = end[len(before) :].decode()
        return name not in self.content and self.identifies(name)

    def mentions_identity(self, text: str) -> bool:
        """Return whether a text may have to do with an identity: it is such a name, or has one in it."""
        whole = squash(text)
        parts = (_DEVICE_PARTS, _USER_PARTS, _TRACKING_PARTS)
        if _CUSTOMER_IDS in whole or any(part.search(whole) for part in parts):
            return True
        if len(text) <= LEARNT_CHARACTERS_MAX and self.identifies(text):
            return True
        return self._is_any_identity(_ASSIGNED_LOOSELY, text)

    def _is_any_identity(self, assigned: re.Pattern[str], text: str) -> bool:
        for count, match in enumerate(assigned.finditer(text)):
            if count >= ASSIGNED_MAX or self.identifies(match[1]):
                return True
        return False
