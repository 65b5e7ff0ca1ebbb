"""POST /validate: says all about events that somebody wants to have checked, and stores nothing."""

from typing import Any, Final

from litestar import Request as LitestarRequest
from litestar import Response, post
from litestar.handlers import HTTPRouteHandler

from ingest.arrays import Turns
from ingest.bodies import BodyLimits, limits_of_events
from ingest.cors import VALIDATE, Cors
from ingest.http import as_text
from ingest.intake import Intake
from ingest.posts import posts_of
from ingest.replies import encode
from ingest.verdicts import Judge, Verdict
from schemas.faults import NoSuchRoute
from schemas.settings import Settings

ARRAY_BYTES_MAX: Final = 1_048_576  # a session of a day


class Validation:
    """The handler. It is behind the same limits as what stores events.

    It needs no API key, also if events do: nothing is stored, and what it says is in the documents.
    """

    def __init__(self, settings: Settings, intake: Intake, cors: Cors) -> None:
        self._cors = cors
        self._is_on = settings.http_validate
        self._strict = settings.strict
        self._limits = BodyLimits(settings.http_body_bytes_max, ARRAY_BYTES_MAX)
        self._of_routes = limits_of_events(settings)
        self._intake = intake
        self._turns = Turns()

    def handlers(self) -> list[HTTPRouteHandler]:
        """Make the Litestar handlers."""
        handlers: list[Any] = [
            post(
                VALIDATE,
                status_code=200,
                operation_id="validate",
                summary="Check one event, or the events of one session; nothing is stored",
            )(self.validate)
        ]
        return handlers

    async def validate(self, request: LitestarRequest[Any, Any, Any]) -> Response[Verdict]:
        """Return what becomes of one event, or of those of one session: an array, or one event in each line."""
        async with self._intake.taken(request.scope, request.receive, self._limits) as taken:
            if not self._is_on:
                raise NoSuchRoute("Validation is off; PLAYHEAD_HTTP_VALIDATE=on switches it on")
            posts = posts_of(taken.body, self._of_routes)
            judge = Judge(posts, strict=self._strict, now_ms=int(taken.received.timestamp() * 1000))
            self._intake.charge(taken, max(0, len(posts.bodies) - 1))
            await self._turns.take(judge.each())
            headers = as_text(self._cors.headers("validation", taken.headers.get(b"origin")))
            body: Any = encode(judge.verdict())
            return Response(body, media_type="application/json", headers=headers)
