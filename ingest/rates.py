"""Rate limits of one sender: token buckets by media session, API key and network.

They are those of this process: two ingests let twice as much through. A request costs a token, and one more for
each further 2 kB of its body, unpacked, and for each further event of an array; refused requests cost as much as
accepted ones. Who has a token is let through, whatever the request costs; what it costs more is a debt, and the
next request waits until it is paid. So an array of 20,000 events passes at once, and the next one has to wait.

A network is the first 24 bits of an IPv4 address or 56 of an IPv6 address, in memory only, as a hash whose key
changes daily.
"""

import ipaddress
import secrets
import socket
from collections.abc import Hashable, Sequence
from hashlib import blake2s
from typing import Final

import msgspec
from litestar.types import Scope

from schemas.faults import TooMany
from schemas.settings import Settings

BURST_S: Final = 60.0  # a bucket holds this many seconds of its rate
TOKEN_BYTES: Final = 2_048
KEYS_MAX: Final = 100_000
DAY_S: Final = 86_400.0


class Buckets:
    """A token bucket for each key, stored as the time at which it will be full.

    Of more than `keys_max` keys, those unused for longest are forgotten: their buckets are full again.
    """

    def __init__(self, rate_per_s: float, *, burst: float, keys_max: int = KEYS_MAX) -> None:
        self._token_s = 1 / rate_per_s if rate_per_s else 0.0  # time per token
        self._spare_s = (burst - 1) / rate_per_s if rate_per_s else 0.0
        self._keys_max = keys_max
        self._full_at_s: dict[Hashable, float] = {}
        self._older: dict[Hashable, float] = {}

    def take(self, key: Hashable, now_s: float, cost: float = 1.0) -> float:
        """Take the cost if there is a token; return 0, or the seconds until there is one.

        `now_s` is on a monotonic clock.
        """
        if not self._token_s:
            return float("inf")
        full_at_s = self._full_at_s.get(key)
        if full_at_s is None:
            full_at_s = self._older.get(key, now_s)
        full_in_s = full_at_s - now_s
        if full_in_s <= 0.0:
            full_in_s = 0.0
        elif full_in_s - self._spare_s > 1e-9:
            return full_in_s - self._spare_s
        self._full_at_s[key] = now_s + full_in_s + cost * self._token_s
        if len(self._full_at_s) > self._keys_max // 2:
            self._older, self._full_at_s = self._full_at_s, {}
        return 0.0

    def charge(self, key: Hashable, now_s: float, cost: float) -> None:
        """Take the cost even if there is no token."""
        full_at_s = self._full_at_s.get(key) or self._older.get(key, now_s)
        self._full_at_s[key] = max(full_at_s, now_s) + cost * self._token_s


class Senders(msgspec.Struct, frozen=True):
    """The trusted proxies, as (bits of the address, network, mask), and the header they name the sender in."""

    proxies: Sequence[tuple[int, int, int]]
    header: bytes

    def network(self, peer: str | None, headers: dict[bytes, bytes]) -> bytes | None:
        """Return the bytes of the sender's network; None for this machine, and for an invalid address."""
        return _network(self.address(peer, headers))

    def is_trusted(self, peer: str | None) -> bool:
        """Return whether what a peer's headers say of the sender is believed."""
        address = None if peer is None else _address(peer)
        return peer is None or (address is not None and self.is_proxy(address))

    def address(self, peer: str | None, headers: dict[bytes, bytes]) -> bytes | None:
        """Return the bytes of the sender's address; None if it is invalid.

        The sender is the last address that is not a trusted proxy: those before it could be forged.
        """
        address = None
        if peer is not None:
            address = _address(peer)
            if address is None or not self.is_proxy(address):
                return address
        for hop in reversed(headers.get(self.header, b"").decode("latin-1").split(",")):
            forwarded = _address(_forwarded_for(hop) if self.header == b"forwarded" else hop)
            if forwarded is None:
                break
            address = forwarded
            if not self.is_proxy(address):
                break
        return address

    def is_proxy(self, address: bytes) -> bool:
        """Return whether an address is that of a trusted proxy."""
        number, bits = int.from_bytes(address), len(address) * 8
        return any(bits == of_bits and number & mask == network for of_bits, network, mask in self.proxies)


def read_senders(settings: Settings) -> Senders | None:
    """Return how senders are identified, by the settings; None if there are no trusted proxies."""
    proxies = []
    for network in settings.trusted_proxies():
        proxies.append((network.max_prefixlen, int(network.network_address), int(network.netmask)))
    return Senders(proxies, settings.http_forwarded_header.encode()) if proxies else None


def _forwarded_for(element: str) -> str:
    """Return the value of `for=` in an element of the header Forwarded (RFC 7239)."""
    for pair in element.split(";"):
        name, _, value = pair.partition("=")
        if name.strip().lower() == "for":
            return value
    return ""


def _address(text: str) -> bytes | None:
    """Return the bytes of an address, which may have a port, brackets and quotes; None if it is invalid."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        if ":" not in text:
            return socket.inet_pton(socket.AF_INET, text)
        address = socket.inet_pton(socket.AF_INET6, text.partition("%")[0])
    except (OSError, ValueError):
        return None
    return address[12:] if address[:12] == _MAPPED else address


_MAPPED: Final = ipaddress.ip_address("::ffff:0.0.0.0").packed[:12]
_LOOPBACK_V6: Final = ipaddress.ip_address("::1").packed


def _network(address: bytes | None) -> bytes | None:
    if address is None or address == _LOOPBACK_V6:
        return None
    if len(address) == 4:
        return None if address[0] == 127 else address[:3]
    return address[:7]


class Sender(msgspec.Struct, frozen=True, gc=False):
    """The keys of the buckets that a request is charged to; None if there is none, or no limit."""

    session_id: str | None = None
    key: bytes | None = None
    network: bytes | None = None


class Rates:
    """The limits of one process. `now_s` is on a monotonic clock."""

    def __init__(self, settings: Settings) -> None:
        self._sessions = _buckets(settings.rate_session_per_s)
        self._keys = _buckets(settings.rate_key_per_s)
        self._senders = read_senders(settings)
        self._networks = _buckets(settings.rate_network_per_s) if self._senders else None
        self._salt = b""
        self._salt_ends_s = 0.0
        self._recent: dict[int, bytes | None] = {}  # keys of networks, by a hash of peer and header

    def sender(self, scope: Scope, headers: dict[bytes, bytes], session_id: str | None, now_s: float) -> Sender:
        """Return the sender of a request."""
        network = self._network(scope, headers, now_s) if self._networks is not None else None
        return Sender(session_id, headers.get(b"x-api-key"), network)

    def _network(self, scope: Scope, headers: dict[bytes, bytes], now_s: float) -> bytes | None:
        if self._senders is None:
            return None
        if now_s >= self._salt_ends_s:
            self._salt, self._salt_ends_s = secrets.token_bytes(32), now_s + DAY_S
            self._recent.clear()
        client = scope.get("client")
        peer = client[0] if client else None
        mark = hash(
            (peer, headers.get(self._senders.header))
        )  # with this process's hash seed, so that no address is kept
        if mark in self._recent:
            return self._recent[mark]
        network = self._senders.network(peer, headers)
        key = None if network is None else blake2s(network, key=self._salt, digest_size=16).digest()
        if len(self._recent) >= KEYS_MAX:
            self._recent.clear()
        self._recent[mark] = key
        return key

    def take(self, sender: Sender, now_s: float) -> TooMany | None:
        """Take a request's token from each of its buckets; return the fault if one has none."""
        key, network = sender.key, sender.network
        wait_s = 0.0
        if sender.session_id is not None and self._sessions is not None:
            wait_s = self._sessions.take(hash(sender.session_id), now_s)
            whose = "session"
        if not wait_s and key is not None and self._keys is not None:
            wait_s = self._keys.take(hash(key), now_s)
            whose = "API key"
        if not wait_s and network is not None and self._networks is not None:
            wait_s = self._networks.take(network, now_s)
            whose = "network"
        return TooMany(whose, wait_s) if wait_s else None

    def charge(self, sender: Sender, now_s: float, cost: float) -> None:
        """Charge for a request beyond its first token."""
        if sender.session_id is not None and self._sessions is not None:
            self._sessions.charge(hash(sender.session_id), now_s, cost)
        if sender.key is not None and self._keys is not None:
            self._keys.charge(hash(sender.key), now_s, cost)
        if sender.network is not None and self._networks is not None:
            self._networks.charge(sender.network, now_s, cost)


def _buckets(rate_per_s: float) -> Buckets | None:
    return Buckets(rate_per_s, burst=max(1.0, rate_per_s * BURST_S)) if rate_per_s else None
