"""`playhead simulate --history`: a past of simulated viewers, through the ingest's own code, into a new log.

The application is the one that `playhead ingest` serves; here it is called in this process, without a connection,
and its clock is at the arrival of each request. So the records are those that HTTP would have made at that time.
The ingest acts as if behind a proxy on this machine, which names each sender's address.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from litestar.types import ASGIApp
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from commands.own_secrets import with_own_secrets
from eventlog.adapters import create_log
from eventlog.embedded.past import PastWriter
from ingest.app import Ingest, build_app
from players.month.requests import COUNTRY_HEADER, REGION_HEADER, History, Post
from players.month.stories import Window
from schemas.faults import LogUnavailable, NotReady
from schemas.garbage import collect_rarely
from schemas.settings import Settings
from schemas.terminal import quantity

PROXY: Final = "127.0.0.1"
SHOWN_EVERY: Final = 5_000  # requests
_PATHS: Final = {"tracking": "/v1/playouts/tracking/session", "start": "/api/v1/sessions"}


class Plan(msgspec.Struct, frozen=True):
    """What to write: how many viewers, of which seed, over how many seconds until when."""

    viewers: int
    seed: int
    length_s: float
    until: datetime

    @property
    def period(self) -> Window:
        until_ms = int(self.until.timestamp() * 1000)
        return Window(until_ms - int(self.length_s * 1000), until_ms)


class Written(msgspec.Struct, frozen=True):
    """What was written, and how long it took."""

    requests: int
    refused: int
    sessions: int
    took_s: float


def write_history(given: Settings, plan: Plan, console: Console) -> Written:
    """Create missing secrets and the log, and fill it. Raises NotReady unless it is a new log on this machine."""
    if given.log != "embedded":
        raise NotReady(
            "a history needs PLAYHEAD_LOG=embedded: a Kafka broker stamps each record with its own time"
        )
    settings = as_behind_proxy(with_own_secrets(given))
    asyncio.run(create_log(settings))
    collect_rarely()
    return asyncio.run(_write(settings, plan, console))


def as_behind_proxy(settings: Settings) -> Settings:
    """Return the settings of an ingest that learns the sender's address and place from a proxy on this machine."""
    proxy = {
        "http_trusted_proxies": PROXY,
        "http_forwarded_header": "x-forwarded-for",
        "http_country_header": COUNTRY_HEADER.decode(),
        "http_region_header": REGION_HEADER.decode(),
    }
    return settings.model_copy(update=proxy)


async def _write(settings: Settings, plan: Plan, console: Console) -> Written:
    clock = PastClock()
    writer = PastWriter(settings, clock=clock.seconds)
    began_s = time.monotonic()
    sender = Sender(
        build_app(
            settings.model_copy(update={"media_needs_key": False}),  # the past knew no such keys
            writer,
            clock=clock.utc,
            monotonic_s=clock.seconds,
            entropy=random.Random(f"ids/{plan.seed}").randbytes,
        ),
        clock,
        api_key=min(settings.keys_of_api()),
    )
    try:
        with _progress(console) as progress:
            task = progress.add_task("", total=plan.period.length_ms, day="", count="")
            history = History(viewers=plan.viewers, seed=plan.seed, period=plan.period)
            for number, post in enumerate(history.posts()):
                await sender.send(post)
                if number % SHOWN_EVERY == 0:
                    _show(progress, task, sender, post.at_ms - plan.period.from_ms, clock.utc())
            _show(progress, task, sender, plan.period.length_ms, plan.until)
    finally:
        await writer.close()
    return Written(sender.requests, sender.refused, sender.sessions, time.monotonic() - began_s)


class PastClock:
    """A clock that is where it is put, in milliseconds since 1970."""

    def __init__(self) -> None:
        self.now_ms = 0

    def seconds(self) -> float:
        return self.now_ms / 1000

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms / 1000, UTC)


class Sender:
    """Sends the requests of a history to an application in this process, one after the other."""

    def __init__(self, ingest: Ingest, clock: PastClock, *, api_key: str) -> None:
        self.requests = self.refused = self.sessions = 0
        self._ingest = ingest
        self._clock = clock
        self._api_key = api_key
        self._session_paths: dict[int, str] = {}
        self._tokens: dict[int, bytes] = {}

    async def send(self, post: Post) -> None:
        """Send one request at its time. Raises LogUnavailable if the ingest could not store it."""
        path = self.path_of(post)
        if path is None:
            return
        self._clock.now_ms = post.at_ms
        status, headers = await call(self._ingest.app, path, self.headers_of(post), post.body)
        if status >= 400:
            await self._ingest.accept.settle()  # the refused body comes before what arrives later
        self.learn(post, status, headers)

    def path_of(self, post: Post) -> str | None:
        """Return where a request goes; None if it belongs to a session whose start was refused."""
        path = self._session_paths.get(post.visit)
        return _PATHS.get(post.kind) or (path and path + "/events")

    def headers_of(self, post: Post) -> list[tuple[bytes, bytes]]:
        """Return the headers of a request: those of its player, and those that depend on earlier replies."""
        headers = list(post.headers)
        if post.kind == "tracking":
            headers.append((b"x-api-key", self._api_key.encode()))
        elif post.visit in self._tokens:
            headers.append((b"x-jay-tracking", self._tokens[post.visit]))
        return headers

    def learn(self, post: Post, status: int, headers: Mapping[bytes, bytes]) -> None:
        """Take from a reply what later requests need. Raises LogUnavailable if the request was not stored."""
        if status >= 500:
            raise LogUnavailable(f"a request of {self._clock.utc():%Y-%m-%d %H:%M} was answered {status}")
        self.requests += 1
        self.refused += status >= 400
        if post.kind == "start" and status == 201:
            self.sessions += 1
            self._session_paths[post.visit] = headers[b"location"].decode()
        elif post.kind == "tracking" and status == 200:
            self._tokens[post.visit] = headers[b"x-jay-tracking"]


async def call(
    app: ASGIApp, path: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> tuple[int, dict[bytes, bytes]]:
    """POST to an application in this process; return the status and the headers of the reply."""
    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": (PROXY, 0),
        "server": (PROXY, 80),
        "state": {},
    }
    started: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            started.append(message)

    await app(scope, receive, send)
    (reply,) = started
    return reply["status"], dict(reply["headers"])


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.fields[day]}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeRemainingColumn(),
        console=console,
    )


def _show(progress: Progress, task: TaskID, sender: Sender, done_ms: int, at: datetime) -> None:
    count = f"{quantity(sender.requests, 'request')}, {quantity(sender.sessions, 'session')}"
    progress.update(task, completed=done_ms, day=f"{at:%a %d %b}", count=count)
