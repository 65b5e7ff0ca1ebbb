"""The service itself, for operators, probes and browsers: health, metrics, privacy."""

from typing import Any

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from eventlog import Writer
from ingest.consent import GpcSupport
from ingest.metrics import Metrics


class Health(msgspec.Struct):
    """`live`: the process replies; `ready`: the log accepts events."""

    status: str


def service_handlers(writer: Writer, metrics: Metrics) -> list[HTTPRouteHandler]:
    """Make the Litestar handlers."""

    @get("/health/live", operation_id="live", summary="Whether the process answers")
    async def live() -> Health:
        return Health("live")

    @get("/health/ready", operation_id="ready", summary="Whether the log takes events")
    async def ready() -> Health:
        await writer.check()
        return Health("ready")

    @get(
        "/metrics",
        operation_id="metrics",
        summary="Metrics in the text format of Prometheus",
        media_type="text/plain",
    )
    async def show_metrics() -> Response[bytes]:
        return Response(generate_latest(metrics.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    @get("/.well-known/gpc.json", operation_id="gpc", summary="Whether Global Privacy Control is respected")
    async def show_gpc_support() -> GpcSupport:
        return GpcSupport()

    handlers: list[Any] = [live, ready, show_metrics, show_gpc_support]
    return handlers
