"""Appends that wait for a log: bounded in number and bytes, each with its deadline, taken in groups.

Both adapters commit in groups: while one group is being made durable, further appends queue up here, one lane per
partition, and form the next group. This file decides which appends may wait and until when; the adapter decides
when to take them, and reports the result. Three things follow from that division:

* An append ends at its deadline whatever the adapter is doing, because a timer of the event loop ends it, not the
  thread or task that may be stuck in the disk or the network.
* An append whose deadline passes before it is taken is withdrawn and never reaches the log. Once it is taken, a
  timeout leaves its outcome unknown.
* Every waiting append counts against the bounds until it has a result, so memory stays flat in an outage.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eventlog import Receipt
from eventlog.outage import Outage
from schemas.faults import Fault, LogUnavailable, TooLarge


@dataclass(slots=True, eq=False)
class Append:
    """One record on its way into the log. `deadline` is on the event loop's clock."""

    partition: int
    key: bytes
    value: bytes
    deadline: float
    outcome: asyncio.Future[Receipt]

    @property
    def size_bytes(self) -> int:
        return len(self.key) + len(self.value)


class Appends:
    """All appends of one writer. `take` and `waiting` may be called from any thread, the rest on the event loop.

    `wake` is called with the partition whenever an append was added; it must return at once.
    """

    def __init__(
        self,
        *,
        timeout_s: float,
        queue_max: int,
        queue_bytes_max: int,
        record_bytes_max: int,
        wake: Callable[[int], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._queue_max = queue_max
        self._queue_bytes_max = queue_bytes_max
        self._record_bytes_max = record_bytes_max
        self._wake = wake
        self._lock = threading.Lock()
        self._lanes: dict[int, deque[Append]] = {}
        self._by_deadline: deque[tuple[float, asyncio.Future[Receipt]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._count = 0
        self._bytes = 0
        self._closed = False
        self._outage = Outage("append")
        self._all_answered = asyncio.Event()
        self._all_answered.set()

    @property
    def count(self) -> int:
        """Number of appends without a result."""
        return self._count

    async def append(self, partition: int, *, key: bytes, value: bytes) -> Receipt:
        """Wait until the record is durable; return its position. Raises TooLarge or LogUnavailable."""
        size_bytes = len(key) + len(value)
        if size_bytes > self._record_bytes_max:
            raise TooLarge(f"the record has {size_bytes} bytes, the log takes {self._record_bytes_max}")
        if self._closed:
            raise LogUnavailable("the log is being closed")
        if self._count >= self._queue_max or (self._count and self._bytes + size_bytes > self._queue_bytes_max):
            fault = LogUnavailable(f"{self._count} appends are waiting already")
            self._outage.failed(str(fault), now_s=self._loop.time())
            raise fault
        self._count += 1
        self._bytes += size_bytes
        self._all_answered.clear()
        try:
            receipt = await self._enqueue(partition, key, value)
        except LogUnavailable as fault:
            self._outage.failed(str(fault), now_s=self._loop.time())
            raise
        finally:
            self._count -= 1
            self._bytes -= size_bytes
            if not self._count:
                self._all_answered.set()
        if self._outage.is_on:
            self._outage.worked(now_s=self._loop.time())
        return receipt

    def _enqueue(self, partition: int, key: bytes, value: bytes) -> asyncio.Future[Receipt]:
        deadline = self._loop.time() + self._timeout_s
        append = Append(partition, key, value, deadline, self._loop.create_future())
        with self._lock:
            self._lanes.setdefault(partition, deque()).append(append)
        self._by_deadline.append((deadline, append.outcome))
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._expire)
        self._wake(partition)
        return append.outcome

    def waiting(self) -> list[int]:
        """Return the partitions for which appends wait."""
        with self._lock:
            return list(self._lanes)

    def take(self, partition: int, *, records_max: int, bytes_max: int) -> list[Append]:
        """Take the appends that wait for a partition, oldest first, up to the limits, but at least one."""
        taken: list[Append] = []
        size_bytes = 0
        with self._lock:
            lane = self._lanes.get(partition)
            while lane and len(taken) < records_max:
                append = lane[0]
                if append.outcome.done() or append.deadline <= self._loop.time():
                    lane.popleft()  # withdrawn: its deadline passed, or its caller was cancelled
                    continue
                if taken and size_bytes + append.size_bytes > bytes_max:
                    break
                size_bytes += append.size_bytes
                taken.append(lane.popleft())
            if lane is not None and not lane:
                del self._lanes[partition]
        return taken

    def settle(self, taken: Sequence[Append], *, first_offset: int, appended_ms: int | None = None) -> None:
        """Report a group as durable, in order, at consecutive offsets and with one append time."""
        for offset, append in enumerate(taken, first_offset):
            if not append.outcome.done():
                append.outcome.set_result(Receipt(offset, appended_ms))
        self._forget_answered()

    def fail(self, taken: Sequence[Append], reason: str, *, fault: type[Fault] = LogUnavailable) -> None:
        """Report a group whose outcome is unknown."""
        for append in taken:
            if not append.outcome.done():
                append.outcome.set_exception(fault(reason))
        self._forget_answered()

    async def close(self) -> None:
        """Accept no more appends, and wait until all have a result, at the latest at the last deadline."""
        self._closed = True
        await self._all_answered.wait()
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        """End appends whose deadline has passed, and remove them from their lanes to free memory."""
        now = self._loop.time()
        for deadline, outcome in self._by_deadline:
            if deadline > now:
                break
            if not outcome.done():
                outcome.set_exception(LogUnavailable(f"not durable within {self._timeout_s:g} s"))
        with self._lock:
            for partition, lane in list(self._lanes.items()):
                while lane and lane[0].outcome.done():
                    lane.popleft()
                if not lane:
                    del self._lanes[partition]
        self._forget_answered()
        self._timer = self._loop.call_at(self._by_deadline[0][0], self._expire) if self._by_deadline else None

    def _forget_answered(self) -> None:
        while self._by_deadline and self._by_deadline[0][1].done():
            self._by_deadline.popleft()
