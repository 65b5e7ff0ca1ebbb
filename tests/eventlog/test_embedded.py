"""What only the embedded log has: one file, which may be full, removed, replaced, or of another layout."""

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path

import pytest
from rigs.logs import (
    EmbeddedRig,
    Ledger,
    append_all,
    child,
    inspecting,
    next_line,
    read_records,
    reading,
    until_it_takes,
    writing,
)

from eventlog.adapters import create_log, open_reader, open_writer, read_ends
from eventlog.embedded import file as embedded_log
from eventlog.embedded.writer import open_embedded_writer
from schemas.faults import LogUnavailable, NotReady, SchemaMismatch


async def test_a_withdrawn_append_never_reaches_the_file(embedded: EmbeddedRig) -> None:
    """An append that timed out while the file was locked is not written later."""
    await create_log(embedded.settings())
    async with (
        writing(embedded.settings(log_append_timeout_s=0.5)) as writer,
        reading(embedded.settings()) as reader,
    ):
        async with embedded.stalled():
            with pytest.raises(LogUnavailable):
                await writer.append(0, key=b"", value=b"late")
        await until_it_takes(writer)
        assert [record.value for record in await read_records(reader, 1)] == [b"again"]


async def test_retention_drops_what_is_old_and_read(embedded: EmbeddedRig) -> None:
    """Records go when they are older than asked and below the owner's position, however many there are."""
    await create_log(embedded.settings())
    now_s = 1000.0
    writer = await open_embedded_writer(embedded.settings(), clock=lambda: now_s)
    await append_all(writer, 12_000)
    now_s = 2000.0
    await append_all(writer, 10)
    await writer.close()
    async with reading(embedded.settings(), Ledger({0: 12_000})) as reader:
        assert await reader.retain(older_than_ms=2_000_000, below={0: 11_000}) == 11_000
        assert await reader.retain(older_than_ms=2_000_000, below={0: 12_010}) == 1_000
        assert await reader.retain(older_than_ms=2_000_000, below={0: 12_010}) == 0
        assert [record.offset for record in await read_records(reader, 10)] == list(range(12_000, 12_010))


async def test_a_full_disk_costs_no_record(embedded: EmbeddedRig) -> None:
    """Without room appends are refused; with room again the writer goes on, and what it took is there."""
    await create_log(embedded.settings())
    with child(embedded.settings(log_append_timeout_s=0.5), "fill", "1000000") as process:
        said = []
        while (line := await next_line(process)) != "full":
            said.append(int(line))
        while (line := await next_line(process)) != "done":
            said.append(int(line))
    async with reading(embedded.settings()) as reader:
        records = await read_records(reader, len(said))
    assert len(said) > 20
    assert {record.offset for record in records} >= set(said)
    assert [record.offset for record in records] == list(range(len(records)))


async def test_many_processes_make_one_log(embedded: EmbeddedRig) -> None:
    """Processes that create the log at the same moment create the same one."""
    made = await asyncio.gather(*(create_log(embedded.settings(log_partitions=n)) for n in (4, 4, 4, 4)))
    assert made == [4, 4, 4, 4]


async def test_another_file_is_not_taken_for_a_log(embedded: EmbeddedRig) -> None:
    """A file that is not a log is left alone, and start-up fails with that reason."""
    embedded.folder.mkdir()
    (embedded.folder / "log.sqlite").write_bytes(b"a letter to a friend" * 100)
    with pytest.raises(NotReady):
        await create_log(embedded.settings())
    with pytest.raises((NotReady, LogUnavailable)):
        await open_writer(embedded.settings())


def replace_log(folder: Path, *, keep_side_files: bool = False) -> Path:
    """Move the log away while it is in use; return where it is."""
    kept = folder / "kept"
    kept.mkdir()
    for path in folder.glob("log.sqlite*"):
        if path.name == "log.sqlite" or (
            path.name in ("log.sqlite-wal", "log.sqlite-shm") and not keep_side_files
        ):
            path.rename(kept / path.name)
    return kept


@pytest.mark.parametrize("keep_side_files", [False, True], ids=["whole", "its WAL stays"])
@pytest.mark.parametrize("is_made_again", [False, True], ids=["gone", "made again"])
async def test_nothing_is_acknowledged_into_a_file_that_nobody_will_find(
    embedded: EmbeddedRig, is_made_again: bool, keep_side_files: bool
) -> None:
    """Appends and `check()` are refused at once, with the reason; the same log back in place is used again."""
    await embedded.make()
    settings = embedded.settings()
    async with writing(settings) as writer:
        assert await append_all(writer, 10) == list(range(10))
        kept = replace_log(embedded.folder, keep_side_files=keep_side_files)
        if is_made_again:
            await embedded.make()
        began = time.monotonic()
        with pytest.raises(LogUnavailable, match="open here"):
            await writer.append(0, key=b"", value=b"lost")
        for _ in range(3):
            with pytest.raises(LogUnavailable, match=r"another|no log"):
                await writer.check()
        assert time.monotonic() - began < 6
        if is_made_again:
            assert await read_ends(settings) == {0: 0}
            async with writing(settings) as another:  # a restart: that is when it has been decided
                assert await append_all(another, 3) == [0, 1, 2]
                with pytest.raises(LogUnavailable, match="is another log than before"):
                    await writer.append(0, key=b"", value=b"lost")
            assert await read_ends(settings) == {0: 3}
        if keep_side_files:
            return  # its WAL was moved away, and what is left is no whole log
        for path in embedded.folder.glob("log.sqlite*"):
            path.unlink()
        for path in kept.iterdir():
            path.rename(embedded.folder / path.name)
        await until_it_takes(writer)
        assert await read_ends(settings) == {0: 11}


async def test_a_reader_asks_its_owner_again_once_the_path_names_another_log(embedded: EmbeddedRig) -> None:
    """Within a second, and whatever it knew of positions; without a log it raises for as long."""
    await embedded.make()
    settings = embedded.settings()
    owner = Ledger({0: 0})
    async with reading(settings, owner) as reader:
        async with writing(settings) as writer:
            await append_all(writer, 3)
            assert len(await read_records(reader, 3)) == 3
        kept = replace_log(embedded.folder)
        began = time.monotonic()
        for _ in range(2):
            with pytest.raises(LogUnavailable):
                await reader.read(records_max=10, timeout_s=30)
        assert time.monotonic() - began < 5
        await embedded.make()
        async with writing(settings) as writer:
            await append_all(writer, 2)
        assert owner.assigned == [0]
        assert [record.offset for record in await read_records(reader, 2)] == [0, 1]
        assert owner.assigned == [0, 0]
    assert {path.name for path in kept.iterdir()} >= {"log.sqlite"}


async def test_each_log_has_a_name_of_its_own(tmp_path: Path) -> None:
    """It is the same in all partitions, and never changes."""
    names = []
    for folder in ("one", "another"):
        rig = EmbeddedRig(tmp_path / folder)
        await rig.make(log_partitions=2)
        async with inspecting(rig.settings()) as inspector:
            before = await inspector.look({})
            await create_log(rig.settings())
            assert {view.log_id for view in (await inspector.look({})).values()} == {before[0].log_id}
        names.append(before[0].log_id)
    assert None not in names
    assert names[0] != names[1]


async def test_a_log_of_another_layout_is_refused_by_both_numbers(embedded: EmbeddedRig) -> None:
    """An older one with the command that migrates it, a newer one also by that command."""
    await embedded.make()
    set_layout(embedded.folder, embedded_log.LAYOUT + 1)
    for refused in (open_writer, create_log):
        with pytest.raises(SchemaMismatch, match=r"has schema 3, and this program works with schema 2.*newer"):
            await refused(embedded.settings())
    set_layout(embedded.folder, 1)
    for opening in (open_writer(embedded.settings()), open_reader(embedded.settings(), Ledger())):
        with pytest.raises(SchemaMismatch, match=r"has schema 1, and this program works with schema 2.*init"):
            await opening


async def test_writer_and_reader_go_on_while_a_newer_release_migrates_the_log(embedded: EmbeddedRig) -> None:
    """Also where they have to connect again after it: a migration only adds."""
    await embedded.make()
    settings = embedded.settings()
    owner = Ledger({0: 0})
    async with writing(settings) as writer, reading(settings, owner) as reader:
        await append_all(writer, 2)
        assert len(await read_records(reader, 2)) == 2
        set_layout(embedded.folder, embedded_log.LAYOUT + 1)
        await append_all(writer, 2)
        assert len(await read_records(reader, 2)) == 2
        owner.positions[0] = 4
        kept = replace_log(embedded.folder)
        with pytest.raises(LogUnavailable):
            await writer.check()
        with pytest.raises(LogUnavailable):
            await reader.read(records_max=1, timeout_s=1)
        for path in kept.iterdir():
            path.rename(embedded.folder / path.name)
        await until_it_takes(writer)
        assert len(await read_records(reader, 1)) == 1


def set_layout(folder: Path, layout: int) -> None:
    """Make the log one of another layout, as another release leaves it."""
    with contextlib.closing(sqlite3.connect(folder / "log.sqlite", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {layout}")
