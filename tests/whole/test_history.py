"""A generated history is what HTTP would have made of the same requests at the same times."""

import asyncio
import contextlib
import random
import socket
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx
import pytest
import uvicorn
from pydantic import SecretStr
from rich.console import Console
from rigs.commands import SECRETS, playhead
from rigs.waiting import until_async

from commands.history import PastClock, Plan, Sender, as_behind_proxy, write_history
from eventlog.adapters import create_log
from eventlog.embedded.past import PastWriter
from eventlog.embedded.writer import open_embedded_writer
from ingest.app import Ingest, build_app
from ingest.protocol import ConnectionProtocol
from ingest.serve import Server
from players.month.requests import History, Post
from schemas.faults import NotReady
from schemas.settings import Settings

UNTIL = datetime(2025, 11, 22, 20, tzinfo=UTC)
FIRST = 150
PLAN = Plan(viewers=600, seed=7, length_s=2 * 86_400.0, until=UNTIL)
Rows = list[tuple[int, int, bytes, bytes]]


def settings_of(folder: Path) -> Settings:
    """Return the settings of an ingest with keys of its own."""
    return Settings(
        data_dir=folder,
        log_partitions=2,
        api_keys=SecretStr("a key of the tests"),
        mac_key=SecretStr("mac key of the tests, of 32 characters and more"),
        pseudonym_key=SecretStr("pseudonym key of the tests, also long enough"),
    )


def rows_of(settings: Settings) -> Rows:
    """Return every record of a log: partition and offset, time of append, key and value."""
    with contextlib.closing(sqlite3.connect(settings.data_dir / "log.sqlite")) as connection:
        return connection.execute("SELECT id, appended_ms, key, value FROM records ORDER BY id").fetchall()


def sample() -> list[Post]:
    """Return whole visits of a history: the first ones, and three of each kind that is rare."""
    posts = list(History(viewers=PLAN.viewers, seed=PLAN.seed, period=PLAN.period).posts())
    starts = Counter(post.visit for post in posts if post.kind == "start")
    rare = (
        [post.visit for post in posts if b'"ts":"' in post.body],  # to be refused
        [visit for visit, count in starts.items() if count > 1],
        [post.visit for post in posts if post.kind == "tracking"],
        [post.visit for post in posts if any(name == b"sec-gpc" for name, _ in post.headers)],
        [post.visit for post in posts if b"analytics.visitorId" in post.body],
    )
    visits = {post.visit for post in posts[:FIRST]}
    for found in rare:
        assert found
        visits.update(list(dict.fromkeys(found))[:3])
    return [post for post in posts if post.visit in visits]


@contextlib.asynccontextmanager
async def served(ingest: Ingest) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an application over HTTP, as `playhead ingest` does."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        server = Server(
            uvicorn.Config(
                ingest.app,
                http=partial(ConnectionProtocol, 10.0),  # type: ignore[arg-type]
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await until_async(lambda: asyncio.sleep(0, server.started), "it does not start")
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
                yield client
        finally:
            server.should_exit = True
            await serving


def sender_of(settings: Settings, writer: object, clock: PastClock) -> tuple[Ingest, Sender]:
    """Make an application over a log, and what sends a history to it."""
    ingest = build_app(
        settings,
        writer,  # type: ignore[arg-type]
        clock=clock.utc,
        monotonic_s=clock.seconds,
        entropy=random.Random(1).randbytes,
    )
    return ingest, Sender(ingest, clock, api_key=min(settings.keys_of_api()))


async def in_process(settings: Settings, posts: list[Post]) -> Rows:
    """Return the records that a history has of these requests."""
    await create_log(settings)
    clock = PastClock()
    writer = PastWriter(settings, clock=clock.seconds)
    _, sender = sender_of(settings, writer, clock)
    for post in posts:
        await sender.send(post)
    await writer.close()
    return rows_of(settings)


async def over_http(settings: Settings, posts: list[Post]) -> Rows:
    """Return the records that an ingest makes of these requests, each posted at its time."""
    await create_log(settings)
    clock = PastClock()
    writer = await open_embedded_writer(settings, clock=clock.seconds)
    ingest, sender = sender_of(settings, writer, clock)
    async with served(ingest) as client:
        for post in posts:
            path = sender.path_of(post)
            assert path is not None
            clock.now_ms = post.at_ms
            reply = await client.post(path, content=post.body, headers=sender.headers_of(post))
            await ingest.accept.settle()
            sender.learn(post, reply.status_code, dict(reply.headers.raw))
    await writer.close()
    return rows_of(settings)


async def test_a_history_has_the_records_that_http_makes(tmp_path: Path) -> None:
    """Each request posted over HTTP at its time appends the same record: key, time of append, and every byte."""
    posts = sample()
    written = await in_process(as_behind_proxy(settings_of(tmp_path / "history")), posts)
    posted = await over_http(as_behind_proxy(settings_of(tmp_path / "http")), posts)
    assert len(written) == len(posts)
    assert any(b'"playhead.rejected"' in value for _, _, _, value in written)
    assert posted == written


def test_the_same_seed_writes_the_same_history(tmp_path: Path) -> None:
    """Two logs of one seed are equal, byte for byte; another seed makes others."""
    first, second, other = (settings_of(tmp_path / name) for name in ("first", "second", "other"))
    short = Plan(viewers=40, seed=7, length_s=86_400.0, until=UNTIL)
    for settings, plan in ((first, short), (second, short), (other, Plan(40, 8, 86_400.0, UNTIL))):
        written = write_history(settings, plan, Console(quiet=True))
        assert written.requests == len(rows_of(settings)) > 500
    assert rows_of(first) == rows_of(second) != rows_of(other)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--history", "1d", "--until", "2090-01-01"], "--until is in the future"),
        (["--until", "2025-01-01"], "--until needs --history"),
        (["--history", "1d", "--report", "truth.json"], "a history has no report"),
        (["--history", "a week"], "is not a duration"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: list[str], complaint: str, tmp_path: Path) -> None:
    """The command says which, and writes nothing."""
    done = playhead("simulate", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert complaint in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "data" / "log.sqlite").exists()


def test_a_second_history_is_refused(tmp_path: Path) -> None:
    """Its records would come after the first ones, with older times; the log stays as it was."""
    options = ["--history", "1d", "--viewers", "50"]
    assert playhead("simulate", *options, cwd=tmp_path, settings=SECRETS).returncode == 0
    again = playhead("simulate", *options, cwd=tmp_path, settings=SECRETS)
    assert again.returncode == 2
    assert "a history needs a new one" in again.stderr


def test_a_history_needs_a_log_that_has_no_clock_of_its_own(tmp_path: Path) -> None:
    """A broker would stamp every record with today."""
    kafka = settings_of(tmp_path / "data").model_copy(update={"log": "kafka"})
    with pytest.raises(NotReady, match="PLAYHEAD_LOG=embedded"):
        write_history(kafka, PLAN, Console(quiet=True))
