"""`playhead quarantine`: records in it are seen, put back where a worker now understands them, or dealt with."""

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rigs.brokers import Broker
from rigs.commands import SECRETS, ask, environment, failed, playhead, started
from rigs.ingest import event, running, session_start
from rigs.lake import Lake, record_value
from rigs.logs import KafkaRig, append_values, writing
from rigs.mortal import Mortal, dies_before, statements_of
from rigs.waiting import until, until_async
from rigs.working import working

from commands.diagnosis import diagnose
from commands.init import make_log_and_lake
from commands.rebuild import rebuild_lake
from commands.status import look
from consumers.replay import Replayed, replay
from consumers.worker import Worker
from eventlog.adapters import read_ends
from lake.catalog import connect, location
from lake.quarantine import Choice, Position, Reason, read_reasons
from lake.verify import verify
from schemas.faults import NotReady
from schemas.settings import Settings, environment_of, read_settings

# A worker of a release that did not know two of the event types yet.
OLDER = """
import sys
from schemas.vocabulary import EVENT_TYPES
del EVENT_TYPES["bitrateChange"], EVENT_TYPES["stateStart"]
import playhead
sys.argv[1:] = ["worker", "--until-read"]
playhead.main()
"""
GARBAGE = b"\x1b[2J{\xe2\x80\xae\xff}\n"
REFUSED = {"ingest not_json": 1, "ingest invalid_event": 1}
TS = 1_700_000_000_000
EVENTS = "SELECT * EXCLUDE (log_offset) FROM events ORDER BY event_id"
SESSIONS = (
    "SELECT * EXCLUDE (version, as_of, as_of_offset, late_events, first_offset) FROM sessions ORDER BY session_id"
)


class Told:
    """A folder with a log and a lake, and `playhead` in it."""

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd
        self.settings = read_settings({**SECRETS, "PLAYHEAD_DATA_DIR": str(cwd / "data")})

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `playhead` to its end."""
        return playhead(*arguments, cwd=self.cwd, settings=SECRETS)

    def say(self, *arguments: str) -> Any:
        """Return what a verb of `playhead quarantine` prints as JSON."""
        done = self.run("quarantine", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def copied(self) -> "Told":
        """Return a copy of the folder, beside it."""
        copy = self.cwd.with_name(f"{self.cwd.name}-copy-{uuid.uuid4().hex[:6]}")
        shutil.copytree(self.cwd / "data", copy / "data")
        return Told(copy)

    def ask(self, statement: str) -> list[dict[str, Any]]:
        """Ask the lake."""
        return ask(statement, cwd=self.cwd)

    def read(self) -> None:
        """Let a worker of this release read what the log holds; every offset is then in the lake once."""
        asyncio.run(Worker(self.settings).run(asyncio.Event(), until_read=True))
        assert verify(location(self.settings)).findings == []

    def rebuild(self) -> None:
        """Make the lake again from the log alone."""
        shutil.rmtree(self.cwd / "data" / "lake")
        assert rebuild_lake(self.settings, None) is None
        assert verify(location(self.settings)).findings == []

    def replay(self, *, limit: int | None = None, is_dry: bool = False, **choice: Any) -> Replayed:
        """Replay, and return what that did."""
        return asyncio.run(replay(self.settings, Choice(**choice), limit=limit, is_dry=is_dry))

    @property
    def end_of_log(self) -> int:
        """The offset that the next record of the log will get."""
        return asyncio.run(read_ends(self.settings))[0]

    def reasons(self, **choice: Any) -> list[Reason]:
        """Return what is in quarantine, by reason."""
        with contextlib.closing(connect(location(self.settings), read_only=True)) as lake:
            return read_reasons(lake, Choice(**choice), limit=100)

    def open(self) -> dict[str, int]:
        """Return how many records are open, by source and reason."""
        return {f"{each.source} {each.reason}": each.open for each in self.reasons() if each.open}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose lake an older worker has filled: it put four events of two sessions into quarantine.

    Beside them are two bodies that the ingest refused and a record that is no JSON.
    """
    cwd = tmp_path_factory.mktemp("told")
    with running(cwd / "data") as ingest:
        ended, left = ingest.start(session_start()), ingest.start(session_start())
        for number, name in enumerate(("play", "bitrateChange", "bitrateChange", "ping", "sessionEnd")):
            at_s = 10 * number
            body = event(name, ts=TS + at_s * 1_000, playhead=float(at_s), qoeData={"media.qoe.bitrate": number})
            assert ingest.post(f"{ended}/events", body).status_code == 204
        state = event("stateStart", params={"media.state.name": "muted"})
        assert ingest.post(f"{left}/events", state).status_code == 204
        assert ingest.post(f"{left}/events", event("bitrateChange", ts=TS + 5_000)).status_code == 204
        assert ingest.post("/api/v1/sessions", b"{").status_code == 400
        until(lambda: ingest.newest()["type"] == "playhead.rejected")
        body = {"params": {"media.playerName": ["no text"], "media.sdkVersion": "7.11.0"}}
        assert ingest.post("/api/v1/sessions", body, headers={"X-API-Key": "string"}).status_code == 400
        until(lambda: ingest.newest().get("data", {}).get("app_version") == "7.11.0")
    lake = Lake(cwd / "data")

    async def append() -> None:
        async with writing(lake.settings) as writer:
            await append_values(writer, 0, GARBAGE)

    asyncio.run(append())
    done = subprocess.run(
        [sys.executable, "-P", "-c", OLDER], cwd=cwd, env=environment(SECRETS), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return cwd


@pytest.fixture
def told(template: Path, tmp_path: Path) -> Told:
    """A copy of that folder for one test."""
    shutil.copytree(template / "data", tmp_path / "data")
    return Told(tmp_path)


def test_what_is_in_quarantine_is_listed_by_reason(told: Told) -> None:
    """With counts, the first and the newest, and an example that `show` takes; filters narrow it."""
    assert told.open() == {"worker invalid_event": 4, "worker not_json": 1, **REFUSED}
    (bad,) = told.say(
        "list", "--reason", "invalid_event", "--source", "worker", "--partition", "0", "--since", "1h"
    )
    assert bad["first_at"] <= bad["newest_at"]
    assert "bitrateChange" in bad["detail"]
    assert told.reasons(partition=1) == []
    assert told.reasons(since=datetime.now(UTC)) == []
    printed = told.run("quarantine", "list").stdout
    assert all(bit in printed for bit in ("invalid_event", "not_json", bad["example"]))


def test_a_record_is_shown_with_its_bytes_escaped(told: Told) -> None:
    """Whatever a terminal or a reader would interpret is escaped; JSON has the bytes themselves."""
    (garbage,) = told.reasons(source="worker", reason="not_json")
    done = told.run("quarantine", "show", garbage.example)
    assert r"\x1b[2J{\u202e\xff}\n" in done.stdout
    assert "it cannot be decoded: not_json" in done.stdout
    assert done.stdout.isascii()
    assert base64.b64decode(told.say("show", garbage.example)["value"]) == GARBAGE
    (bad,) = told.reasons(reason="invalid_event", source="worker")
    assert "it can be decoded: bitrateChange" in told.run("quarantine", "show", bad.example).stdout
    assert "quarantine list" in failed(told.run("quarantine", "show", "0:1000000"))
    with pytest.raises(NotReady, match="partition:offset"):
        Position.parse("0-7")


def test_a_refused_body_names_its_sender(told: Told) -> None:
    """The name of its API key, the player and its version, as far as they were said."""
    (refused,) = told.reasons(source="ingest", reason="invalid_event")
    shown = told.say("show", refused.example)
    assert (shown["key_name"], shown["app_version"]) == ("settings-1", "7.11.0")
    assert (
        "sender: API key settings-1, app version 7.11.0" in told.run("quarantine", "show", refused.example).stdout
    )
    (silent,) = told.reasons(source="ingest", reason="not_json")
    assert {told.say("show", silent.example)[name] for name in ("key_name", "player_name", "app_version")} == {
        None
    }


def test_replayed_events_are_those_that_a_newer_worker_would_have_read(told: Told) -> None:
    """All columns of events and sessions are those of a lake that is made again from the log before the replay."""
    again = told.copied()
    again.rebuild()
    assert told.replay() == Replayed(appended=4, bad={"not_json": 1})
    told.read()
    assert len(told.ask(EVENTS)) == 9
    for statement in (EVENTS, SESSIONS):
        assert told.ask(statement) == again.ask(statement)


def test_a_replay_leaves_every_offset_accounted_for_once(told: Told) -> None:
    """The old rows stay, and each is linked to the offset that has its event now."""
    before = told.ask("FROM quarantine ORDER BY log_offset")
    assert told.say("replay") == {"appended": 4, "stored": 0, "bad": {"not_json": 1}, "dry_run": False}
    told.read()
    assert told.ask("FROM quarantine ORDER BY log_offset") == before
    links = told.ask(
        "SELECT q.value, d.decision, e.event_id FROM quarantine_decisions AS d "
        "JOIN quarantine AS q USING (log_partition, log_offset) "
        "JOIN events AS e ON (e.log_partition, e.log_offset) = (d.new_partition, d.new_offset)"
    )
    assert len(links) == 4
    for link in links:
        assert (link["decision"], json.loads(link["value"])["id"]) == ("replayed", link["event_id"])
    assert told.open() == {"worker not_json": 1, **REFUSED}


@pytest.mark.parametrize("is_read_between", [True, False])
def test_a_second_replay_appends_nothing(told: Told, is_read_between: bool) -> None:
    """Whether or not a worker has read what the first one appended."""
    assert told.replay().appended == 4
    if is_read_between:
        told.read()
    end = told.end_of_log
    assert told.replay() == Replayed(bad={"not_json": 1})
    assert told.end_of_log == end


def do_replay(mortal: Mortal, settings: Settings) -> None:
    """Replay everything."""
    with mortal:
        asyncio.run(replay(settings, Choice(), limit=None, is_dry=False))


def test_a_replay_that_is_killed_before_it_links_is_repeated_without_harm(told: Told) -> None:
    """Events that are in the lake by then are only linked, others appended again, and those are duplicates."""
    statements = statements_of(do_replay, told.copied().settings)
    (links,) = [at for at, text in enumerate(statements) if text.startswith("INSERT INTO quarantine_decisions")]
    assert dies_before(links, do_replay, told.settings)
    assert told.open()["worker invalid_event"] == 4
    unread = told.copied()
    told.read()
    assert told.replay() == Replayed(stored=4, bad={"not_json": 1})
    assert unread.replay().appended == 4
    for each, duplicates in ((told, 0), (unread, 4)):
        each.read()
        assert "worker invalid_event" not in each.open()
        assert each.ask("SELECT count(*) AS n FROM duplicates") == [{"n": duplicates}]
    assert told.ask(EVENTS) == unread.ask(EVENTS)


def test_the_log_with_what_was_replayed_gives_the_same_lake(told: Told) -> None:
    """`playhead rebuild`, without a backup, has every event once: at its old offset, or at its new one."""
    assert told.replay().appended == 4
    told.read()
    events, sessions = told.ask(EVENTS), told.ask(SESSIONS)
    told.rebuild()
    assert (told.ask(EVENTS), told.ask(SESSIONS)) == (events, sessions)


def test_a_dry_run_changes_nothing_and_a_limit_is_kept(told: Told) -> None:
    """What cannot be decoded does not count against the limit, so that the rest is reached."""
    end = told.end_of_log
    done = told.run("quarantine", "replay", "--dry-run")
    assert done.stdout == ("4 records would be appended to the log; 1 still cannot be decoded (not_json 1)\n")
    assert (told.end_of_log, told.ask("FROM quarantine_decisions")) == (end, [])
    assert told.run("quarantine", "replay", "--limit", "3").stdout.startswith("3 records were appended to the log")
    assert told.end_of_log == end + 3
    assert told.open()["worker invalid_event"] == 1
    assert told.replay(limit=3).appended == 1


def test_refused_bodies_are_not_replayed(told: Told) -> None:
    """Neither as a source nor one by one; nothing else is replayed in their stead."""
    end = told.end_of_log
    refused, _ = told.reasons(source="ingest")
    assert "never promised" in failed(told.run("quarantine", "replay", "--source", "ingest"))
    with pytest.raises(NotReady, match="only source worker"):
        told.replay(at=(Position.parse(refused.example),))
    assert told.end_of_log == end


def test_what_is_discarded_is_marked_and_stays(told: Told) -> None:
    """With the reason and the time; `status` no longer names it, and the evidence is all there."""
    before = told.ask("FROM quarantine ORDER BY log_offset")
    assert "quarantine" in {each.code for each in diagnose(asyncio.run(look(told.settings, [])))}
    assert "name what to discard" in failed(told.run("quarantine", "discard", "--why", "all"))
    chosen = ("discard", "--source", "worker", "--why", "a test producer, now stopped")
    assert told.say(*chosen, "--dry-run") == {"discarded": 5, "dry_run": True}
    assert told.run("quarantine", *chosen).stdout == "5 records were discarded\n"
    assert "quarantine" not in {each.code for each in diagnose(asyncio.run(look(told.settings, [])))}
    assert told.ask("FROM quarantine ORDER BY log_offset") == before
    assert verify(location(told.settings)).findings == []
    (listed,) = told.reasons(source="worker", reason="not_json")
    assert (listed.open, listed.discarded) == (0, 1)
    assert "now stopped" in told.run("quarantine", "show", listed.example).stdout
    assert told.replay() == Replayed()


def test_a_discarded_record_is_replayed_if_it_is_named(told: Told) -> None:
    """So that a mistake can be undone."""
    (bad,) = told.reasons(source="worker", reason="invalid_event")
    assert told.say("discard", bad.example, "--why", "a mistake") == {"discarded": 1, "dry_run": False}
    assert told.replay(reason="invalid_event") == Replayed(appended=3)
    named = (Position.parse(bad.example),)
    assert told.replay(at=named) == Replayed(appended=1)
    assert told.replay(at=named) == Replayed()
    told.read()
    assert len(told.ask(EVENTS)) == 9
    assert told.reasons(source="worker", reason="invalid_event")[0].replayed == 4


def test_quarantine_is_repaired_while_a_worker_writes(told: Told) -> None:
    """Its commits and those of the repair do not keep each other from the lake."""
    quick = {**SECRETS, "PLAYHEAD_WORKER_COMMIT_INTERVAL_S": "0.05"}
    with started("worker", cwd=told.cwd, settings=quick) as worker, running(told.cwd / "data") as ingest:
        worker.wait_for(lambda: "partition assigned" in worker.output)
        path = ingest.start(session_start())
        for number in range(4):
            for _ in range(20):
                assert ingest.post(f"{path}/events", event("ping")).status_code == 204
            assert told.replay(limit=1).appended == 1, number
        until(lambda: len(told.ask(EVENTS)) == 5 + 1 + 80 + 4)
        assert worker.end() == 0
    assert '"fenced"' not in worker.output
    assert verify(location(told.settings)).findings == []


async def test_it_works_on_kafka_and_postgresql_while_workers_run(
    tmp_path: Path, kafka: Broker, catalog: str
) -> None:
    """Each record is appended to the partition that it was in, and read by whoever has it."""
    rig = KafkaRig(kafka)
    settings = rig.settings(lake_catalog=catalog, lake_files=str(tmp_path / "files"), log_partitions=2)
    await make_log_and_lake(settings)
    values = [
        record_value(f"event-{number}", f"{number % 4:064x}", "bitrateChange", ts=TS + number, received_ms=TS)
        for number in range(40)
    ]
    async with writing(settings) as writer:
        for number, value in enumerate(values):
            await writer.append(number % 2, key=b"", value=value)
    older = environment(environment_of(settings))
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-P", "-c", OLDER], env=older, check=False)
    assert done.returncode == 0
    async with working(settings):
        assert await replay(settings, Choice(), limit=30, is_dry=False) == Replayed(appended=30)
        assert await replay(settings, Choice(), limit=None, is_dry=False) == Replayed(appended=10)
        moved = (
            "SELECT e.event_id, e.log_partition FROM quarantine_decisions AS d "
            "JOIN events AS e ON (e.log_partition, e.log_offset) = (d.new_partition, d.new_offset) "
            "WHERE d.log_partition = d.new_partition ORDER BY 1"
        )
        wanted = sorted((f"event-{number}", number % 2) for number in range(40))
        with contextlib.closing(connect(location(settings), read_only=True)) as lake:
            await until_async(
                lambda: lake.execute(moved).fetchall() == wanted, lambda: lake.execute(moved).fetchall()
            )
    assert verify(location(settings)).findings == []
