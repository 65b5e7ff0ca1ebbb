"""A lake whose files are on S3: upkeep deletes nothing but orphans, and `verify` names a damaged object."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from rigs import s3
from rigs.brokers import free_ports
from rigs.upkept import ORPHAN, SHRUNK, insert, kept_up, offsets_of

from lake.catalog import METADATA, Location, connect, location
from lake.orphans import twice_listed
from lake.tables import initialize
from lake.verify import verify
from schemas.settings import Settings


@pytest.fixture(scope="module")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an S3 server."""
    (port,) = free_ports(1)
    with s3.moto_server(tmp_path_factory.mktemp("s3"), port):
        yield port


def make_as_0_1_0_did(place: Location) -> None:
    """Make a lake at any address; today's `init` refuses odd ones."""
    Path(place.catalog).parent.mkdir(parents=True)
    plain = msgspec.structs.replace(place, files=f"s3://{s3.BUCKET}/plain")
    path = place.files.rstrip("/") + "/"
    with contextlib.closing(connect(plain, read_only=False, create=True)) as connection:
        connection.execute(f"UPDATE {METADATA}.ducklake_metadata SET value = '{path}' WHERE key = 'data_path'")
    initialize(place, partitions=1)


@pytest.mark.parametrize("prefix", ["plain/files", "at the end/100%/", "two//slashes"])
def test_upkeep_on_s3_deletes_orphans_after_two_listings_and_nothing_else(
    tmp_path: Path, s3_port: int, prefix: str
) -> None:
    """On every spelling that a lake of release 0.1.0 may have."""
    settings = Settings(data_dir=tmp_path, lake_files=f"s3://{s3.BUCKET}/{prefix}", **s3.settings_of(s3_port))
    place = location(settings)
    make_as_0_1_0_did(place)
    insert(place, *range(22))
    key = f"{prefix.rstrip('/')}/main/duplicates/{ORPHAN}"
    with s3.client(s3_port) as client:
        client.put_object(Bucket=s3.BUCKET, Key=key, Body=b"PAR1")

        def is_there() -> bool:
            listed = client.list_objects_v2(Bucket=s3.BUCKET, Prefix=key)
            return bool(listed["KeyCount"])

        assert kept_up(place, SHRUNK, settings.orphans).merged_tables == ["duplicates"]
        kept_up(place, SHRUNK, settings.orphans, after=timedelta(days=6, hours=23))
        assert is_there()
        later = timedelta(days=7, minutes=1)
        assert kept_up(place, SHRUNK, settings.orphans, after=later).orphans.aside == 1
        kept_up(place, SHRUNK, settings.orphans, after=later + timedelta(minutes=1))
        assert not is_there()
    assert verify(place).findings == []
    assert offsets_of(place) == list(range(22))


def test_upkeep_on_s3_deletes_nothing_where_client_and_server_spell_keys_differently(
    tmp_path: Path, s3_port: int
) -> None:
    """A `.` is lost on the way to the server: what is listed is not what the catalogue names."""
    settings = Settings(data_dir=tmp_path, lake_files=f"s3://{s3.BUCKET}/a/./b", **s3.settings_of(s3_port))
    place = location(settings)
    make_as_0_1_0_did(place)
    insert(place, *range(5))
    for days in (0, 8, 16):
        assert kept_up(place, SHRUNK, settings.orphans, after=timedelta(days=days, seconds=1)).orphans.aside == 0
    assert offsets_of(place) == list(range(5))


def test_an_orphan_on_s3_is_confirmed_by_a_listing_a_week_later() -> None:
    """Between two listings it must not have been away: then the week begins again."""
    monday, week = datetime(2026, 1, 5, tzinfo=UTC), timedelta(days=7)
    confirmed, since = twice_listed({}, ["a", "b"], now=monday, apart=week)
    assert (confirmed, since) == ([], {"a": monday, "b": monday})
    confirmed, since = twice_listed(since, ["a"], now=monday + timedelta(days=3), apart=week)
    assert (confirmed, since) == ([], {"a": monday})
    confirmed, since = twice_listed(since, ["a", "b"], now=monday + week, apart=week)
    assert (confirmed, since) == (["a"], {"b": monday + week})


@pytest.mark.parametrize(("damage", "code"), [("cut", "file_unreadable"), ("gone", "file_missing")])
def test_a_damaged_object_of_a_lake_on_s3_and_postgresql_is_named(
    tmp_path: Path, s3_port: int, catalog: str, damage: str, code: str
) -> None:
    """`verify` reads the footer of every object, however many are whole, and names the one."""
    address = f"s3://{s3.BUCKET}/{damage}/files"
    settings = Settings(data_dir=tmp_path, lake_catalog=catalog, lake_files=address, **s3.settings_of(s3_port))
    place = location(settings)
    initialize(place, partitions=1)
    insert(place, *range(5))
    assert verify(place).findings == []
    with s3.client(s3_port) as client:
        listed = client.list_objects_v2(Bucket=s3.BUCKET, Prefix=f"{damage}/files/main/duplicates/")["Contents"]
        key = listed[2]["Key"]
        if damage == "gone":
            client.delete_object(Bucket=s3.BUCKET, Key=key)
        else:
            whole = client.get_object(Bucket=s3.BUCKET, Key=key)["Body"].read()
            client.put_object(Bucket=s3.BUCKET, Key=key, Body=whole[:-8] + b"12345678")
    found = [finding for finding in verify(place).findings if finding.code == code]
    assert any(key.rpartition("/")[2] in finding.detail for finding in found)
