"""The service itself, for proxies and browsers: health, privacy."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from eventlog import Writer
from ingest.consent import GpcSupport
from ingest.cors import ANY_PAGE
from ingest.http import as_text


class Health(msgspec.Struct):
    """`live`: the process replies; `ready`: the log accepts events; `stopping`: send them to another ingest."""

    status: str


def service_handlers(writer: Writer, is_stopping: Callable[[], bool]) -> list[HTTPRouteHandler]:
    """Make the Litestar handlers."""
    readable = partial(get, response_headers=as_text([ANY_PAGE]))

    @readable("/health/live", operation_id="live", summary="Whether the process answers")
    async def live() -> Health:
        return Health("live")

    async def ask_log() -> Response[Health]:
        if is_stopping():
            return Response(Health("stopping"), status_code=503)
        await writer.check()
        return Response(Health("ready"))

    @readable("/.well-known/gpc.json", operation_id="gpc", summary="Whether Global Privacy Control is respected")
    async def show_gpc_support() -> GpcSupport:
        return GpcSupport()

    summary = "Whether the log takes events"
    handlers: list[Any] = [
        live,
        readable("/health/ready", operation_id="ready", summary=summary)(ask_log),
        readable("/health", operation_id="health", summary=f"{summary}: the same as /health/ready")(ask_log),
        show_gpc_support,
    ]
    return handlers
