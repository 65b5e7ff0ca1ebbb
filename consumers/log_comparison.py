"""Whether the log is still the one that the lake has read: compared with the mark of each ledger."""

import asyncio
from collections.abc import Collection

from consumers.held_partition import HeldPartition
from eventlog.adapters import open_inspector
from lake.marks import replaced
from schemas.faults import LogReplaced
from schemas.settings import Settings

LOG_COMPARED_EVERY_S = 5.0


class LogComparison:
    """Compares the log with what the lake has read of it, for one worker."""

    def __init__(self, settings: Settings) -> None:
        self._inspector = open_inspector(settings)
        self._turn = asyncio.Lock()

    async def compare(self, every: Collection[HeldPartition]) -> dict[int, LogReplaced]:
        """Return the partitions whose log is another than the lake has read; of the others, note what is proven.

        Raises LogUnavailable or NotReady.
        """
        marks = {held.ledger.log_partition: held.ledger.mark for held in every}
        seen = {held.ledger.log_partition: held.last for held in every}  # before the log is looked at
        at = {
            held.ledger.log_partition: mark.offset - held.ledger.log_base
            for held in every
            if (mark := held.ledger.mark)
        }
        async with self._turn:
            views = await self._inspector.look(at)
        faults = {}
        for held in every:
            partition = held.ledger.log_partition
            view = views.get(partition)
            if view is None:
                continue  # it is new, and not known to all brokers yet
            fault = replaced(
                partition, mark=marks[partition], base=held.ledger.log_base, log_id=held.ledger.log_id, view=view
            )
            if fault is not None:
                faults[partition] = fault
            else:
                held.proven, held.log_id = seen[partition], view.log_id
        return faults

    async def close(self) -> None:
        """Release the log."""
        await self._inspector.close()
