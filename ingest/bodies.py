"""The bodies of requests: read and decompressed within the limits of one request and of all together.

A body that arrives whole and no larger than one event is passed on as it is; it costs no one anything. Whatever
takes longer or is larger holds a share of one budget, from its first byte until its reply. What is over the budget
is refused and discarded, so that senders who stall hold no more memory than the budget has.
"""

import asyncio
import ctypes
import re
import zlib
from typing import Any, Final

import msgspec
from litestar.types import Receive, Scope

from ingest.http import CUT_OFF, Disconnected
from schemas.faults import Fault, NotJson, Overloaded, TooLarge
from schemas.settings import Settings

# A sender that gets a reply while it still sends may see a reset connection instead, so a refused body is read to
# its end and discarded.
DISCARDED_BYTES_MAX: Final = 8_388_608
# Arrays of real events decompress to 20-40 times their size.
UNPACKED_RATIO_MAX: Final = 100
UNPACKED_SLICE_BYTES: Final = 262_144  # a millisecond's work
TRIMMED_BYTES_MIN: Final = 4_194_304
TRIM_DELAY_S: Final = 0.5

_array_begins = re.compile(rb"[ \t\r\n]*\[").match
_libc = ctypes.CDLL(None)


class BodyLimits(msgspec.Struct, frozen=True):
    """The largest body of a route, decompressed: of an array (0: none is accepted), and of anything else."""

    event_bytes_max: int
    array_bytes_max: int = 0

    def of(self, beginning: bytes) -> int:
        """Return the limit of a body, by its first bytes."""
        if self.array_bytes_max and _array_begins(beginning):
            return max(self.event_bytes_max, self.array_bytes_max)
        return self.event_bytes_max

    @property
    def largest(self) -> int:
        """The larger of the two limits."""
        return max(self.event_bytes_max, self.array_bytes_max)


def limits_of_events(settings: Settings) -> BodyLimits:
    """Return the limits of the routes that take a sessionStart, or a whole offline session."""
    return BodyLimits(settings.http_body_bytes_max, settings.http_downloaded_bytes_max)


class Budget:
    """The bytes that the bodies in flight of a process may hold together.

    A quarter is kept for bodies of the size of an event: arrays cannot take all of it.
    """

    def __init__(self, bytes_max: int, *, small_bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._small_bytes_max = small_bytes_max
        self._freed_bytes = 0
        self._is_trim_due = False
        self.held_bytes = 0

    def take(self, size_bytes: int, *, body_bytes: int) -> None:
        """Take bytes for a body that holds `body_bytes` including them. Raises Overloaded if they are not free."""
        allowed = self._bytes_max if body_bytes <= self._small_bytes_max else self._bytes_max * 3 // 4
        if self.held_bytes + size_bytes > allowed:
            raise Overloaded(f"the bodies in flight hold {self.held_bytes} bytes")
        self.held_bytes += size_bytes

    def give(self, size_bytes: int) -> None:
        """Return bytes to the budget; if they are many, the C library soon returns memory to the system."""
        self.held_bytes -= size_bytes
        self._freed_bytes += size_bytes
        if self._freed_bytes >= TRIMMED_BYTES_MIN and not self._is_trim_due:
            self._is_trim_due = True
            asyncio.get_running_loop().call_later(TRIM_DELAY_S, self._trim)

    def _trim(self) -> None:
        """Let the C library return free pages to the system, if it can."""
        self._freed_bytes = 0
        self._is_trim_due = False
        if hasattr(_libc, "malloc_trim"):
            _libc.malloc_trim(0)


class Share:
    """One request's share of the budget."""

    __slots__ = ("_budget", "held_bytes", "taken_bytes")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.held_bytes = 0
        self.taken_bytes = 0  # including what was returned since

    def take(self, size_bytes: int) -> None:
        """Take more bytes. Raises Overloaded."""
        self._budget.take(size_bytes, body_bytes=self.held_bytes + size_bytes)
        self.held_bytes += size_bytes
        self.taken_bytes += size_bytes

    def give(self) -> None:
        """Return everything to the budget."""
        if self.held_bytes:
            self._budget.give(self.held_bytes)
            self.held_bytes = 0


def is_one_event(message: Any, limits: BodyLimits) -> bool:
    """Return whether the first message has the whole body, no larger than one event may be."""
    return (
        message["type"] == "http.request"
        and not message["more_body"]
        and len(message["body"]) <= limits.event_bytes_max
    )


async def read_body(
    message: Any,
    scope: Scope,
    receive: Receive,
    headers: dict[bytes, bytes],
    limits: BodyLimits,
    share: Share,
    *,
    refusal: Fault | None = None,
) -> bytes:
    """Read a body as it was sent, from its first message; with a `refusal` discard it, and raise that.

    Raises TooLarge, Overloaded, Disconnected, and what cut the body off (BodyTooSlow, NotJson).
    """
    is_packed = b"content-encoding" in headers
    parts: list[bytes] = []
    size = 0
    while message["type"] == "http.request":
        part = message["body"]
        size += len(part)
        if refusal is None:
            try:
                share.take(len(part))
                parts.append(part)
                if size > limits.event_bytes_max:
                    if len(parts) > 1 and len(parts[0]) < limits.event_bytes_max:
                        parts = [b"".join(parts)]
                    check_size(size, limits.largest if is_packed else limits.of(parts[0]))
            except (TooLarge, Overloaded) as fault:
                refusal = fault
                parts.clear()
                share.give()
        if not message["more_body"] or size > limits.largest + DISCARDED_BYTES_MAX:
            if refusal is not None:
                raise refusal
            return b"".join(parts)
        if (cut_off := scope.get("state", {}).get(CUT_OFF)) is not None:
            raise cut_off
        message = await receive()
    raise Disconnected


def check_size(size: int, bytes_max: int, *, unpacked: str = "") -> None:
    """Raise TooLarge for a body of more bytes than these."""
    if size > bytes_max:
        raise TooLarge(f"Expected a body of at most {bytes_max} bytes{unpacked}")


def check_announced_size(announced: bytes, headers: dict[bytes, bytes], limits: BodyLimits) -> None:
    """Refuse, by Content-Length, a body that is far too large, or whose sender waits for permission to send it.

    Raises TooLarge.
    """
    if announced.isdigit():
        size = int(announced)
        if size <= limits.event_bytes_max:
            return
        bytes_max = limits.largest
        allowance = 0 if b"expect" in headers else DISCARDED_BYTES_MAX
        if size > bytes_max + allowance:
            raise TooLarge(f"Expected a body of at most {bytes_max} bytes, got {size}")


async def unpack(body: bytes, encoding: bytes, limits: BodyLimits, share: Share) -> bytes:
    """Undo the Content-Encoding, a slice at a time.

    Raises NotJson if it is not gzip; TooLarge before more is unpacked than the route takes, or than
    `UNPACKED_RATIO_MAX` times what was sent (a body of the size of an event may be packed as well as it can be);
    Overloaded.
    """
    if encoding in (b"", b"identity"):
        return body
    if encoding.lower() not in (b"gzip", b"x-gzip"):
        raise NotJson("Expected a Content-Encoding of gzip or identity")
    ratio_bytes_max = max(limits.event_bytes_max, UNPACKED_RATIO_MAX * len(body))
    bytes_max = limits.event_bytes_max
    slice_bytes = bytes_max + 1
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    parts: list[bytes] = []
    size = 0
    while True:
        try:
            part = unpacker.decompress(body, slice_bytes)
        except zlib.error as error:
            is_json = body.lstrip()[:1] in (b"{", b"[")
            why = "it is JSON as it is; leave out Content-Encoding" if is_json else str(error)
            raise NotJson(f"The body is not gzip: {why}") from None
        size += len(part)
        parts.append(part)
        if size > bytes_max:
            bytes_max = limits.of(parts[0])
            check_size(size, bytes_max, unpacked=" unpacked")
        if size > ratio_bytes_max:
            raise TooLarge(f"Expected a body of at most {UNPACKED_RATIO_MAX} times its packed size")
        body = unpacker.unconsumed_tail
        if unpacker.eof or (not body and len(part) < slice_bytes):
            break
        share.take(len(part))
        slice_bytes = min(UNPACKED_SLICE_BYTES, bytes_max + 1)
        await asyncio.sleep(0)
    if not unpacker.eof or unpacker.unused_data:
        raise NotJson("The body is not one gzip stream")
    return b"".join(parts)
