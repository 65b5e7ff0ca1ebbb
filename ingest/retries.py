"""By what a retried start is known again: the same bytes, from the same address, by the same user agent.

A player that does not hear the reply to its sessionStart posts it again, alone or as the first of an array, and
the first session stays unused. The log has a keyed hash of each start's request, 64 bits, so that the lake can
tell such copies from two viewers who start at once. The key is derived from the pseudonym key and the day (UTC):
hashes of two days cannot be compared, and without the key none can be made again. In the first minute of a day a
start also has the hash of the last one. Pure.
"""

import functools
import hmac
from datetime import date, timedelta
from hashlib import blake2b
from typing import Final

from ingest.intake import Request

RETRIED_WITHIN: Final = timedelta(minutes=1)


def request_hashes(key: bytes, request: Request) -> list[str]:
    """Return the hashes of a request, 16 hexadecimal characters each: one, or two in the first minute of a day.

    `key` is the pseudonym key; of an array the body is the first event. The address is what proxies say it is, for
    it is compared with nothing but itself.
    """
    headers = request.headers
    address = headers.get(b"forwarded", b"") + b"\0" + headers.get(b"x-forwarded-for", b"")
    if address == b"\0":
        address = request.peer.encode()
    said = b"\0".join((address, headers.get(b"user-agent", b""), request.body))
    received = request.received
    days = [received.date()]
    if received.hour == 0:  # dates cost more than the hour
        days = list(dict.fromkeys((days[0], (received - RETRIED_WITHIN).date())))
    return [blake2b(said, key=_key_of(key, day), digest_size=8).hexdigest() for day in days]


@functools.lru_cache(maxsize=4)
def _key_of(key: bytes, day: date) -> bytes:
    return hmac.digest(key, b"retried starts\0" + day.isoformat().encode(), "sha256")
