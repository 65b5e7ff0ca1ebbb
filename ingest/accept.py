"""The only place that waits for the log: accepted records are durable when this returns; refused bodies are kept.

A refused body is kept as well as it goes: at a limited rate, in a limited size, after the reply and never
instead of it.
"""

import asyncio
import hmac
import re
import time
from collections.abc import AsyncIterable, Callable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import structlog

from eventlog import Writer
from ingest.identity import REMOVED, RefusedPseudonymizer
from ingest.incoming import meant
from ingest.metrics import Metrics
from ingest.rates import Buckets
from schemas import records
from schemas.faults import Fault, LogUnavailable, NotJson, TooLarge
from schemas.ids import Entropy, mint_event_id
from schemas.media import read_json
from schemas.records import Envelope, Rejected
from schemas.vocabulary import EVENT_TYPES

ACCEPTED_TYPES: Final = (
    *(records.MEDIA + name for name in EVENT_TYPES),
    records.TRACKING_CREATED,
    records.TRACKING_DELETED,
)
KEPT_BODY_BYTES_MAX: Final = 16_384
KEPT_BACKLOG_MAX: Final = 1_000
DETAIL_CHARACTERS_MAX: Final = 1_024
PLAYER_CHARACTERS_MAX: Final = 256
TOGETHER_MAX: Final = 512
TOGETHER_TIMEOUT_S: Final = 4.5
# The parts of a fault's message that quote the request (`schemas.paths.quote`).
_quoted = re.compile(r"'([^']*)'")

logger = structlog.get_logger(__name__)


class Accept:
    """Appends accepted records, and refused bodies, to one log."""

    def __init__(
        self,
        writer: Writer,
        metrics: Metrics,
        *,
        pseudonym_key: bytes,
        pseudonymizer: RefusedPseudonymizer,
        rejected_per_s: float,
        entropy: Entropy,
        monotonic_s: Callable[[], float],
    ) -> None:
        self.writer = writer
        self._metrics = metrics
        self._pseudonym_key = pseudonym_key
        self._pseudonymizer = pseudonymizer
        self._kept = Buckets(rejected_per_s, burst=max(1.0, rejected_per_s))
        self._entropy = entropy
        self._monotonic_s = monotonic_s
        self._append_seconds, self._accepted = metrics.append_seconds, metrics.accepted
        self._clock = metrics.clock
        self._keeping: set[asyncio.Task[None]] = set()

    def any_partition(self) -> int:
        """Choose a partition at random."""
        return int.from_bytes(self._entropy(4)) % self.writer.partitions

    async def append(self, partition: int, envelope: Envelope) -> None:
        """Return once the record is durable. Raises LogUnavailable or TooLarge."""
        value = records.encode(envelope)
        began_s = time.perf_counter()
        try:
            appended = await self.writer.append(partition, key=envelope.subject.encode(), value=value)
        finally:
            took_s = time.perf_counter() - began_s
            self._append_seconds.observe(took_s)
        self._clock.compare(appended, began_s=began_s, took_s=took_s)
        self._accepted[envelope.type].value += 1

    async def append_all(self, partition: int, groups: AsyncIterable[Sequence[Envelope]]) -> None:
        """Return once all are durable. Raises LogUnavailable or TooLarge; some records may then be durable.

        They go in groups, of which the records may change places; their order is that of their timestamps.
        """
        try:
            async with asyncio.timeout(TOGETHER_TIMEOUT_S):
                async for group in groups:
                    await asyncio.gather(*(self.append(partition, envelope) for envelope in group))
        except TimeoutError:
            raise LogUnavailable(f"not durable within {TOGETHER_TIMEOUT_S:g} s") from None

    def keep_refused(
        self,
        fault: Fault,
        body: bytes,
        *,
        route: str,
        received: datetime,
        denied: bool,
        key_name: str | None = None,
        session_id: str | None = None,
    ) -> None:
        """Keep a refused body, in its own task, if rate and backlog allow it."""
        if len(self._keeping) >= KEPT_BACKLOG_MAX:
            self._metrics.rejected_dropped["backlog"].value += 1
        elif self._kept.take(None, self._monotonic_s()):
            self._metrics.rejected_dropped["rate"].value += 1
        else:
            kept = refused_to_keep(fault, body, self._pseudonymizer, denied=denied)
            rejected = Rejected(
                reason=fault.code,
                detail=kept.detail,
                size_bytes=len(body),
                # Keyed, because a short body could be guessed from a plain hash.
                hmac_sha256=hmac.digest(self._pseudonym_key, body, "sha256").hex(),
                route=route,
                key_name=key_name,
                session_id=session_id,
                player_name=_said(kept.body, "media.playerName"),
                app_version=_said(kept.body, "media.sdkVersion"),
                body=kept.body,
            )
            task = asyncio.create_task(self._keep(rejected, received))
            self._keeping.add(task)
            task.add_done_callback(self._keeping.discard)

    async def _keep(self, rejected: Rejected, received: datetime) -> None:
        envelope = Envelope(
            specversion=records.SPEC_VERSION,
            id=mint_event_id(now_ms=int(received.timestamp() * 1000), entropy=self._entropy),
            source=rejected.route.partition("/{")[0],
            type=records.REJECTED,
            time=received,
            receivedtime=received,
            data=rejected,
        )
        try:
            await self.writer.append(self.any_partition(), key=b"", value=records.encode(envelope))
        except (LogUnavailable, TooLarge) as fault:
            self._metrics.rejected_dropped["log"].value += 1
            logger.warning("rejected not kept", code=fault.code)
        else:
            self._metrics.rejected_kept.value += 1

    async def settle(self) -> None:
        """Wait for refused bodies that are still being appended, each within the log's deadline."""
        while self._keeping:
            await asyncio.wait(self._keeping)


class Kept(NamedTuple):
    """What is kept of a refusal besides sizes and hashes."""

    detail: str
    body: Any


def refused_to_keep(fault: Fault, body: bytes, pseudonymizer: RefusedPseudonymizer, *, denied: bool) -> Kept:
    """Return the detail of a refusal, and its body if that is JSON and not too large, identities replaced.

    A detail quotes what was sent. Under a denial nothing that was quoted is kept, by the caller's denial or by one
    in the body, also if that is JSON but for a few of its values.
    """
    value = judged = None
    if len(body) <= KEPT_BODY_BYTES_MAX:
        try:
            value = judged = read_json(body)
        except NotJson as not_json:
            judged = meant(not_json)
    denied = denied or pseudonymizer.denies(judged)
    replaced, _ = pseudonymizer.over(value, denied=denied)
    return Kept(_detail(str(fault), pseudonymizer, denied=denied), replaced)


def _said(body: Any, key: str) -> str | None:
    """Return what a refused event, or the first of several, says of its player; None if that is no usual text."""
    event = body[0] if type(body) is list and body else body
    params = event.get("params") if type(event) is dict else None
    value = params.get(key) if type(params) is dict else None
    is_text = type(value) is str and value.isprintable() and 0 < len(value) <= PLAYER_CHARACTERS_MAX
    return value if is_text and value != REMOVED else None


def _detail(text: str, pseudonymizer: RefusedPseudonymizer, *, denied: bool) -> str:
    def keep(quoted: re.Match[str]) -> str:
        return REMOVED if denied or pseudonymizer.text(quoted[1], denied=denied) != quoted[1] else quoted[0]

    text = _quoted.sub(keep, text)
    return REMOVED if "@" in text or "%40" in text else text[:DETAIL_CHARACTERS_MAX]
