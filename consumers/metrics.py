"""What a worker counts: by batch, never by event, so that it costs nothing that can be measured."""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from typing import get_args

from consumers.batch import Batch, DecodedChunk
from consumers.halts import Halts
from consumers.held_partition import HeldPartition, PartitionChanges
from lake.changes import CloseReason
from observability import catalogue
from observability.meter import Labels, Meter
from schemas.faults import codes_of_faults

BEHIND_S = 10.0  # a worker commits every second
FAILURES = ("fenced", "lake", "log", "not_ready")
CHANGES = ("assigned", "released")
REASONS = codes_of_faults() | {"unknown_type", "future_version"}


class Unstored:
    """The chunks of one partition that were read and are not in the lake, and where its log ends.

    Each chunk is the offset after its last record, and when its first was appended.
    """

    def __init__(self) -> None:
        self.chunks: deque[tuple[int, int]] = deque()
        self.end_offset: int | None = None

    def read(self, chunk: DecodedChunk) -> None:
        """Note what was read."""
        self.end_offset = chunk.end_offset
        if chunk.entries and chunk.first_ms is not None:
            self.chunks.append((chunk.entries[-1].offset + 1, chunk.first_ms))

    def oldest_ms(self) -> int | None:
        """Return when the oldest of them was appended."""
        try:
            return self.chunks[0][1]
        except IndexError:
            return None

    def store(self, next_offset: int) -> None:
        """Forget what is in the lake."""
        while self.chunks and self.chunks[0][0] <= next_offset:
            self.chunks.popleft()


class WorkerMetrics:
    """The numbers of a worker. All are changed on its event loop, and read by the thread of a scrape.

    `held` are the partitions that the worker holds, `now_ms` returns the time, by the clock that appends go by.
    """

    def __init__(
        self, meter: Meter, *, held: dict[int, HeldPartition], halts: Halts, now_ms: Callable[[], int]
    ) -> None:
        self._meter, self._held, self._halts, self._now_ms = meter, held, halts, now_ms
        self._unstored: dict[int, Unstored] = {}
        self._decode_s = 0.0
        self._is_refused = False  # a transaction, which is tried again
        self._batch = meter.histogram(catalogue.BATCH)
        self._decode = meter.histogram(catalogue.DECODE_SECONDS)
        self._fold = meter.histogram(catalogue.FOLD_SECONDS)
        self._commit = meter.histogram(catalogue.COMMIT_SECONDS)
        self._freshness = meter.histogram(catalogue.FRESHNESS)
        self._stored = meter.number(catalogue.STORED)
        self._duplicates = meter.number(catalogue.DUPLICATES)
        self._late = meter.number(catalogue.LATE)
        self._reopened = meter.number(catalogue.REOPENED)
        self._closed = {reason: meter.number(catalogue.CLOSED, reason) for reason in get_args(CloseReason)}
        self._failures = {kind: meter.number(catalogue.FAILURES, kind) for kind in FAILURES}
        self._rebalances = {change: meter.number(catalogue.REBALANCES, change) for change in CHANGES}
        self._log_up = meter.number(catalogue.WORKER_LOG_UP)
        self._lake_up = meter.number(catalogue.WORKER_LAKE_UP)
        meter.at_scrape(catalogue.PARTITIONS, lambda: {(): len(held)})
        meter.at_scrape(catalogue.OPEN_SESSIONS, lambda: self._each(lambda each: len(each.sessions.open)))
        meter.at_scrape(catalogue.LAG_RECORDS, lambda: self._each(self._lag_records))
        meter.at_scrape(catalogue.LAG_SECONDS, lambda: self._each(self._lag_s))
        meter.at_scrape(catalogue.HALTED, lambda: {(str(p), code): 1 for p, code in halts.codes().items()})

    def _each(self, number: Callable[[HeldPartition], float | None]) -> dict[Labels, float]:
        numbers = {partition: number(held) for partition, held in self._held.copy().items()}
        return {(str(partition),): value for partition, value in numbers.items() if value is not None}

    def _lag_records(self, held: HeldPartition) -> int | None:
        unstored = self._unstored.get(held.ledger.log_partition)
        if unstored is None or unstored.end_offset is None:
            return None
        return max(0, unstored.end_offset - held.ledger.next_offset)

    def _lag_s(self, held: HeldPartition) -> float | None:
        """Return how old the oldest record is that is not stored; None while the end of the log is unknown.

        If it was not read yet, the last that was stored is taken, which is older.
        """
        lag_records, now_ms = self._lag_records(held), self._now_ms()
        if not lag_records:
            return None if lag_records is None else 0.0
        unstored = self._unstored.get(held.ledger.log_partition)  # another thread may have released it meanwhile
        oldest_ms = None if unstored is None else unstored.oldest_ms()
        if oldest_ms is None:
            oldest_ms = held.last.appended_ms if held.last else now_ms
        return max(0, now_ms - oldest_ms) / 1000

    def log_answered(self) -> None:
        """Note that a read of the log succeeded."""
        self._log_up.value = 1

    def lake_answered(self) -> None:
        """Note that the lake could be read; one that refuses transactions may be read all the time."""
        self._lake_up.value = not self._is_refused

    def refused(self) -> None:
        """Note that the lake refused a transaction."""
        self._is_refused = True
        self._lake_up.value = 0

    def read(self, chunk: DecodedChunk, *, decode_s: float) -> None:
        """Count what was read and decoded of a partition."""
        self._decode_s += decode_s
        if (unstored := self._unstored.get(chunk.partition)) is None:
            unstored = self._unstored[chunk.partition] = Unstored()
        unstored.read(chunk)
        if chunk.entries:
            self._meter.number(catalogue.READ, str(chunk.partition)).value += len(chunk.entries)

    def decoded(self, batch: Batch) -> None:
        """Count a batch that is complete."""
        if batch.records:
            self._decode.observe(self._decode_s)
        self._decode_s = 0.0

    def committed(
        self, changes: Collection[PartitionChanges], batch: Batch, *, fold_s: float, commit_s: float
    ) -> None:
        """Count a transaction, and how old what it stored was."""
        if not changes:
            return
        self._took()
        if batch.records:
            self._batch.observe(batch.records)
            self._fold.observe(fold_s)
        self._commit.observe(commit_s)
        now_ms = self._now_ms()
        for each in changes:
            if (unstored := self._unstored.get(each.partition)) is not None:
                oldest_ms = unstored.oldest_ms()
                if oldest_ms is not None and batch.by_partition.get(each.partition):
                    self._freshness.observe(max(0, now_ms - oldest_ms) / 1000)
                unstored.store(each.held.ledger.next_offset)
            self._count(each)

    def _took(self) -> None:
        self._is_refused = False
        self._lake_up.value = 1

    def _count(self, each: PartitionChanges) -> None:
        changes = each.changes
        self._stored.value += len(changes.events) + len(changes.tracking)
        self._duplicates.value += len(changes.duplicates)
        self._late.value += changes.late
        self._reopened.value += changes.reopened
        self._add(catalogue.QUARANTINED, ((bad.source, _known(bad.reason)) for bad in changes.bad))
        self._add(catalogue.FLAGGED, ((rule,) for row in changes.closed for rule in row.facts.flags))
        for row in changes.closed:
            if row.close_reason is not None:
                self._closed[row.close_reason].value += 1

    def _add(self, metric: catalogue.Metric, labels: Iterable[Labels]) -> None:
        for of_number, count in Counter(labels).items():
            self._meter.number(metric, *of_number).value += count

    def failed(self, kind: str) -> None:
        """Count a failure: `fenced`, `lake`, `log`, or `not_ready`."""
        self._failures[kind].value += 1
        if kind == "log":
            self._log_up.value = 0
        elif kind == "lake":
            self._lake_up.value = 0
        elif kind == "fenced":
            self._took()

    def assigned(self, partition: int) -> None:
        """Count a partition that was assigned; what was read of it before is read again."""
        self._rebalances["assigned"].value += 1
        self._unstored.pop(partition, None)

    def released(self, partition: int) -> None:
        """Count a partition that was released; its records are another worker's now."""
        self._is_refused = False
        self._rebalances["released"].value += 1
        self._unstored.pop(partition, None)

    def start_again(self) -> None:
        """Forget what was read: it is read again, from the ledgers."""
        for unstored in self._unstored.values():
            unstored.chunks.clear()

    async def ready(self) -> list[str]:
        """Return why the worker cannot work."""
        wrong = [] if self._log_up.value else ["the log does not answer"]
        return wrong if self._lake_up.value else [*wrong, "the lake takes nothing"]

    async def flow(self) -> list[str]:
        """Return what keeps records from the lake."""
        halted = [f"partition {p} is halted: {self._halts.reason(p)}" for p in sorted(self._halts)]
        lags = {p: self._lag_s(held) for p, held in sorted(self._held.items()) if p not in self._halts}
        behind = [f"partition {p} is {lag_s:.0f} s behind" for p, lag_s in lags.items() if (lag_s or 0) > BEHIND_S]
        return [*await self.ready(), *halted, *behind]


def _known(reason: str) -> str:
    """Return a reason, or `other`: those of refused requests are what a record of the log says."""
    return reason if reason in REASONS else "other"
