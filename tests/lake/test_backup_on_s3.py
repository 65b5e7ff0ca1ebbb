"""Backups on S3: as good as those in a folder, though S3 neither renames nor locks."""

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from rigs import s3
from rigs.brokers import free_ports
from rigs.lake import Lake, playhead, write
from rigs.session_model import make_bad, make_event

from lake.backup import (
    MANIFEST,
    Manifest,
    back_up,
    check,
    drop_older,
    folder_of_backups,
    last_made_at,
    newest,
    restore,
)
from lake.catalog import location
from lake.s3 import S3Folder
from lake.schema import SCHEMA
from lake.spill import PREFIX
from lake.verify import verify
from schemas.faults import NotReady
from schemas.settings import Settings

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
_numbers = itertools.count()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an S3 server."""
    (port,) = free_ports(1)
    with s3.moto_server(tmp_path_factory.mktemp("s3"), port):
        yield port


@pytest.fixture
def folder(port: int) -> S3Folder:
    """A folder of the bucket, with a space in its name."""
    address = f"s3://{s3.BUCKET}/back ups/{next(_numbers)}"
    folder = folder_of_backups(Settings(lake_backups=address, **s3.settings_of(port)))
    assert isinstance(folder, S3Folder)
    return folder


@pytest.fixture
def lake(tmp_path: Path, port: int, folder: S3Folder) -> Lake:
    """A lake with an event and a bad record, whose backups belong there."""
    made = Lake(tmp_path / "data", lake_backups=str(folder), **s3.settings_of(port))
    with made.writer() as writer:
        write(writer, writer.load(0, None), [make_event("sessionStart", offset=0), make_bad(offset=1)])
    return made


def keys(port: int, folder: S3Folder) -> list[str]:
    """Return the keys of all objects in a folder; those that only mark it are left out."""
    prefix = str(folder).removeprefix(f"s3://{s3.BUCKET}/")
    with s3.client(port) as client:
        listed = client.list_objects_v2(Bucket=s3.BUCKET, Prefix=prefix + "/").get("Contents", [])
    return [key.removeprefix(prefix) for each in listed if not (key := each["Key"]).endswith("/")]


def change(port: int, file: S3Folder, body: bytes | None) -> None:
    """Replace an object, or delete it."""
    name: dict[str, Any] = {"Bucket": s3.BUCKET, "Key": str(file).removeprefix(f"s3://{s3.BUCKET}/")}
    with s3.client(port) as client:
        client.delete_object(**name) if body is None else client.put_object(**name, Body=body)


def put(port: int, folder: S3Folder, made_at: datetime) -> tuple[S3Folder, Manifest]:
    """Put what tells a backup into a folder: its manifest, and a file of a table."""
    path = folder / made_at.strftime("%Y%m%dT%H%M%S.%fZ")
    manifest = Manifest(made_at, {0: 2}, {"events": 1}, SCHEMA)
    change(port, path / "events" / "data_0.parquet", b"PAR1")
    change(port, path / MANIFEST, msgspec.json.encode(manifest))
    return path, manifest


def test_a_lake_is_restored_from_s3_as_it_was(lake: Lake, folder: S3Folder, tmp_path: Path) -> None:
    """The newest backup is found there, and every offset is in what it makes."""
    made = back_up(lake.place, folder, now=NOON)
    assert newest(folder) == made
    assert last_made_at(folder, now=NOON) == NOON
    restored = location(Settings(data_dir=tmp_path / "restored"))
    restore(restored, made[0])
    assert verify(restored).findings == []
    assert verify(restored).partitions == verify(lake.place).partitions


def test_the_command_makes_a_checked_backup_on_s3(lake: Lake, folder: S3Folder) -> None:
    """It is restored in the data folder, of which nothing is left; the secret is not told."""
    address = f"{folder}/by hand"
    with playhead(lake.settings, "backup", "--checked", "--to", address) as process:
        assert process.wait(60) == 0, process.output
        said = process.output
    found = newest(folder / "by hand")
    assert found is not None
    assert said == f"{sum(found[1].rows.values())} rows are in {found[0]}, restored and verified\n"
    assert not list(lake.settings.data_dir.glob("*.restored*"))


def test_backups_on_s3_are_made_whenever_one_is_due(lake: Lake, folder: S3Folder, port: int) -> None:
    """The newest ones are kept, and nothing of the others."""
    with playhead(lake.settings, "backup", "--every", "1s", "--keep", "1") as process:
        first = process.wait_for(lambda: (found := newest(folder)) and found[0])
        process.wait_for(lambda: not any(first.name in key for key in keys(port, folder)))
        assert process.end() == 0
        log = process.output
    assert {json.loads(line)["event"] for line in log.splitlines()} == {"settings", "backup made"}
    assert s3.SECRET_KEY not in log


def test_a_backup_that_fails_leaves_nothing_on_s3(lake: Lake, folder: S3Folder, port: int) -> None:
    """A file of the lake cannot be read."""
    (path, *_) = sorted(Path(lake.place.files).glob("main/quarantine/*.parquet"))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(duckdb.Error):
        back_up(lake.place, folder, now=NOON)
    assert keys(port, folder) == []


def test_a_backup_on_s3_that_lacks_something_fails_its_check(
    lake: Lake, folder: S3Folder, port: int, tmp_path: Path
) -> None:
    """An object is lost; what was restored for the check is deleted."""
    path, _ = back_up(lake.place, folder, now=NOON)
    change(port, path / "events" / "data_0.parquet", None)
    with pytest.raises(NotReady, match=r"cannot be restored|damaged"):
        check(path, data=tmp_path)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(PREFIX)] == ["data"]


def test_a_damaged_backup_on_s3_hides_no_other_and_stays(folder: S3Folder, port: int) -> None:
    """It is an error only if no other backup is left."""
    good = put(port, folder, NOON)
    damaged, _ = put(port, folder, NOON + HOUR)
    change(port, damaged / MANIFEST, b"{")
    assert newest(folder) == good
    assert drop_older(folder, keep=1, now=NOON + 100 * HOUR) == []
    change(port, folder / good[0].name / MANIFEST, None)
    with pytest.raises(NotReady, match="is not a complete backup"):
        newest(folder)


def test_what_a_killed_backup_left_on_s3_is_dropped_a_day_later(folder: S3Folder, port: int) -> None:
    """Until then another process may be writing it; what belongs to others stays."""
    change(port, folder / "20260101T090000.000000Z" / "events" / "data_0.parquet", b"PAR1")
    change(port, folder / "20260101" / "mine", b"1")
    assert newest(folder) is None
    now = datetime.now(UTC)
    assert drop_older(folder, keep=1, now=now) == []
    assert [path.name for path in drop_older(folder, keep=1, now=now + 25 * HOUR)] == ["20260101T090000.000000Z"]
    assert keys(port, folder) == ["/20260101/mine"]


def test_an_old_backup_that_is_dropped_halfway_is_no_backup(
    folder: S3Folder, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It loses its manifest first."""

    class Killed(BaseException):
        pass

    def killed(path: S3Folder) -> None:
        raise Killed

    made = [put(port, folder, NOON + hours * HOUR) for hours in range(2)]
    with monkeypatch.context() as patched:
        patched.setattr(S3Folder, "rmtree", killed)
        with pytest.raises(Killed):
            drop_older(folder, keep=1, now=NOON)
    assert newest(folder) == made[1]
    assert last_made_at(folder, now=NOON) is None, "the older one counts no longer"


@pytest.mark.parametrize(
    ("changes", "cure"),
    [
        ({"lake_s3_endpoint": "127.0.0.1:9"}, "start the S3 server, or correct PLAYHEAD_LAKE_S3_ENDPOINT"),
        ({"lake_backups": "s3://not-there/x"}, "create this bucket, or correct its name"),
        ({"lake_backups": "s3://lake/a//b"}, "PLAYHEAD_LAKE_BACKUPS has an empty"),
    ],
)
def test_a_place_on_s3_that_cannot_be_used_is_named_with_what_to_do(
    lake: Lake, changes: dict[str, str], cure: str
) -> None:
    """By a backup, which makes none."""
    with playhead(lake.settings.model_copy(update=changes), "backup") as process:
        assert process.wait(60) == 2
        (line,) = process.output.splitlines()
    assert cure in json.loads(line)["error"]


def test_status_and_doctor_know_backups_on_s3(lake: Lake, folder: S3Folder) -> None:
    """How old the newest is; and where S3 does not answer, that nobody knows, and what to do."""

    def asked(verb: str, **changes: str) -> Any:
        with playhead(lake.settings.model_copy(update=changes), verb, "--json") as process:
            process.wait(60)
            return json.loads(process.output.splitlines()[-1])

    back_up(lake.place, folder, now=datetime.now(UTC))
    status = asked("status")
    assert status["seen"]["backup_at"] is not None
    assert {each["code"] for each in status["findings"]} & {"backups_unreachable", "backup_overdue"} == set()
    away = {"lake_s3_endpoint": "127.0.0.1:9"}
    (finding,) = [each for each in asked("status", **away)["findings"] if "backup" in each["code"]]
    assert finding["code"] == "backups_unreachable"
    assert "start the S3 server" in finding["detail"]
    checks = {each["name"]: each for each in asked("doctor", **away)["checks"]}
    assert checks["backups"]["state"] == "wrong"
    assert "start the S3 server" in checks["backups"]["detail"]
