"""From a request to a row: what was sent is what is there, and memory stays bounded."""

import asyncio
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from rigs.hostile_bodies import CORPUS
from rigs.visits import ANONYMOUS, API, DATA, KEY, ROOT, TIMELINES, TRACKING
from rigs.whole import Stack, running

from ingest.identity import pseudonym

GOLDEN = json.loads((DATA / "fold_timelines.json").read_text())
EXAMPLES = json.loads((DATA / "tracking_examples.json").read_text())


@pytest.mark.parametrize("name", list(TIMELINES))
def test_a_documented_timeline_arrives_event_by_event(stack: Stack, name: str) -> None:
    """Type, time, playhead, params, qoe and custom metadata are equal to what was sent, but for identities."""
    sent = TIMELINES[name]
    session_id = stack.play(sent)
    stack.session(session_id, events=len(sent))
    rows = stack.ask(
        "SELECT *, epoch_ms(client_ts) AS ts FROM events WHERE session_id = ? ORDER BY log_offset", session_id
    )
    assert len(rows) == len(sent)
    for row, event in zip(rows, sent, strict=True):
        params = dict(event.get("params", {}))
        if "analytics.visitorId" in params:
            params["analytics.visitorId"] = pseudonym(KEY, "user", params["analytics.visitorId"])
        assert row["event_type"] == event["eventType"]
        assert (row["ts"], row["playhead_s"]) == (event["playerTime"]["ts"], event["playerTime"]["playhead"])
        assert json.loads(row["params"] or "{}") == params
        assert json.loads(row["qoe"] or "{}") == event.get("qoeData", {})
        assert json.loads(row["custom_metadata"] or "{}") == event.get("customMetadata", {})
        assert row["other"] is None
        assert row["flags"] == []
    assert len({row["event_id"] for row in rows}) == len(rows)


@pytest.mark.parametrize("name", list(GOLDEN))
def test_a_documented_timeline_gives_its_numbers(stack: Stack, name: str) -> None:
    """With the seconds of the documentation's tables, a session's row has exactly the documented values."""
    derived = GOLDEN[name]["derived"]
    began_ms = 1_700_000_000_000
    events = [
        {**{key: value for key, value in event.items() if key != "at_s"}}
        | {"playerTime": {**event["playerTime"], "ts": began_ms + round(event["at_s"] * 1000)}}
        for event in GOLDEN[name]["events"]
    ]
    row = stack.session(stack.play(events), events=len(events))
    assert row["state"] == "provisional"
    wanted = {
        "content_time_s": derived["content_time_spent_s"],
        "ad_time_s": derived["ad_time_spent_s"],
        "media_time_s": derived["media_time_spent_s"],
        "pauses": derived["pause_events"],
        "pause_time_s": derived["pause_time_s"],
        "buffers": derived["buffer_events"],
        "buffer_time_s": derived["buffer_time_s"],
        "ads_started": derived["ad_starts"],
        "ads_completed": derived["ad_completes"],
        "ads_skipped": 0,
        "chapters_started": derived.get("chapter_starts", 0),
        "chapters_completed": derived.get("chapter_completes", 0),
        "progress_pct": derived["progress_markers"][-1],
        "is_started": True,
        "is_completed": True,
        "errors": 0,
        "stalls": 0,
        "gap_s": 0,
        "content_name": "ClickMe",
        "length_s": 60.3333333333333,
        "user_id": pseudonym(KEY, "user", "user-123456"),
        "user_id_source": "analytics.visitorId",
    }
    assert {name: row[name] for name in wanted} == wanted
    times = stack.ask("SELECT time_s FROM chapters WHERE session_id = ? ORDER BY started_at", row["session_id"])
    assert [chapter["time_s"] for chapter in times] == derived.get("chapter_time_spent_s", [])
    assert len(stack.ask("FROM ads WHERE session_id = ?", row["session_id"])) == derived["ad_starts"]


def test_the_requests_of_the_readme_are_answered_as_it_says(stack: Stack) -> None:
    """Each `curl` of the page, typed literally; the id in the second is the one from the first reply."""
    blocks = re.findall(r"^```sh\n(curl.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    commands = [command for block in blocks for command in re.findall(r"^curl.*?(?=^#)", block, re.M | re.S)]
    secrets = stack.cwd / "data" / "secrets"
    secrets.mkdir(exist_ok=True)
    (secrets / "api_keys").write_text(API["X-API-Key"])
    session_id, answers = "019a...", []
    for command in commands:
        command = command.replace("http://127.0.0.1:8080", f"http://127.0.0.1:{stack.port}")
        done = subprocess.run(
            ["bash", "-c", command.replace("019a...", session_id)],
            cwd=stack.cwd,
            capture_output=True,
            text=True,
            check=True,
        )
        answers.append(done.stdout)
        if location := re.search(r"^location: /api/v1/sessions/(\w{64})$", done.stdout, re.MULTILINE):
            session_id = location[1]
    assert [answer.splitlines()[0] for answer in answers] == [
        "HTTP/1.1 201 Created",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 200 OK",
    ]
    assert set(json.loads(answers[2].splitlines()[-1])) == {"session_id", "start_time", "source"}
    assert stack.session(session_id, events=2)["content_name"] == "Big Buck Bunny"


def test_an_ended_session_is_final(stack: Stack) -> None:
    """With a sessionEnd the row closes, and says why."""
    end = {
        "eventType": "sessionEnd",
        "playerTime": {"playhead": 45, "ts": TIMELINES["1"][-1]["playerTime"]["ts"] + 1},
    }
    session_id = stack.play([*TIMELINES["1"], end])
    row = stack.until("FROM sessions WHERE session_id = ? AND state = 'final'", session_id)[0]
    assert (row["close_reason"], row["version"], row["events"]) == ("ended", 1, len(TIMELINES["1"]) + 1)


def test_an_offline_session_arrives_once_however_often_it_is_sent(stack: Stack) -> None:
    """Posted three times: one session, each event once, the rest counted as duplicates."""
    sent = [*TIMELINES["3"]]
    sent[0] = {**sent[0], "params": {**sent[0]["params"], "media.downloaded": True}}
    before = stack.ask("SELECT sum(duplicates)::INTEGER AS n FROM ledger")[0]["n"]
    paths = {stack.post("/api/v1/downloaded", sent).headers["location"] for _ in range(3)}
    (session_id,) = {path.rpartition("/")[2] for path in paths}
    row = stack.session(session_id, events=len(sent))
    assert row["is_downloaded"]
    stack.until("SELECT 1 FROM ledger HAVING sum(duplicates) = ?", before + 2 * len(sent))
    assert stack.ask("SELECT count(*) AS n FROM events WHERE session_id = ?", session_id) == [{"n": len(sent)}]


def test_every_tracking_example_arrives(stack: Stack) -> None:
    """What the documentation's examples create and delete is in `tracking_sessions`; showing leaves nothing."""
    before = {row["tracking_session_id"] for row in stack.ask("FROM tracking_sessions")}
    wanted: dict[str, dict[str, Any]] = {}
    latest = ""
    for example in EXAMPLES:
        body, headers = example["body"], dict(example["headers"])
        for name, value in headers.items():
            headers[name] = re.sub(r"<session.*?>", latest, value)
        content = body.encode() if isinstance(body, str) else b"" if body is None else json.dumps(body).encode()
        reply = stack.client.request(
            example["method"], example["path"], params=example["query"], headers=headers, content=content
        )
        stack.client.cookies.clear()
        assert reply.status_code == (
            400 if example["id"] == "get-none" else 204 if example["method"] == "OPTIONS" else 200
        )
        if example["method"] == "POST":
            latest = reply.json()["session_id"]
            user_id = example["query"].get("user_id") or next(iter((body or {}).values()), None)
            wanted[latest] = {
                "playout_id": "{playout_id}" if "{" in example["path"] else None,
                "user_id": pseudonym(KEY, "user", user_id) if user_id else None,
                "source": "jay.api.playout.1.0.0",
                "verified": True,
                "deleted": False,
            }
        elif example["method"] == "DELETE":
            # A token that was not issued here has no session of ours: its id is replaced.
            foreign = pseudonym(KEY, "tracking", "example-session-id-1234")
            deleted = foreign if example["id"].startswith("reference") else latest
            wanted.setdefault(
                deleted, {"playout_id": "{playout_id}", "user_id": None, "source": None, "verified": False}
            )
            wanted[deleted]["deleted"] = True
    stack.catch_up()
    rows = stack.ask("SELECT *, deleted_at IS NOT NULL AS deleted FROM tracking_sessions")
    found = {
        row["tracking_session_id"]: {
            name: row[name] for name in ("playout_id", "user_id", "source", "verified", "deleted")
        }
        for row in rows
        if row["tracking_session_id"] not in before
    }
    assert found == wanted


def test_a_session_belongs_to_the_user_of_the_tracking_session_it_names(stack: Stack) -> None:
    """The user id was given to the tracking API alone, the media calls name its session."""
    made = stack.post(TRACKING, {"user_id": "someone"}, headers=API)
    events = [ANONYMOUS, *TIMELINES["1"][1:]]
    session_id = stack.play(events, headers={"X-JAY-TRACKING": made.headers["x-jay-tracking"]})
    stack.session(session_id, events=len(events))
    row = stack.until("FROM sessions WHERE session_id = ? AND user_id IS NOT NULL", session_id)[0]
    assert row["user_id"] == pseudonym(KEY, "user", "someone")
    assert (row["user_id_source"], row["tracking_session_id"]) == ("tracking_session", made.json()["session_id"])


def test_every_bad_body_ends_in_quarantine_and_nowhere_else(stack: Stack) -> None:
    """Each is a row of source `ingest` with a reason and its size, and no event comes of it."""
    stack.catch_up()
    count = "SELECT (SELECT count(*) FROM events) AS events, (SELECT count(*) FROM quarantine) AS bad"
    before = stack.ask(count)[0]
    session_id = stack.play(TIMELINES["1"][:1])
    paths = ("/api/v1/sessions", f"/api/v1/sessions/{session_id}/events", "/api/v1/downloaded")
    refused = [body for body in CORPUS.values() for path in paths if stack.post(path, body).status_code == 400]
    assert len(refused) == len(CORPUS) * len(paths)
    stack.until(f"SELECT 1 FROM ({count}) WHERE bad >= ?", before["bad"] + len(refused))
    after = stack.ask(count)[0]
    assert after == {"events": before["events"] + 1, "bad": before["bad"] + len(refused)}
    rows = stack.ask("SELECT * FROM quarantine ORDER BY log_offset LIMIT ? OFFSET ?", len(refused), before["bad"])
    assert {row["source"] for row in rows} == {"ingest"}
    assert {row["reason"] for row in rows} == {"not_json", "invalid_event"}
    assert all(row["detail"] for row in rows)
    sizes = sorted(json.loads(row["value"])["data"]["size_bytes"] for row in rows)
    assert sizes == sorted(len(body) for body in refused)


async def _pour(port: int, *, events: int, connections: int) -> None:
    """Post so many events, over so many connections, as fast as they are answered."""
    left = iter(range(events))

    async def post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, event: Any) -> str:
        body = json.dumps(event).encode()
        writer.write(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith(("HTTP/1.1 201", "HTTP/1.1 204")), head
        found = re.search(r"(?i)location: (\S+)", head)
        return found[1] if found else ""

    async def play() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while next(left, None) is not None:
            now_ms = int(time.time() * 1000)
            start = {**TIMELINES["1"][0], "playerTime": {"playhead": 0, "ts": now_ms}}
            session = await post(reader, writer, "/api/v1/sessions", start)
            for number in range(1, 40):
                if next(left, None) is None:
                    break
                ping = {
                    "eventType": "ping" if number > 1 else "play",
                    "playerTime": {"playhead": number, "ts": now_ms + number * 1000},
                }
                await post(reader, writer, f"{session}/events", ping | {"customMetadata": {"page": "x" * 300}})
            else:
                end = {"eventType": "sessionEnd", "playerTime": {"playhead": 40, "ts": now_ms + 40_000}}
                await post(reader, writer, f"{session}/events", end)
        writer.close()

    await asyncio.gather(*(play() for _ in range(connections)))


@pytest.mark.parametrize(
    "events", [20_000, pytest.param(200_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
async def test_memory_stays_bounded(events: int, tmp_path: Path) -> None:
    """Over many events neither process grows: the second half takes no more than the first."""
    with running(tmp_path) as stack:
        ingest, worker = (psutil.Process(pid) for pid in stack.pids)
        samples: list[tuple[int, int, int]] = []

        def sample() -> int:
            (row,) = stack.ask("SELECT sum(inserted)::BIGINT AS n FROM ledger")
            samples.append((row["n"], ingest.memory_info().rss, worker.memory_info().rss))
            return int(row["n"])

        began = time.monotonic()
        pouring = asyncio.create_task(_pour(stack.port, events=events, connections=32))
        while sample() < events:
            assert not (pouring.done() and pouring.exception()), pouring.exception()
            assert time.monotonic() - began < events / 250
            await asyncio.sleep(0.2)
        await pouring
        seconds = time.monotonic() - began
    halves = [row for row in samples if row[0] < events / 2], [row for row in samples if row[0] >= events / 2]
    for number, name, most_mb in ((1, "ingest", 250), (2, "worker", 700)):
        first, second = (max(row[number] for row in half) / 1e6 for half in halves)
        print(f"{name}: {first:.0f} MB, then {second:.0f} MB, over {events} events in {seconds:.0f} s")
        assert second < most_mb
        assert second < first * 1.25 + 30
