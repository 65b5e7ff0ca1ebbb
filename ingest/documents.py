"""The documents: OpenAPI as JSON and as a page, AsyncAPI, and a JSON Schema for each event type.

The page is Swagger UI out of an installed package. It needs no other host, and its policy allows none.
"""

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

from litestar import Request as LitestarRequest
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import PathParameter

from ingest import asyncapi
from ingest.cors import ANY_PAGE, SCHEMAS
from ingest.http import as_text
from ingest.intake import Intake
from ingest.replies import encode
from schemas.faults import NoSuchRoute
from schemas.media import json_schema
from schemas.settings import Settings
from schemas.vocabulary import EVENT_TYPES

PACKAGE: Final = "swagger_ui"
JSON: Final = "application/json"
PAGE: Final = b"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Playhead: the HTTP API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/schema/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="/schema/swagger-ui-bundle.js"></script>
<script src="/schema/page.js"></script>
</body>
</html>
"""
SCRIPT: Final = b"""\
SwaggerUIBundle({url: "/schema/openapi.json", dom_id: "#page", deepLinking: true, validatorUrl: null});
"""
POLICY: Final = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'"
EventTypeName = Annotated[
    str, PathParameter(description="Which event type", schema_extra={"enum": [*EVENT_TYPES]})
]
KEPT: Final = {"cache-control": "max-age=3600"}


class Documents:
    """The handlers of the documents. `openapi` is set once all handlers are made, which it describes."""

    def __init__(self, settings: Settings, intake: Intake) -> None:
        self.openapi = b""
        self._asyncapi = encode(asyncapi.document(settings))
        self._intake = intake

    def handlers(self) -> list[HTTPRouteHandler]:
        """Make the Litestar handlers."""
        readable = partial(get, response_headers=as_text([ANY_PAGE]))
        handlers: list[Any] = [
            readable("/schema", media_type="text/html", summary="This document as a page")(self.page),
            readable("/schema/openapi.json", summary="This document, OpenAPI 3.1")(self.show_openapi),
            readable("/asyncapi.json", summary="What is in the log, AsyncAPI 3.0")(self.show_asyncapi),
            readable("/schema/page.js", include_in_schema=False)(self.script),
            readable("/schema/swagger-ui.css", include_in_schema=False)(self.style),
            readable("/schema/swagger-ui-bundle.js", include_in_schema=False)(self.bundle),
            readable(SCHEMAS, operation_id="listSchemas", summary="Where the JSON Schema of each event type is")(
                self.list_schemas
            ),
            readable(
                SCHEMAS + "/{event_type:str}",
                operation_id="getSchema",
                summary="The JSON Schema of an event type",
            )(self.get_schema),
        ]
        return handlers

    async def show_openapi(self) -> Response[bytes]:
        """Return the OpenAPI document."""
        return Response(self.openapi, media_type=JSON)

    async def show_asyncapi(self) -> Response[bytes]:
        """Return the AsyncAPI document."""
        return Response(self._asyncapi, media_type=JSON)

    async def page(self) -> Response[bytes]:
        """Return the OpenAPI document as a page for people."""
        return Response(PAGE, media_type="text/html", headers={"content-security-policy": POLICY})

    async def script(self) -> Response[bytes]:
        """Return what starts Swagger UI."""
        return Response(SCRIPT, media_type="text/javascript", headers=KEPT)

    async def style(self) -> Response[bytes]:
        """Return Swagger UI's style."""
        return Response(_asset("swagger-ui.css"), media_type="text/css", headers=KEPT)

    async def bundle(self) -> Response[bytes]:
        """Return Swagger UI's code."""
        return Response(_asset("swagger-ui-bundle.js"), media_type="text/javascript", headers=KEPT)

    async def list_schemas(self) -> Response[dict[str, str]]:
        """Return the path of each event type's JSON Schema."""
        return Response({name: f"{SCHEMAS}/{name}" for name in EVENT_TYPES})

    async def get_schema(
        self, request: LitestarRequest[Any, Any, Any], event_type: EventTypeName
    ) -> Response[dict[str, Any]]:
        """Return the JSON Schema of one event type."""
        async with self._intake.taken(request.scope, request.receive):
            if event_type not in EVENT_TYPES:
                raise NoSuchRoute(f"No event type has this name; there are {', '.join(EVENT_TYPES)}")
            return Response(json_schema(event_type))


def _asset(name: str) -> bytes:
    """Read a file of Swagger UI, without importing the package, which would load what serves it elsewhere."""
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (folder,) = spec.submodule_search_locations
    return (Path(folder) / "static" / name).read_bytes()
