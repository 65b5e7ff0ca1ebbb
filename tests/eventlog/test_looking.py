"""What anybody may ask of a log, of every adapter: where it ends, and single records."""

import pytest
from rigs.brokers import JvmBroker
from rigs.logs import (
    KafkaRig,
    Ledger,
    LogRig,
    append_all,
    inspecting,
    read_records,
    reading,
    writing,
)

from eventlog.adapters import open_reader, open_writer, read_ends
from schemas.faults import LogUnavailable, NotReady


async def test_there_must_be_a_log(rig: LogRig) -> None:
    """A writer or reader of a log that was never made is refused, with the command that makes it."""
    with pytest.raises(NotReady, match=r"playhead (init|topics)"):
        await open_writer(rig.settings())
    with pytest.raises(NotReady, match=r"playhead (init|topics)"):
        await open_reader(rig.settings(), Ledger())


async def test_anybody_may_ask_where_the_log_ends(rig: LogRig) -> None:
    """Each partition, the empty ones too; also while a reader has them, which it keeps, and after records went."""
    with pytest.raises(NotReady, match=r"playhead (init|topics)"):
        await read_ends(rig.settings())
    await rig.make(log_partitions=3)
    settings = rig.settings()
    assert await read_ends(settings) == {0: 0, 1: 0, 2: 0}
    async with writing(settings) as writer:
        await append_all(writer, 5)
        await append_all(writer, 2, partition=2)
    owner = Ledger()
    async with reading(settings, owner) as reader:
        assert len(await read_records(reader, 7)) == 7
        held = owner.assigned
        assert await read_ends(settings) == {0: 5, 1: 0, 2: 2}
        assert owner.assigned == held
    await rig.lose_front(0, 4)
    assert await read_ends(settings) == {0: 5, 1: 0, 2: 2}


async def test_anybody_may_look_at_single_records(rig: LogRig) -> None:
    """As a reader gets them, whether one reads or not; None if there is no record, not yet or no longer."""
    await rig.make(log_partitions=3)
    settings = rig.settings()
    async with writing(settings) as writer:
        await append_all(writer, 5)
        await append_all(writer, 2, partition=1)
    owner = Ledger()
    async with reading(settings, owner) as reader, inspecting(settings) as inspector:
        records = await read_records(reader, 7)
        of_first = [record for record in records if record.partition == 0]
        of_second = [record for record in records if record.partition == 1]
        held = owner.assigned
        for offset in (4, 0, 2):
            views = await inspector.look({0: offset, 1: 1})
            assert [views[partition].record for partition in range(3)] == [of_first[offset], of_second[1], None]
        for offset in (5, 6, 1_000):
            views = await inspector.look({0: offset, 1: 0, 2: 0, 9: 0})
            assert [views[partition].record for partition in range(3)] == [None, of_second[0], None]
        assert owner.assigned == held
        await rig.lose_front(0, 3)
        views = await inspector.look({0: 2})
        assert {p: (view.first_offset, view.end_offset, view.record) for p, view in views.items()} == {
            0: (3, 5, None),
            1: (0, 2, None),
            2: (0, 0, None),
        }
        assert (await inspector.look({0: 3}))[0].record == of_first[3]


async def test_anybody_may_ask_who_reads(real_rig: LogRig) -> None:
    """Nobody, as long as nobody does; then every partition has its reader, who keeps them all."""
    await real_rig.make(log_partitions=2)
    settings = real_rig.settings()
    owner = Ledger()
    async with writing(settings) as writer, inspecting(settings) as inspector:
        await append_all(writer, 1)
        assert await inspector.owners() == {}
        async with reading(settings, owner) as reader:
            await read_records(reader, 1)
            owners = await inspector.owners()
            assert owners.keys() == {0, 1}
            assert all(owners.values())
            assert sorted(owner.assigned) == [0, 1]
        assert await inspector.owners() == {}


async def test_a_log_made_in_the_place_of_another_shows_other_records(rig: LogRig) -> None:
    """An inspector that was open all the time sees it."""
    await rig.make()
    settings = rig.settings()
    async with inspecting(settings) as inspector:
        async with writing(settings) as writer:
            await append_all(writer, 3)
        before = (await inspector.look({0: 2}))[0].record
        assert before is not None
        await rig.lose_end()
        assert (await inspector.look({0: 2}))[0].record is None
        async with writing(settings) as writer:
            await append_all(writer, 3)
        after = (await inspector.look({0: 2}))[0].record
        assert after is not None
        assert (after.value, after.appended_ms != before.appended_ms) == (before.value, True)


async def test_who_looks_makes_no_topic(own_kafka: JvmBroker) -> None:
    """Also where the topic went while it was looked at, on a broker that makes what it is asked for by name."""
    rig = KafkaRig(own_kafka)
    await rig.make()
    settings = rig.settings()
    async with inspecting(settings) as inspector:
        async with writing(settings) as writer:
            await append_all(writer, 3)
        assert (await inspector.look({0: 2}))[0].record is not None
        await rig.delete()
        for _ in range(20):
            with pytest.raises(NotReady, match="playhead topics"):
                await inspector.look({0: 2})


async def test_a_log_that_does_not_answer_is_said_by_who_asks_for_its_end(stalling_rig: LogRig) -> None:
    """Within seconds. The embedded log answers while somebody else keeps it from being written."""
    await stalling_rig.make()
    settings = stalling_rig.settings(log_append_timeout_s=1)
    async with stalling_rig.stalled():
        if settings.log == "embedded":
            assert await read_ends(settings) == {0: 0}
        else:
            with pytest.raises(LogUnavailable):
                await read_ends(settings)
    assert await read_ends(settings) == {0: 0}


async def test_making_a_log_twice_changes_nothing(real_rig: LogRig) -> None:
    """Once created, the log keeps its number of partitions."""
    assert await real_rig.make(log_partitions=3) == 3
    assert await real_rig.make(log_partitions=3) == 3
    async with writing(real_rig.settings()) as writer:
        assert writer.partitions == 3
