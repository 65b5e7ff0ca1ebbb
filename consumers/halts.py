"""Halted partitions: why they are halted, and when that is logged again."""

from collections.abc import Iterator, Mapping

import msgspec
import structlog

logger = structlog.get_logger(__name__)

SAID_EVERY_S = 60.0
# Halts that concern what was read before them as well; a gap or a broken batch leaves that as it is.
SPOILING = frozenset(("flood", "log_replaced"))


class Halt(msgspec.Struct):
    """Why a partition is halted, and when that was last logged, by a monotonic clock."""

    code: str
    reason: str
    said_at: float | None = None


class Halts:
    """The halted partitions of one worker. Iterating gives their numbers."""

    def __init__(self) -> None:
        self._halts: dict[int, Halt] = {}

    def __iter__(self) -> Iterator[int]:
        return iter(self._halts)

    def __contains__(self, partition: int) -> bool:
        return partition in self._halts

    def add(self, partition: int, *, code: str, reason: str) -> None:
        """Halt a partition. If it is halted for the same reason already, that is not logged sooner."""
        known = self._halts.get(partition)
        if known is None or known.reason != reason:
            self._halts[partition] = Halt(code, reason)

    def discard(self, partition: int) -> None:
        """Let a partition be read again."""
        self._halts.pop(partition, None)

    def codes(self) -> dict[int, str]:
        """Return the code of each halt, by partition."""
        return {partition: halt.code for partition, halt in self._halts.copy().items()}

    def spoils(self, partition: int) -> bool:
        """Return whether records read before the halt must not be stored either."""
        halt = self._halts.get(partition)
        return halt is not None and halt.code in SPOILING

    def reason(self, partition: int) -> str | None:
        """Return why a partition is halted; None if it is not."""
        halt = self._halts.get(partition)
        return halt.reason if halt else None

    def take_due(self, now: float) -> list[tuple[int, Halt]]:
        """Return the halts to log now (at once and then every `SAID_EVERY_S`), and count them as logged."""
        due = [
            (partition, halt)
            for partition, halt in self._halts.items()
            if halt.said_at is None or now - halt.said_at >= SAID_EVERY_S
        ]
        for _, halt in due:
            halt.said_at = now
        return due


def log_halts(halts: Halts, next_offsets: Mapping[int, int], *, now_s: float) -> None:
    """Log the halts that are due, each with the offset at which reading stopped."""
    for partition, halt in halts.take_due(now_s):
        logger.error(
            "partition halted",
            code=halt.code,
            partition=partition,
            next_offset=next_offsets.get(partition),
            message=halt.reason,
        )
