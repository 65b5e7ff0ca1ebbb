"""Everything that can go wrong between a player and the lake, as one tree.

    Fault
    ├── Refusal                  the sender's mistake; retrying does not help
    │   ├── Malformed            400  malformed
    │   ├── NotJson              400  not_json
    │   ├── InvalidEvent         400  invalid_event
    │   ├── InvalidTracking      400  tracking_not_valid
    │   ├── KeyRefused           401  key_refused
    │   ├── NoSuchRoute          404  no_such_route
    │   ├── UnknownSession       404  unknown_session
    │   ├── MethodNotAllowed     405  method_not_allowed
    │   ├── BodyTooSlow          408  body_too_slow
    │   ├── SessionOver          410  session_over
    │   ├── TooLarge             413  too_large
    │   └── HeadersTooLarge      431  headers_too_large
    ├── TooMany                  429  rate_limited      (retry)
    ├── Overloaded               503  overloaded        (retry)
    ├── LogUnavailable           503  log_unavailable   (retry)
    ├── LogGap                   500  log_gap
    ├── LogTruncated             500  log_truncated
    ├── LogReplaced              500  log_replaced
    ├── LogCorrupt               500  log_corrupt
    └── NotReady                 500  not_ready
        └── SchemaMismatch       500  schema_mismatch

A fault knows its code, its HTTP status and whether to retry. The code is the reply's error code, the
metric's label and the reason in `quarantine`; `ingest/replies.py` alone turns a fault into a reply.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple


class Fault(Exception):  # noqa: N818  (`Fault` is the project's word)
    """What every fault has: `code`, `status`, `retryable`, and a message for the person who reads it."""

    code: ClassVar[str] = "fault"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False


def codes_of_faults() -> frozenset[str]:
    """Return the codes of all faults."""
    kinds: list[type[Fault]] = [Fault]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return frozenset(kind.code for kind in kinds)


class Refusal(Fault):
    """The request is refused; the message says which field, and what was expected."""

    code = "refused"
    status = 400


class Malformed(Refusal):
    """The request is not HTTP."""

    code = "malformed"


class Flaw(NamedTuple):
    """One thing that makes a body no JSON, and its place, () if that is not known.

    `token` is the first byte of what is no value (`NaN`), and the byte after it, if that is what is wrong.
    """

    message: str
    path: tuple[str | int, ...] = ()
    token: tuple[int, int] | None = None


class NotJson(Refusal):
    """The body is not one JSON document in UTF-8: for these flaws, if it was looked for them.

    `mended` is what it would be without them, if they are all and each has a place.
    """

    code = "not_json"

    def __init__(self, message: str, flaws: Sequence[Flaw] = (), mended: bytes | None = None) -> None:
        super().__init__(message)
        self.flaws, self.mended = flaws, mended

    def and_also(self, messages: Sequence[str]) -> "NotJson":
        """Return the same refusal, with these messages at its end."""
        return NotJson("; ".join([str(self), *messages]), self.flaws, self.mended)


class InvalidEvent(Refusal):
    """The body is JSON, but not an event of the Media Collection vocabulary; `path` leads to one of several."""

    code = "invalid_event"

    def __init__(self, message: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.path = path


class InvalidTracking(Refusal):
    """No tracking session came with the request, or it is not valid."""

    code = "tracking_not_valid"


class KeyRefused(Refusal):
    """The API key is missing or unknown."""

    code = "key_refused"
    status = 401


class NoSuchRoute(Refusal):
    """There is no such path."""

    code = "no_such_route"
    status = 404


class UnknownSession(Refusal):
    """The session id was never issued."""

    code = "unknown_session"
    status = 404


class MethodNotAllowed(Refusal):
    """The path exists, but not for this method."""

    code = "method_not_allowed"
    status = 405


class BodyTooSlow(Refusal):
    """The request did not arrive within the deadline."""

    code = "body_too_slow"
    status = 408


class SessionOver(Refusal):
    """The session has ended: start a new one."""

    code = "session_over"
    status = 410


class TooLarge(Refusal):
    """The body, or the record made of it, is larger than the limit."""

    code = "too_large"
    status = 413


class HeadersTooLarge(Refusal):
    """The headers, the path among them, are larger than the limit."""

    code = "headers_too_large"
    status = 431


class TooMany(Fault):
    """More came from one session, API key or network than its rate allows; try again after `retry_after_s`."""

    code = "rate_limited"
    status = 429
    retryable = True

    def __init__(self, whose: str, retry_after_s: float) -> None:
        super().__init__(f"Expected fewer requests from one {whose}")
        self.retry_after_s = retry_after_s


class Overloaded(Fault):
    """Too many bytes of request bodies are in flight; try again."""

    code = "overloaded"
    status = 503
    retryable = True


class LogUnavailable(Fault):
    """The append was not confirmed in time, and may or may not succeed; try again."""

    code = "log_unavailable"
    status = 503
    retryable = True


class LogGap(Fault):
    """The log no longer has offset `asked`; the first offset it has is `found`."""

    code = "log_gap"

    def __init__(self, partition: int, asked: int, found: int) -> None:
        super().__init__(f"partition {partition}: offsets {asked} to {found - 1} are gone from the log")
        self.partition, self.asked, self.found = partition, asked, found


class LogTruncated(Fault):
    """The log ends at `end`, before the offset `asked` that the lake already counts as read."""

    code = "log_truncated"

    def __init__(self, partition: int, asked: int, end: int) -> None:
        super().__init__(f"partition {partition}: the log ends at {end}, but the lake has read up to {asked}")
        self.partition, self.asked, self.end = partition, asked, end


class LogReplaced(Fault):
    """The log is not the one that the lake has read: it was lost or deleted, and created again under its name."""

    code = "log_replaced"

    def __init__(self, partition: int, why: str) -> None:
        super().__init__(f"partition {partition}: the log was replaced: {why}")
        self.partition, self.why = partition, why


class LogCorrupt(Fault):
    """The log has offset `asked`, but the records from there up to `following` cannot be read."""

    code = "log_corrupt"

    def __init__(self, partition: int, asked: int, following: int, why: str) -> None:
        super().__init__(f"partition {partition}: offsets {asked} to {following - 1} cannot be read: {why}")
        self.partition, self.asked, self.following, self.why = partition, asked, following, why


class NotReady(Fault):
    """Something that start-up needs is missing or wrong; the message names the remedy."""

    code = "not_ready"


class SchemaMismatch(NotReady):
    """A lake, log or backup has a schema number that this program does not support; the message names both."""

    code = "schema_mismatch"
