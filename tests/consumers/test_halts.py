"""A partition that cannot be read on: said, visible in the lake, and no hindrance to the others."""

import asyncio
import contextlib
import functools
import sqlite3
from pathlib import Path

from rigs.lake import Lake, playhead
from rigs.logs import EmbeddedRig, writing
from rigs.waiting import until

from consumers.halts import SAID_EVERY_S, Halts
from eventlog.adapters import create_log
from lake.verify import verify


def test_a_halt_is_logged_at_once_and_then_every_minute() -> None:
    """It is found again and again; only a new reason is logged at once."""
    halts = Halts()
    said: list[tuple[float, str]] = []
    for half_minute in range(6):
        halts.add(3, code="log_gap", reason="a" if half_minute < 4 else "b")
        now = half_minute * SAID_EVERY_S / 2
        said += [(now, halt.reason) for partition, halt in halts.take_due(now) if partition == 3]
        assert halts.take_due(now) == []
    assert said == [(0, "a"), (SAID_EVERY_S, "a"), (2 * SAID_EVERY_S, "b")]
    halts.discard(3)
    assert halts.take_due(1e9) == []
    assert halts.reason(3) is None


async def append(lake: Lake, partition: int, count: int) -> None:
    """Append records that are no events."""
    async with writing(lake.settings) as writer:
        await asyncio.gather(*(writer.append(partition, key=b"", value=b"no event") for _ in range(count)))


def reasons(lake: Lake) -> list[str | None]:
    """Return why each partition is halted, as the ledger says."""
    rows = lake.ask("SELECT halted_reason, halted_at FROM ledger ORDER BY log_partition")
    assert all((reason is None) is (at is None) for reason, at in rows)
    return [reason for reason, _ in rows]


async def test_what_was_read_before_a_gap_is_stored(tmp_path: Path) -> None:
    """Also if both come within one batch: the ledger is at the gap, where accepting it begins."""
    lake = Lake(tmp_path)
    await create_log(lake.settings)
    await append(lake, 0, 45)
    with contextlib.closing(sqlite3.connect(tmp_path / "log.sqlite")) as log:
        log.execute("DELETE FROM records WHERE id BETWEEN 35 AND 37")
        log.commit()
    # Two batches go at once; the third has 5 records when it meets the gap, and waits for more.
    settings = lake.settings.model_copy(update={"worker_batch_records": 15, "worker_commit_interval_s": 1.0})
    with playhead(settings, "worker"):
        until(lambda: "--accept-gap 0:35-37" in (reasons(lake)[0] or ""))
        until(lambda: lake.ask("SELECT next_offset FROM ledger_p000") == [(35,)])
    with playhead(lake.settings, "worker", "--accept-gap", "0:35-37"):
        until(lambda: lake.ask("SELECT next_offset, lost FROM ledger_p000") == [(45, 3)])
    assert verify(lake.place).findings == []


async def test_a_gap_halts_its_partition_alone_until_it_is_accepted(tmp_path: Path) -> None:
    """Red in `verify`, with the command that helps, which then clears it; the other one goes on meanwhile."""
    lake = Lake(tmp_path, partitions=2)
    await create_log(lake.settings.model_copy(update={"log_partitions": 2}))
    await append(lake, 0, 10)
    await EmbeddedRig(tmp_path).lose_front(0, 4)
    for rows in (5, 10):  # a restart finds the same
        with playhead(lake.settings, "worker"):
            await append(lake, 1, 5)
            until(lambda: "0:0-3" in (reasons(lake)[0] or ""))
            enough = f"SELECT quarantined = {rows} FROM ledger_p001"
            until(functools.partial(lake.ask, f"FROM ({enough}) AS t(is_so) WHERE is_so"))
    (finding,) = verify(lake.place).findings
    assert (finding.code, finding.partition) == ("halted", 0)
    assert "`playhead worker --accept-gap 0:0-3`" in finding.detail
    with playhead(lake.settings, "worker", "--accept-gap", "0:0-3"):
        until(lambda: lake.ask("SELECT next_offset, lost FROM ledger_p000") == [(10, 4)])
    assert reasons(lake) == [None, None]
    assert verify(lake.place).findings == []


async def test_a_flood_of_bad_records_is_red_until_a_worker_takes_it(tmp_path: Path) -> None:
    """The pause is in the lake, not in the worker's memory alone."""
    lake = Lake(tmp_path)
    await create_log(lake.settings)
    await append(lake, 0, 300)
    settings = lake.settings.model_copy(update={"worker_bad_max": 100})
    with playhead(settings, "worker"):
        until(lambda: "PLAYHEAD_WORKER_BAD_MAX=0" in (reasons(lake)[0] or ""))
    assert [finding.code for finding in verify(lake.place).findings] == ["halted"]
    assert lake.ask("SELECT count(*) FROM quarantine") == [(0,)]
    with playhead(settings.model_copy(update={"worker_bad_max": 0}), "worker"):
        until(lambda: lake.ask("SELECT next_offset FROM ledger") == [(300,)])
    assert reasons(lake) == [None]
    assert verify(lake.place).findings == []


async def test_a_log_that_is_read_again_is_not_halted_any_more(tmp_path: Path) -> None:
    """Also where nothing new is in it: what an earlier worker wrote down is taken back."""
    lake = Lake(tmp_path)
    await create_log(lake.settings)
    lake.do("UPDATE ledger_p000 SET halted_at = now(), halted_reason = 'the disk was away'")
    with playhead(lake.settings, "worker"):
        until(lambda: reasons(lake) == [None])
