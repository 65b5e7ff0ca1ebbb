"""When a partition is halted because not single records are bad, but their producer or the worker is.

A bad record is quarantined, and that is the end of it. A newer version of what writes the log, or a producer of
something else, would so send everything into quarantine, where no worker looks again. So a partition is read no
further where most of its newest records are bad: they stay in the log, until a worker comes that understands them
or an operator says that they may go.
"""

from collections.abc import Collection, Iterable, Sequence

from sessions.event import Bad


def bad_offsets(entries: Collection[object]) -> list[int]:
    """Return the offsets of records that the worker cannot decode; bodies that ingest refused do not count."""
    # A set of types is made in a third of the time; nearly always there is no bad record.
    if Bad not in set(map(type, entries)):
        return []
    return [entry.offset for entry in entries if isinstance(entry, Bad) and entry.source == "worker"]


def newest_bad(known: Iterable[int], found: Iterable[int], *, bad_max: int) -> list[int]:
    """Return the greatest offsets, as many as matter, ascending; a record that is read twice counts once."""
    return sorted({*known, *found})[-bad_max:]


def is_flooded(offsets: Sequence[int], *, bad_max: int) -> bool:
    """Return whether `bad_max` of these bad offsets, ascending, are among twice as many records in a row."""
    return any(last - first < 2 * bad_max for first, last in zip(offsets, offsets[bad_max - 1 :], strict=False))


class Floods:
    """The newest bad records of each partition of one worker; `bad_max` as in `is_flooded`, 0: never a flood."""

    def __init__(self, *, bad_max: int) -> None:
        self._bad_max = bad_max
        self._bad: dict[int, list[int]] = {}

    def add(self, partition: int, entries: Collection[object]) -> str | None:
        """Count the records of a partition; return why it must be halted, if it must."""
        found = bad_offsets(entries) if self._bad_max else []
        if not found:
            return None
        self._bad[partition] = newest_bad(self._bad.get(partition, ()), found, bad_max=self._bad_max)
        if not is_flooded(self._bad[partition], bad_max=self._bad_max):
            return None
        return (
            f"{self._bad_max} of {2 * self._bad_max} records are bad; a worker that can decode them, or "
            "PLAYHEAD_WORKER_BAD_MAX=0, continues"
        )
