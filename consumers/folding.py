"""A batch, folded into every partition that a worker holds; in the thread that works the lake."""

import time
from collections.abc import Iterable, Sequence

import duckdb

from consumers.batch import DecodedChunk
from consumers.held_partition import HeldPartition, PartitionChanges, open_interval_s
from consumers.lake_writer import LakeWriter
from consumers.share import Share
from lake.history import StoredEvents


def fold(
    parts: Sequence[tuple[HeldPartition, Iterable[DecodedChunk]]],
    lake: LakeWriter,
    *,
    log_now_ms: int | None,
    share: Share,
    open_sessions_s: float,
) -> list[PartitionChanges]:
    """Fold what was read of each partition; return what must be committed.

    Open sessions are part of it if they were last written `open_sessions_s` ago, or longer if there are many; with
    0 always. `log_now_ms` and `share` are as in `HeldPartition.fold`.
    """
    with lake.connection() as connection:
        every = [
            held.fold(chunks, lake=_events_of(held, connection), log_now_ms=log_now_ms, share=share)
            for held, chunks in parts
        ]
    interval_s = open_interval_s((held for held, _ in parts), least_s=open_sessions_s) if open_sessions_s else 0.0
    for each in every:
        each.add_open_sessions(now_s=time.monotonic(), interval_s=interval_s)
    return [each for each in every if each.is_anything()]


def _events_of(held: HeldPartition, connection: duckdb.DuckDBPyConnection) -> StoredEvents:
    ledger = held.ledger
    return StoredEvents(connection, partition=ledger.log_partition, open_as_of_offset=ledger.open_as_of_offset)
