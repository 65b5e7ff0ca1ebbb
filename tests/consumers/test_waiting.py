"""What `verify` says of the log: what waits, what is halted, what cannot be reached."""

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from rigs.brokers import Broker, free_ports
from rigs.lake import ROOT, Lake, record_value
from rigs.logs import KafkaRig, append_values, writing
from rigs.session_model import session_id
from rigs.waiting import until_async
from rigs.working import working

from consumers.waiting import look
from eventlog.adapters import add_partitions, create_log, read_ends
from schemas.settings import Settings, environment_of


def value_of(event_id: str) -> bytes:
    """Make the record of an event of now."""
    now_ms = int(time.time() * 1000)
    return record_value(event_id, session_id(1, now_ms), ts=now_ms, received_ms=now_ms)


def verified(lake: Lake, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run `playhead verify --json`; return its exit status and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "playhead", "verify", "--json", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment_of(lake.settings)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def codes(verdict: dict[str, Any]) -> list[tuple[str, int | None]]:
    return [(finding["code"], finding["partition"]) for finding in verdict["findings"]]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake and a log of two partitions."""
    lake = Lake(tmp_path, partitions=2, log_partitions=2, worker_bad_max=3)
    asyncio.run(create_log(lake.settings))
    return lake


async def test_what_waits_in_the_log_is_counted_and_red(lake: Lake) -> None:
    """No worker runs: the partition, how many records wait in it, and exit status 1."""
    async with writing(lake.settings) as writer:
        await append_values(writer, 1, value_of("a"), value_of("b"))
    status, verdict = await asyncio.to_thread(verified, lake, "--within", "0.5s")
    assert (status, codes(verdict)) == (1, [("behind", 1)])
    assert "2 records wait" in verdict["findings"][0]["detail"]
    assert verdict["log"] == [
        {"partition": 0, "end_offset": 0, "records": 0},
        {"partition": 1, "end_offset": 2, "records": 2},
    ]
    assert (await asyncio.to_thread(verified, lake, "--lake-only"))[0] == 0


async def test_what_a_worker_is_about_to_read_is_waited_for(lake: Lake) -> None:
    """Records that are in the log when it begins are in the lake when it ends, and all is well."""
    async with writing(lake.settings) as writer, working(lake.settings):
        await append_values(writer, 0, *(value_of(str(number)) for number in range(50)))
        waiting, findings = await look(lake.settings, within_s=10)
    assert findings == []
    assert [(one.partition, one.end_offset, one.records) for one in waiting] == [(0, 50, 0), (1, 0, 0)]
    assert lake.ask("SELECT count(*) FROM events") == [(50,)]


async def test_a_partition_that_is_paused_is_red_with_the_reason(lake: Lake) -> None:
    """A flood of bad records is seen from outside, also after the worker has ended; nothing is waited for."""
    async with writing(lake.settings) as writer, working(lake.settings):
        await append_values(writer, 0, *[b"?"] * 7)
        await append_values(writer, 1, value_of("a"))
        await until_async(lambda: lake.ask("SELECT 1 FROM ledger_p000 WHERE halted_at IS NOT NULL"))
    status, verdict = await asyncio.to_thread(verified, lake, "--within", "60s")
    assert (status, codes(verdict)) == (1, [("halted", 0)])
    assert "records are bad" in verdict["findings"][0]["detail"]
    assert verdict["log"][0]["records"] > 0


async def test_records_of_a_partition_without_tables_are_named(lake: Lake) -> None:
    """With the command that makes them."""
    await add_partitions(lake.settings, partitions=3)
    async with writing(lake.settings) as writer:
        await append_values(writer, 2, value_of("a"))
    waiting, findings = await look(lake.settings, within_s=0.1)
    assert [(finding.code, finding.partition) for finding in findings] == [("behind", 2)]
    assert "playhead init" in findings[0].detail
    assert waiting[2].records == 1


async def test_a_lake_that_reads_on_meanwhile_is_well(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was appended and read between the look at the log and the look at the ledger is no lost end."""

    async def ends_then_one_more(settings: Settings) -> dict[int, int]:
        ends = await read_ends(settings)
        async with writing(lake.settings) as writer:
            await append_values(writer, 0, value_of(uuid.uuid4().hex))
        is_read = "SELECT next_offset FROM ledger_p000"
        await until_async(lambda: lake.ask(is_read) > [(ends[0],)])
        return ends

    async with working(lake.settings):
        monkeypatch.setattr("consumers.waiting.read_ends", ends_then_one_more)
        waiting, findings = await look(lake.settings, within_s=5)
        assert lake.ask("SELECT next_offset FROM ledger_p000") > [(waiting[0].end_offset,)]
    assert findings == []


async def test_a_log_that_ends_before_what_was_read_is_red(lake: Lake) -> None:
    """It lost its end, or is another one."""
    lake.do("UPDATE ledger_p000 SET next_offset = 5")
    _, findings = await look(lake.settings, within_s=0.1)
    assert [(finding.code, finding.partition) for finding in findings] == [("log_truncated", 0)]


def test_a_log_that_is_not_there_is_red(tmp_path: Path) -> None:
    """The lake is looked at all the same."""
    status, verdict = verified(Lake(tmp_path))
    assert (status, codes(verdict)) == (1, [("log_unreachable", None)])
    assert [count["partition"] for count in verdict["partitions"]] == [0]


def test_a_broker_that_does_not_answer_is_red(tmp_path: Path) -> None:
    """With what it said, or did not say."""
    (port,) = free_ports(1)
    status, verdict = verified(Lake(tmp_path, log="kafka", kafka_bootstrap_servers=f"127.0.0.1:{port}"))
    assert (status, codes(verdict)) == (1, [("log_unreachable", None)])
    assert str(port) in verdict["findings"][0]["detail"]


async def test_looking_at_the_log_writes_nothing(lake: Lake) -> None:
    """The files of the embedded log are the same before and after, while a writer has it open."""

    def files() -> dict[str, bytes]:
        return {name: (lake.settings.data_dir / name).read_bytes() for name in ("log.sqlite", "log.sqlite-wal")}

    async with writing(lake.settings) as writer:
        await append_values(writer, 0, value_of("a"))
        before = files()
        await look(lake.settings, within_s=0.1)
        assert files() == before


async def test_a_topic_is_looked_at_from_outside(tmp_path: Path, kafka: Broker) -> None:
    """What waits on Kafka is counted by partition."""
    rig = KafkaRig(kafka)
    lake = Lake(tmp_path, partitions=2, **rig.settings(log_partitions=2).model_dump(exclude_unset=True))
    await create_log(lake.settings)
    async with writing(lake.settings) as writer:
        await append_values(writer, 1, value_of("a"), value_of("b"))
        waiting, findings = await look(lake.settings, within_s=0.1)
    assert [(one.partition, one.records) for one in waiting] == [(0, 0), (1, 2)]
    assert [(finding.code, finding.partition) for finding in findings] == [("behind", 1)]
