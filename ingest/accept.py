"""The one place that waits for the log: what is accepted is durable when this returns; what was refused is kept.

A refused body is kept as well as it goes: at a limited rate, in a limited size, after the reply and never
instead of it.
"""

import asyncio
import hmac
import time
from collections.abc import AsyncIterable, Sequence
from datetime import datetime
from typing import Any, Final

import structlog

from eventlog import Writer
from ingest.identity import RefusedVeil, event_denies
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
TOGETHER_MAX: Final = 512
TOGETHER_TIMEOUT_S: Final = 4.5

logger = structlog.get_logger(__name__)


class Accept:
    """Appends accepted records, and refused bodies, to one log."""

    def __init__(
        self,
        writer: Writer,
        metrics: Metrics,
        *,
        pseudonym_key: bytes,
        links_devices: bool,
        rejected_per_s: float,
        entropy: Entropy,
    ) -> None:
        self.writer = writer
        self._metrics = metrics
        self._pseudonym_key = pseudonym_key
        self._veil = RefusedVeil(pseudonym_key, links_devices=links_devices)
        self._kept = Buckets(rejected_per_s, burst=max(1.0, rejected_per_s))
        self._entropy = entropy
        self._appended = metrics.appended
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
            self._appended.observe(took_s)
        self._clock.compare(appended, began_s=began_s, took_s=took_s)
        self._appended.accepted[envelope.type] += 1

    async def append_all(self, partition: int, groups: AsyncIterable[Sequence[Envelope]]) -> None:
        """Return once all are durable. Raises LogUnavailable or TooLarge: then some are, and some are not.

        They go in groups, of which the records may change places; their order is that of their timestamps.
        """
        try:
            async with asyncio.timeout(TOGETHER_TIMEOUT_S):
                async for group in groups:
                    await asyncio.gather(*(self.append(partition, envelope) for envelope in group))
        except TimeoutError:
            raise LogUnavailable(f"not durable within {TOGETHER_TIMEOUT_S:g} s") from None

    def keep_refused(self, fault: Fault, body: bytes, *, route: str, received: datetime, denied: bool) -> None:
        """Keep what was refused, in a task of its own, if the rate and the backlog allow it."""
        if len(self._keeping) >= KEPT_BACKLOG_MAX:
            self._metrics.rejected_dropped.labels("backlog").inc()
        elif self._kept.take(None, time.monotonic()):
            self._metrics.rejected_dropped.labels("rate").inc()
        else:
            rejected = Rejected(
                reason=fault.code,
                detail=str(fault)[:DETAIL_CHARACTERS_MAX],
                size_bytes=len(body),
                # Keyed, because what a short body says could be guessed from a plain hash.
                hmac_sha256=hmac.digest(self._pseudonym_key, body, "sha256").hex(),
                route=route,
                body=body_to_keep(body, self._veil, denied=denied),
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
            self._metrics.rejected_dropped.labels("log").inc()
            logger.warning("rejected_not_kept", code=fault.code)
        else:
            self._metrics.rejected_kept.inc()

    async def settle(self) -> None:
        """Wait for the refused bodies that are still on their way, each within the log's own deadline."""
        while self._keeping:
            await asyncio.wait(self._keeping)


def body_to_keep(body: bytes, veil: RefusedVeil, *, denied: bool) -> Any:
    """Return a refused body, identities replaced, if it is JSON and not too large; else None."""
    if len(body) > KEPT_BODY_BYTES_MAX:
        return None
    try:
        value = read_json(body)
    except NotJson:
        return None
    events = value if type(value) is list else [value]
    denied = denied or any(type(event) is dict and event_denies(event) for event in events)
    return veil.over(value, denied=denied).value
