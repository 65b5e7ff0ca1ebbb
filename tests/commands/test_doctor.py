"""`playhead doctor`: a set-up that is broken is named before anything runs, with what to do."""

import asyncio
import contextlib
import json
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from rigs import s3
from rigs.brokers import Broker, GivenBroker, free_ports
from rigs.commands import playhead
from rigs.ingest import running
from rigs.lake import Lake
from rigs.logs import KafkaRig, append_all, writing
from rigs.postgres import Server, new_database

from commands.checks import CHECKS, Check, Checkup
from eventlog.adapters import create_log
from lake.catalog import connect, location
from lake.schema import SCHEMA
from lake.tables import initialize
from schemas.named_keys import SCOPES, add_key
from schemas.settings import Settings

HOUR = timedelta(hours=1)


def examined(settings: Settings, *, clock_off: timedelta = timedelta(0)) -> dict[str, Check]:
    """Return what the doctor finds, by name; this machine's clock may be off."""
    (port,) = free_ports(1)
    nobody = {"http_port": port, "notebooks_port": 0, "ingest_urls": f"http://127.0.0.1:{port}"}
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    quiet = settings.model_copy(update=nobody | given)
    checks = asyncio.run(Checkup(quiet, clock=lambda: datetime.now(UTC) + clock_off).run())
    assert [check.name for check in checks] == list(CHECKS)
    return {check.name: check for check in checks}


def wrong(settings: Settings, **options: Any) -> dict[str, str]:
    """Return what the doctor finds wrong, by name."""
    checks = examined(settings, **options)
    return {name: check.detail for name, check in checks.items() if check.state == "wrong"}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A log and a lake on this machine."""
    lake = Lake(tmp_path / "data")
    asyncio.run(create_log(lake.settings))
    return lake


def but(settings: Settings, **changes: Any) -> Settings:
    """Return settings with changes."""
    return Settings(**settings.model_dump(exclude_unset=True) | changes)


def test_a_new_set_up_is_well(tmp_path: Path) -> None:
    """Exit status 0, within seconds, and nothing is changed."""
    assert playhead("init", cwd=tmp_path).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    ports = {"PLAYHEAD_HTTP_PORT": "0", "PLAYHEAD_NOTEBOOKS_PORT": "0"}
    done = playhead("doctor", "--json", cwd=tmp_path, settings=ports)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert {check["state"] for check in checks.values()} == {"ok"}
    assert checks["files"]["detail"].endswith(".parquet was read")
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}


def test_what_init_has_not_made_is_wrong(tmp_path: Path) -> None:
    """A line for each check, and exit status 1; what needs another is not tried, and nothing is made."""
    done = playhead("doctor", cwd=tmp_path, settings={"PLAYHEAD_HTTP_PORT": "0", "PLAYHEAD_NOTEBOOKS_PORT": "0"})
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert "wrong log: there is no log at data/log.sqlite: `playhead init` makes it" in lines
    assert "skipped topic: not checked: it needs `log`" in lines
    assert "skipped files: not checked: it needs `catalogue`" in lines
    assert any(line.startswith("wrong catalogue: ") and "`playhead init` makes one" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_settings_that_cannot_be_used_are_all_that_is_checked(tmp_path: Path) -> None:
    """Every mistake is named; whatever depends on the settings is skipped."""
    mistakes = {"PLAYHEAD_HTTP_PROT": "1", "PLAYHEAD_LOG_PARTITIONS": "none"}
    done = playhead("doctor", "--json", cwd=tmp_path, settings=mistakes)
    assert done.returncode == 1
    first, *others = json.loads(done.stdout)["checks"]
    assert "PLAYHEAD_HTTP_PROT is not a setting; the nearest is PLAYHEAD_HTTP_PORT" in first["detail"]
    assert "PLAYHEAD_LOG_PARTITIONS: " in first["detail"]
    assert {check["state"] for check in others} == {"skipped"}


def test_settings_that_contradict_each_other_are_named(lake: Lake) -> None:
    """What has no effect beside another, what is missing beside another, and keys that are too short."""
    contradictory = but(
        lake.settings, kafka_topic="mine", lake_s3_region="eu-west-1", mac_key="short", kafka_sasl_username="alice"
    )
    found = wrong(contradictory)
    assert found.keys() == {"settings"}
    assert set(found["settings"].splitlines()) == {
        "PLAYHEAD_KAFKA_TOPIC has no effect, because PLAYHEAD_LOG is not kafka: change that, or unset it",
        "PLAYHEAD_KAFKA_SASL_USERNAME has no effect, because PLAYHEAD_LOG is not kafka: change that, or unset it",
        "PLAYHEAD_LAKE_S3_REGION has no effect, because PLAYHEAD_LAKE_FILES is no s3:// address: "
        "change that, or unset it",
        "PLAYHEAD_MAC_KEY is shorter than 32 characters: make a longer one",
        "PLAYHEAD_API_KEYS is not set, though other keys of an ingest are",
        "PLAYHEAD_PSEUDONYM_KEY is not set, though other keys of an ingest are",
    }


def test_named_keys_are_keys_of_an_ingest(lake: Lake, tmp_path: Path) -> None:
    """With one of them, PLAYHEAD_API_KEYS is not missed; a file that cannot be read is named."""
    file = tmp_path / "keys.json"
    add_key(file, "web", SCOPES, now=datetime.now(UTC))
    long = "x" * 40
    settings = but(lake.settings, mac_key=long, pseudonym_key=long, named_keys=file)
    assert "settings" not in wrong(settings)
    file.write_bytes(b"{")
    assert "cannot be read" in wrong(settings)["settings"]


def test_an_extension_that_is_not_installed_is_named(tmp_path: Path) -> None:
    """With what installs it; the catalogue is not tried without it."""
    Lake(tmp_path / "data")
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "duckdb_extension_sqlite_scanner.py").touch()
    done = playhead("doctor", "--json", cwd=tmp_path, settings={"PYTHONPATH": str(shadow)})
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1
    assert checks["extensions"]["detail"] == (
        "the package duckdb-extension-sqlite-scanner is not installed: pip install 'playhead[lake]'"
    )
    assert checks["catalogue"]["state"] == "skipped"


def test_a_lake_of_another_schema_is_named(lake: Lake) -> None:
    """With both numbers."""
    lake.do("DELETE FROM schema_number", f"INSERT INTO schema_number VALUES ({SCHEMA + 1})")
    found = wrong(lake.settings)
    assert found.keys() == {"schema"}
    assert f"has schema {SCHEMA + 1}, and this program works with schema {SCHEMA}" in found["schema"]


def test_the_lake_of_a_stranger_is_named(tmp_path: Path) -> None:
    """A wrong address leads to it; `init` makes nothing there."""
    settings = Settings(data_dir=tmp_path)
    asyncio.run(create_log(settings))
    (tmp_path / "lake").mkdir()
    with contextlib.closing(connect(location(settings), read_only=False, create=True)) as stranger:
        stranger.execute("CREATE TABLE orders AS SELECT 1 AS id")
    assert "is somebody else's, with the tables orders: correct" in wrong(settings)["catalogue"]
    refused = playhead("init", cwd=tmp_path, settings={"PLAYHEAD_DATA_DIR": str(tmp_path)})
    assert refused.returncode == 2
    assert "somebody else's" in refused.stderr


def test_a_catalogue_that_is_no_lake_is_named(lake: Lake) -> None:
    """Another file in its place."""
    Path(lake.place.catalog).write_bytes(b"of another program" * 100)
    assert "not a database" in wrong(lake.settings)["catalogue"]


def test_a_file_that_is_missing_is_named(lake: Lake) -> None:
    """Only its table and its path; or, without the folder, the setting that may be wrong."""
    file = Path(examined(lake.settings)["files"].detail.removesuffix(" was read"))
    file.unlink()
    found = wrong(lake.settings)
    assert found.keys() == {"files"}
    assert f"needs {file}, which is missing; `playhead verify` names all of them" in found["files"]
    shutil.rmtree(lake.place.files)
    assert "is not a folder: is PLAYHEAD_LAKE_FILES right?" in wrong(lake.settings)["files"]


def test_a_folder_that_cannot_be_made_is_named(lake: Lake, tmp_path: Path) -> None:
    """A file is in its place."""
    (tmp_path / "file").touch()
    found = wrong(but(lake.settings, lake_backups=str(tmp_path / "file" / "backups")))
    assert found == {"permissions": f"{tmp_path}/file is no folder: move it away, or choose another"}


@pytest.mark.parametrize(("ahead", "said"), [(-HOUR, "60 min behind"), (HOUR, None)])
def test_a_clock_that_is_behind_is_named(ahead: timedelta, said: str | None, lake: Lake) -> None:
    """By the newest record of the log and the newest snapshot; neither can show that a clock is ahead."""
    asyncio.run(_append(lake.settings))
    lake.do("UPDATE ledger_p000 SET commits = commits + 1")  # a snapshot of now
    found = wrong(lake.settings, clock_off=ahead)
    if said is None:
        assert not found
        return
    assert found.keys() == {"clocks"}
    assert f"clock is {said} the newest record of the log: let a time service" in found["clocks"]
    assert f"clock is {said} the newest snapshot of the lake: let a time service" in found["clocks"]


async def _append(settings: Settings) -> None:
    async with writing(settings) as writer:
        await append_all(writer, 1)


def test_a_port_that_another_program_uses_is_named(lake: Lake) -> None:
    """The one of an ingest that already runs is in order."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        found = wrong(but(lake.settings, http_port=port))
        assert found.keys() == {"ports"}
        assert (
            f"cannot listen on 127.0.0.1:{port}: address already in use; choose another PLAYHEAD_HTTP_PORT"
            in (found["ports"])
        )


def test_the_port_of_a_running_ingest_is_in_order(tmp_path: Path) -> None:
    """And its clock is compared."""
    (metrics_port,) = free_ports(1)
    url = f"http://127.0.0.1:{metrics_port}"
    with running(tmp_path, metrics_port=metrics_port) as ingest:
        settings = Settings(data_dir=tmp_path, http_port=ingest.port, metrics_port=metrics_port, ingest_urls=url)
        checks = examined(settings)
    listens = "Playhead listens on"
    assert checks["ports"].detail.startswith(f"{listens} {ingest.port}; {listens} {metrics_port}; ")
    assert checks["clocks"].detail.endswith(url)


@pytest.fixture(scope="module")
def many(kafka: Broker, postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a set-up on Kafka and PostgreSQL that is in order, with a record in its log."""
    folder = tmp_path_factory.mktemp("many")
    settings = KafkaRig(kafka).settings(
        data_dir=folder, lake_catalog=f"postgres:{new_database(postgres)}", log_partitions=2
    )
    asyncio.run(create_log(settings))
    initialize(location(settings), partitions=2)
    asyncio.run(_append(settings))
    return settings


def test_many_machines_are_well(many: Settings) -> None:
    """All of it is asked: broker, topic, database, clocks."""
    checks = examined(many)
    assert {check.state for check in checks.values()} == {"ok"}, checks
    assert checks["log"].detail == f"{many.kafka_bootstrap_servers} answers"
    assert checks["topic"].detail == "2 partitions"
    assert checks["clocks"].detail.startswith("compared with the newest record of the log, PostgreSQL")


def test_a_broker_that_does_not_answer_is_named(many: Settings) -> None:
    """By its address; the topic is not tried, and the lake is in order."""
    (port,) = free_ports(1)
    checks = examined(but(many, kafka_bootstrap_servers=f"127.0.0.1:{port}"))
    assert checks["log"].state == "wrong"
    assert f"Kafka cannot be reached: 127.0.0.1:{port}: " in checks["log"].detail
    assert checks["topic"].state == "skipped"
    assert checks["catalogue"].state == checks["files"].state == "ok"


def test_a_topic_that_is_missing_is_named(many: Settings) -> None:
    """With the command that makes it."""
    found = wrong(but(many, kafka_topic="none.of.this.name"))
    assert found == {"topic": "there is no topic none.of.this.name: `playhead topics` makes it"}


def test_a_topic_that_differs_from_the_settings_is_named(many: Settings) -> None:
    """Each of its own settings, as `topics` says it; and another number of partitions than the lake has."""
    (line,) = wrong(but(many, log_retention_s=3600.0))["topic"].splitlines()
    assert (
        "retention.ms is 604800000, should be 3600000. Change the settings, or run `playhead topics --alter`"
        in line
    )
    smaller = KafkaRig(_broker(many)).settings()
    asyncio.run(create_log(smaller))
    (line,) = wrong(but(many, kafka_topic=smaller.kafka_topic))["topic"].splitlines()
    assert "has 1 partitions, and the lake has tables for 2" in line
    assert "`playhead topics --partitions 2`" in line
    larger = KafkaRig(_broker(many)).settings(log_partitions=3)
    asyncio.run(create_log(larger))
    assert wrong(but(many, kafka_topic=larger.kafka_topic)) == {
        "topic": "partition 2: the lake has no tables for it: run `playhead init`"
    }


def _broker(settings: Settings) -> GivenBroker:
    return GivenBroker(settings.kafka_bootstrap_servers)


def test_a_database_that_does_not_answer_is_named(many: Settings) -> None:
    """The cause first, and its address; nobody listens there, or somebody who never answers."""
    (port,) = free_ports(1)
    refused = but(many, lake_catalog=f"postgres:host=127.0.0.1 port={port} dbname=lake user=me password=hush-hush")
    found = wrong(refused)
    assert found.keys() == {"catalogue"}
    assert found["catalogue"].startswith("cannot connect to PostgreSQL: ")
    assert found["catalogue"].endswith(": start PostgreSQL, or correct host and port in PLAYHEAD_LAKE_CATALOG")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        began_s = time.monotonic()
        catalog = f"postgres:host=127.0.0.1 port={port} dbname=lake user=me"
        assert "timeout expired" in wrong(but(many, lake_catalog=catalog))["catalogue"]
        assert time.monotonic() - began_s < 10


def test_a_wrong_password_is_named_and_never_printed(many: Settings, tmp_path: Path) -> None:
    """Also not where the connection string has it."""
    parts = psycopg.conninfo.conninfo_to_dict(many.lake_catalog.removeprefix("postgres:"))
    right = str(parts["password"])
    catalog = many.lake_catalog.replace(right, "hush-hush").removeprefix("postgres:")
    settings = {"PLAYHEAD_LAKE_CATALOG": f"postgres:{catalog}", "PLAYHEAD_DATA_DIR": str(tmp_path)}
    for verb in ("doctor", "status", "init"):
        done = playhead(verb, cwd=tmp_path, settings=settings)
        assert done.returncode in {1, 2}
        assert "cannot connect to PostgreSQL: " in done.stdout + done.stderr
        assert "password authentication failed" in done.stdout + done.stderr
        assert ": set PLAYHEAD_LAKE_CATALOG_PASSWORD, or " in done.stdout + done.stderr
        assert "hush-hush" not in done.stdout + done.stderr
        assert right not in done.stdout + done.stderr


def test_a_database_that_is_not_there_and_one_that_is_empty_are_named(many: Settings, postgres: Server) -> None:
    """Each with what to do."""
    missing = psycopg.conninfo.make_conninfo(postgres.connection, dbname="no_such_database")
    assert "create this database (createdb)" in wrong(but(many, lake_catalog=f"postgres:{missing}"))["catalogue"]
    empty = but(many, lake_catalog=f"postgres:{new_database(postgres)}")
    assert "`playhead init` makes one" in wrong(empty)["catalogue"]


def test_a_role_that_may_only_read_is_named(many: Settings, postgres: Server) -> None:
    """It opens the lake, and a worker could not write."""
    own = many.lake_catalog.removeprefix("postgres:")
    reader = f"reader_{secrets.token_hex(4)}"  # the server may have served a run before
    with psycopg.connect(postgres.connection, autocommit=True) as superuser:
        superuser.execute(f"CREATE ROLE {reader} LOGIN PASSWORD 'reads'".encode())
    with psycopg.connect(own, autocommit=True) as owner:
        owner.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}".encode())
    catalog = psycopg.conninfo.make_conninfo(own, user=reader, password="reads")
    found = wrong(but(many, lake_catalog=f"postgres:{catalog}"))
    assert found.keys() == {"permissions"}
    assert found["permissions"].startswith("the catalogue may only be read: ")


def test_a_clock_that_is_ahead_of_the_databases_is_named(many: Settings) -> None:
    """PostgreSQL has a clock."""
    assert "60 min ahead of PostgreSQL's" in wrong(many, clock_off=HOUR)["clocks"]


@pytest.fixture(scope="module")
def on_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, int]]:
    """Settings of a lake whose files are on S3, and the port of the server."""
    folder = tmp_path_factory.mktemp("s3")
    (port,) = free_ports(1)
    with s3.moto_server(folder, port):
        settings = Settings(data_dir=folder, lake_files=f"s3://{s3.BUCKET}/files", **s3.settings_of(port))
        asyncio.run(create_log(settings))
        initialize(location(settings), partitions=1)
        yield settings, port


def test_wrong_keys_of_s3_are_named(on_s3: tuple[Settings, int]) -> None:
    """The file cannot be read, and the secret is not printed; with right keys one is read."""
    settings, port = on_s3
    assert examined(settings)["files"].detail.endswith(".parquet was read")
    httpx.post(f"http://127.0.0.1:{port}/moto-api/reset-auth", content=b"0")  # from now on keys are checked
    found = wrong(settings)
    assert found.keys() == {"files"}
    assert "set PLAYHEAD_LAKE_S3_ACCESS_KEY and PLAYHEAD_LAKE_S3_SECRET_KEY" in found["files"]
    assert s3.SECRET_KEY not in found["files"]
