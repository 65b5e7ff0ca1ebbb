"""Simulated viewers over real HTTP: they play their scripts at a server, and record its replies.

A session of minutes is played in seconds: its player's clock runs faster than ours and reaches the present (plus
the player's own error) with the last event. Requests go out at the times of that clock, so that events of the same
moment go out together. What is played depends on the seed alone; how far it gets, on the server and the time.
"""

import asyncio
import random
import re
import secrets
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import httpx
import msgspec

from players.account import Answer, Progress, Session, Tally
from players.bodies import body_of, bytes_of
from players.scripts import Script, make_script
from players.tape import Step
from players.truth import RUN_METADATA, Truth
from schemas.faults import NotReady

START_PATH = "/api/v1/sessions"
PATIENCE_S = 10.0
REQUEST_TIMEOUT_S = 15.0
RETRY_S = 0.5
RETRY_MAX_S = 5.0
REPORT_S = 0.5
ORIGIN = "https://player.example.com"
TRACKING_METADATA = "tracking_session_id"
DENIALS = {"Sec-GPC": "1", "DNT": "1", "X-Consent": "denied"}

_location = re.compile(r"/api/v1/sessions/([0-9A-Za-z-]+)")


async def simulate(
    *,
    url: str,
    viewers: int,
    for_s: float,
    seed: int,
    api_key: str | None,
    media_key: str | None = None,
    report_progress: Callable[[Progress], None] | None = None,
    pace_s: float = 1.0,
) -> Truth:
    """Play `viewers` viewers at the server at `url` for `for_s` seconds and return what is then true.

    `pace_s` is the mean time between two events of a viewer. Without `api_key` nobody opens tracking sessions.
    `media_key` is sent with media events too.
    When the time is over, or the task is cancelled, requests under way are finished, sessions are left as they
    are, and the truth so far is returned. Raises NotReady if nothing answers at `url` for ten seconds.
    """
    stage = _Stage(url=url, seed=seed, api_key=api_key, media_key=media_key, pace_s=pace_s)
    began_ms = stage.now_ms()
    async with stage.client:
        await stage.wait_for_server()
        tasks = [asyncio.create_task(stage.be_viewer(viewer)) for viewer in range(viewers)]
        if report_progress is not None:
            tasks.append(asyncio.create_task(stage.report(report_progress)))
        try:
            await asyncio.wait(tasks, timeout=for_s, return_when=asyncio.FIRST_EXCEPTION)
        except asyncio.CancelledError:
            _take_back_cancellation()
        stage.stopped.set()
        await asyncio.gather(*tasks)
    tally = stage.tally
    return Truth(
        seed=seed,
        viewers=viewers,
        began_ms=began_ms,
        finished_ms=stage.now_ms(),
        run=stage.run,
        sessions=tuple(session.truth(began_ms=began_ms) for session in tally.sessions),
        unknown_starts=tuple(tally.unknown_starts),
        refused=tally.refused,
        tracking_sessions=tuple(tally.tracking_sessions),
        tracking_deleted=tally.tracking_deleted,
        surprises=tuple(tally.surprises),
    )


def _take_back_cancellation() -> None:
    """Finish cleanly: a cancelled run still needs its truth."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


class _Stage:
    """One run: the server, the time, and everything that the viewers share."""

    def __init__(self, *, url: str, seed: int, api_key: str | None, media_key: str | None, pace_s: float) -> None:
        self.url, self.seed, self.api_key, self.pace_s = url, seed, api_key, pace_s
        self.media_headers = {} if media_key is None else {"X-API-Key": media_key}
        self.run = secrets.token_hex(8)
        limits = httpx.Limits(max_connections=1000, max_keepalive_connections=200)
        timeout = httpx.Timeout(REQUEST_TIMEOUT_S)
        self.client = httpx.AsyncClient(base_url=url, limits=limits, timeout=timeout, trust_env=False)
        self.stopped = asyncio.Event()
        self.tally = Tally()
        self.began_s = time.monotonic()

    @staticmethod
    def now_ms() -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Wait, but not beyond the end of the run."""
        if seconds > 0 and not self.stopped.is_set():
            try:
                await asyncio.wait_for(self.stopped.wait(), seconds)
            except TimeoutError:
                return

    async def wait_for_server(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                await self.client.get("/health/live")
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    reason = str(error) or type(error).__name__
                    raise NotReady(f"nothing answers at {self.url}: {reason}") from error
                await self.sleep(0.2)
            else:
                return

    async def report(self, report_progress: Callable[[Progress], None]) -> None:
        while not self.stopped.is_set():
            await self.sleep(REPORT_S)
            report_progress(self._progress())

    def _progress(self) -> Progress:
        tally = self.tally
        return Progress(
            elapsed_s=time.monotonic() - self.began_s,
            sessions_started=len(tally.sessions),
            sessions_ended=sum(session.script.steps[-1].number in session.taken for session in tally.sessions),
            accepted=tally.accepted,
            refused=tally.refused,
            unknown=tally.unknown,
        )

    async def be_viewer(self, viewer: int) -> None:
        """Play one session after another until the run is over."""
        rng = random.Random(f"{self.seed}/{viewer}/habits")
        await self.sleep(rng.uniform(0, 3 * self.pace_s))
        for number in count():
            if self.stopped.is_set():
                return
            await self._play(make_script(self.seed, viewer, number))
            await self.sleep(rng.uniform(0.2, 2.0) * self.pace_s)

    async def _play(self, script: Script) -> None:
        session = Session(script)
        persona = script.persona
        session.headers = {"User-Agent": f"{persona.player.name} player/4.1", **self.media_headers}
        if persona.player.content_type:
            session.headers["Content-Type"] = persona.player.content_type
        if persona.denial in DENIALS:
            session.headers[persona.denial] = DENIALS[persona.denial]
        if persona.tracking and self.api_key is not None:
            await self._open_tracking(session)
        if persona.player.upload:
            await self._upload(session)
        else:
            await self._stream(session)
        if script.deletes_tracking and session.tracking_session_id is not None:
            await self._delete_tracking(session)

    async def _stream(self, session: Session) -> None:
        """Play a session live: its start, then each event at its time by the player's clock."""
        script = session.script
        played_s = script.duration_ms / 1000
        if not script.is_glance:
            played_s = min(played_s, len(script.steps) * self.pace_s)
        start_ms = self.now_ms() + round(played_s * 1000) - script.duration_ms + script.persona.clock_offset_ms
        session.start_ms = start_ms
        speed = max(1.0, script.duration_ms / 1000 / max(played_s, 0.001))
        began_s = time.monotonic()
        if script.persona.player.name == "browser":
            await self._preflight(session)
        slots = asyncio.Semaphore(script.persona.player.in_flight_max)
        async with asyncio.TaskGroup() as requests:
            for step in script.steps:
                await self.sleep(began_s + step.at_ms / 1000 / speed - time.monotonic())
                if self.stopped.is_set() or session.is_gone:
                    break
                if step.event_type == "sessionStart":
                    await self._start(session, step, start_ms)
                    continue
                await slots.acquire()
                if session.is_gone:  # that is what the answer said whose slot this is
                    break
                requests.create_task(self._post_event(session, step, start_ms, slots))

    async def _preflight(self, session: Session) -> None:
        """Send a preflight, as browsers do."""
        headers = {
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        session.headers |= {"Origin": ORIGIN, "Referer": f"{ORIGIN}/"}
        try:
            response = await self.client.options(START_PATH, headers=headers)
        except httpx.TransportError:
            self.tally.unknown += 1
            return
        self.tally.expect(response.status_code < 500, f"OPTIONS {START_PATH} was answered {response.status_code}")

    async def _start(self, session: Session, step: Step, start_ms: int) -> None:
        metadata = self._metadata_of(session)
        body = bytes_of(body_of(step, start_ms=start_ms, metadata=metadata), step.fault)
        answer = await self._post(
            session, START_PATH, body, posts_max=session.script.persona.player.start_posts_max
        )
        if step.fault:
            self._count_refusal(session, step, answer)
            return
        self._open(session, answer, numbers=[step.number])

    async def _upload(self, session: Session) -> None:
        """Send a whole session at once, some time after it was played offline."""
        script = session.script
        ended_ms = self.now_ms() - script.age_ms + script.persona.clock_offset_ms
        start_ms = session.start_ms = ended_ms - script.duration_ms
        metadata = self._metadata_of(session)
        bodies = [body_of(step, start_ms=start_ms, metadata=metadata) for step in script.steps]
        player = script.persona.player
        numbers = [step.number for step in script.steps]
        for _ in range(2 if script.posted_twice else 1):
            answer = await self._post(
                session, player.upload, msgspec.json.encode(bodies), posts_max=player.start_posts_max
            )
            if not session.session_id:
                self._open(session, answer, numbers=numbers)
            if session.is_gone or self.stopped.is_set():
                return
        await self.sleep(len(bodies) * self.pace_s)

    def _open(self, session: Session, answer: Answer, *, numbers: list[int]) -> None:
        """Process the reply to a start: the session has an id from here on, or is abandoned."""
        tally = self.tally
        tally.unknown_starts += [len(numbers)] * answer.unknown
        if answer.is_accepted and answer.response is not None:
            location = answer.response.headers.get("Location", "")
            match = _location.fullmatch(location)
            if match is not None:
                session.session_id = match[1]
                session.accepted = len(numbers)
                session.taken.update(numbers)
                tally.accepted += len(numbers)
                tally.sessions.append(session)
                return
            tally.expect(False, f"a start was answered {answer.status} with the Location {location!r}")
            tally.unknown_starts.append(len(numbers))
        elif answer.status:
            tally.expect(False, f"a start was answered {answer.status}: {_text(answer)}")
        session.is_gone = True

    async def _post_event(self, session: Session, step: Step, start_ms: int, slots: asyncio.Semaphore) -> None:
        body = bytes_of(body_of(step, start_ms=start_ms), step.fault)
        path = f"{START_PATH}/{session.session_id}/events"
        posts_max = session.script.persona.player.event_posts_max
        try:
            answer = await self._post(session, path, body, posts_max=posts_max)
        finally:
            slots.release()
        if step.fault:
            self._count_refusal(session, step, answer)
            return
        session.unknown += answer.unknown
        if answer.is_accepted:
            session.accepted += 1
            session.taken.add(step.number)
            self.tally.accepted += 1
        elif answer.status:
            session.refused += 1
            session.is_gone = session.is_gone or answer.status in (404, 410)
            self.tally.expect(False, f"{step.event_type} was answered {answer.status}: {_text(answer)}")

    def _count_refusal(self, session: Session, step: Step, answer: Answer) -> None:
        """Process the reply to a body that must be refused."""
        if answer.status == 400:
            self.tally.refused += 1
        elif answer.status:
            self.tally.expect(False, f"{step.event_type} {step.fault} was answered {answer.status}")

    async def _post(self, session: Session, path: str, body: bytes, *, posts_max: int) -> Answer:
        """Post one body, repeatedly and unchanged if this player retries, until a reply accepts or refuses it."""
        headers = dict(session.headers)
        player = session.script.persona.player
        is_repeatable = player.has_idempotency_keys or bool(player.upload)
        if player.has_idempotency_keys:
            headers["Idempotency-Key"] = _key(path, body)
        if session.tracking_token and session.script.persona.tracking != "metadata":
            headers[session.script.persona.tracking] = session.tracking_token
        unknown = 0
        for attempt in range(posts_max):
            if attempt and (self.stopped.is_set() or session.is_gone):
                break
            pause_s = RETRY_S
            try:
                response = await self.client.post(path, content=body, headers=headers)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
                self.tally.unknown += 1  # nothing was sent, so nothing can have come of it
            except httpx.TransportError:
                self.tally.unknown += 1
                unknown += 1
            else:
                if response.status_code < 500:
                    return Answer(
                        response, 0 if is_repeatable and response.is_success else _once(unknown, is_repeatable)
                    )
                self.tally.unknown += 1
                unknown += 1
                pause_s = _retry_after_s(response)
            if attempt + 1 < posts_max:
                await self.sleep(pause_s)
        return Answer(None, _once(unknown, is_repeatable))

    def _metadata_of(self, session: Session) -> dict[str, str]:
        metadata = {RUN_METADATA: self.run}
        if session.tracking_session_id is not None and session.script.persona.tracking == "metadata":
            metadata[TRACKING_METADATA] = session.tracking_session_id
        return metadata

    async def _open_tracking(self, session: Session) -> None:
        """Open a tracking session, and check that the server recognizes it."""
        persona = session.script.persona
        path = _tracking_path(persona.viewer)
        headers = {"X-API-Key": self.api_key or "", "X-API-Version": "2025-09-02"}
        if persona.denial in DENIALS:
            headers[persona.denial] = DENIALS[persona.denial]
        named = persona.user_id if persona.user_id_in == "tracking" and persona.denial != "metadata" else None
        request: dict[str, Any] = {}
        if named is not None:
            request = ({"params": {"user_id": named}}, {"json": {"user_id": named}}, {"json": {"userId": named}})[
                persona.viewer % 3
            ]
        try:
            response = await self.client.post(path, headers=headers, **request)
            if response.is_success:
                session.tracking_session_id = str(response.json()["session_id"])
                session.tracking_token = response.headers["X-JAY-TRACKING"]
                self.tally.tracking_sessions.append(session.tracking_session_id)
                headers["X-JAY-TRACKING"] = session.tracking_token
                known = await self.client.get(path, headers=headers)
                is_known = known.is_success and known.json()["session_id"] == session.tracking_session_id
                self.tally.expect(is_known or known.status_code >= 500, f"GET {path}: {known.status_code}")
            else:
                self.tally.expect(response.status_code >= 500, f"POST {path}: {response.status_code}")
        except httpx.TransportError:
            self.tally.unknown += 1

    async def _delete_tracking(self, session: Session) -> None:
        headers = {"X-API-Key": self.api_key or "", "X-JAY-TRACKING": session.tracking_token}
        path = _tracking_path(session.script.persona.viewer)
        try:
            response = await self.client.delete(path, headers=headers)
        except httpx.TransportError:
            self.tally.unknown += 1
            return
        self.tally.tracking_deleted += response.is_success
        self.tally.expect(response.is_success or response.status_code >= 500, f"DELETE: {response.status_code}")


def _once(unknown: int, is_repeatable: bool) -> int:
    """Return how many tries may have had an effect: at most one if a key or hash identifies the body."""
    return min(unknown, 1) if is_repeatable else unknown


def _key(path: str, body: bytes) -> str:
    return random.Random(path.encode() + body).randbytes(16).hex()


def _text(answer: Answer) -> str:
    return "" if answer.response is None else answer.response.text[:200]


def _retry_after_s(response: httpx.Response) -> float:
    try:
        return min(RETRY_MAX_S, max(RETRY_S, float(response.headers.get("Retry-After", RETRY_S))))
    except ValueError:
        return RETRY_S


def _tracking_path(viewer: int) -> str:
    """Half of the viewers use the path of the newer API, the others the older one."""
    return f"/v1/playouts/film-{viewer}/tracking/session" if viewer % 2 else "/v1/playouts/tracking/session"
