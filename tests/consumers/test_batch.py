"""When a batch is committed: by size or by time, which is longer while the log has the rest of it already."""

from consumers.batch import BATCH_BYTES_MAX, INTERVALS_BEHIND, Batch, DecodedChunk
from lake.marks import Mark
from sessions.event import Bad


def chunk(
    first: int, records: int, *, end: int | None = None, partition: int = 0, size_bytes: int = 0
) -> DecodedChunk:
    """Return records of a log that ends at `end`, or after them."""
    offsets = range(first, first + records)
    entries: list[Bad] = [Bad(offset, 0, "worker", "not_json", "", b"") for offset in offsets]
    last = Mark(offsets[-1], 0, "") if records else None
    return DecodedChunk(partition, [*entries], end or first + records, last, size_bytes=size_bytes)


def batch(*chunks: DecodedChunk, records_max: int = 100) -> Batch:
    """Return a batch, begun at 0 s with an interval of one second, that has these chunks."""
    made = Batch(records_max=records_max, interval_s=1.0, began_s=0.0)
    for each in chunks:
        made.add(each)
    return made


def test_after_a_quiet_time_the_first_record_is_committed_at_once() -> None:
    """Nobody waits for an interval that nothing fills."""
    assert batch(chunk(0, 1)).is_due(now_s=0.0, committed_s=-60.0)


def test_under_load_a_commit_follows_the_last_by_an_interval() -> None:
    """The log is read to its end, or nearly: what is read is shown within a second."""
    read = batch(chunk(0, 10, end=99))
    assert not read.is_due(now_s=0.9, committed_s=0.0)
    assert read.is_due(now_s=1.0, committed_s=0.0)
    assert read.wait_s(now_s=0.4, committed_s=0.0) == 0.6


def test_a_full_batch_is_due_at_once() -> None:
    """By records or by bytes."""
    assert batch(chunk(0, 100, end=1_000)).is_due(now_s=0.0, committed_s=0.0)
    assert batch(chunk(0, 1, size_bytes=BATCH_BYTES_MAX)).is_due(now_s=0.0, committed_s=0.0)


def test_far_behind_a_batch_is_filled_before_it_is_committed() -> None:
    """The log has all that the batch can still hold, so waiting for it costs an interval or a few, not more."""
    read = batch(chunk(0, 10, end=100))
    assert not read.is_due(now_s=INTERVALS_BEHIND - 0.1, committed_s=0.0)
    assert read.is_due(now_s=INTERVALS_BEHIND, committed_s=0.0)


def test_what_all_partitions_have_left_counts_as_of_their_last_chunks() -> None:
    """A partition that is read to its end has nothing left, however much it had before."""
    behind = batch(chunk(0, 10, end=60), chunk(0, 10, end=60, partition=1))
    assert not behind.is_due(now_s=1.0, committed_s=0.0)
    assert batch(chunk(0, 10, end=60), chunk(10, 10), chunk(0, 10, end=60, partition=1)).is_due(
        now_s=1.0, committed_s=0.0
    )


def test_a_batch_without_records_waits_for_its_interval() -> None:
    """Then the watermark moves on: sessions may be due to close."""
    assert batch().wait_s(now_s=0.25, committed_s=-60.0) == 0.75
    assert batch(chunk(5, 0, end=5)).is_due(now_s=1.0, committed_s=-60.0)
