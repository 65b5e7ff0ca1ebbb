"""The client for web players, `clients/web/playhead.js`, as pages import it: by a lasting name, or by its version.

What a versioned name serves never changes, so it may be kept for a year. The other name is asked for again each
hour. The file is read when the process starts, and compressed once.
"""

import gzip
import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import HeaderParameter

from ingest.cors import ANY_PAGE
from ingest.http import as_text

FILE: Final = Path(__file__).parents[1] / "clients" / "web" / "playhead.js"
TYPE: Final = "text/javascript"
KEPT_FOR_AN_HOUR: Final = "public, max-age=3600"
KEPT_FOR_A_YEAR: Final = "public, max-age=31536000, immutable"

AcceptEncoding = Annotated[str, HeaderParameter(name="Accept-Encoding")]


def read_version(source: str) -> str:
    """Return the version that the client's source says it has."""
    found = re.search(r'^export const VERSION = "([0-9.]+)";$', source, re.MULTILINE)
    assert found is not None, "the client names no version"
    return found[1]


def web_client_handlers() -> list[HTTPRouteHandler]:
    """Make the Litestar handlers."""
    source = FILE.read_bytes()
    compressed = gzip.compress(source, mtime=0)
    readable = partial(get, response_headers=as_text([ANY_PAGE]), media_type=TYPE)

    def answer(accept_encoding: str, kept: str) -> Response[bytes]:
        headers = {"cache-control": kept, "vary": "Accept-Encoding"}
        if "gzip" in accept_encoding:
            return Response(compressed, media_type=TYPE, headers={**headers, "content-encoding": "gzip"})
        return Response(source, media_type=TYPE, headers=headers)

    @readable("/playhead.js", operation_id="webClient", summary="The client for web players, an ES module")
    async def newest(accept_encoding: AcceptEncoding = "") -> Response[bytes]:
        return answer(accept_encoding, KEPT_FOR_AN_HOUR)

    version = read_version(source.decode())

    @readable(f"/playhead-{version}.js", operation_id="webClientOfVersion", summary=f"The same, version {version}")
    async def of_version(accept_encoding: AcceptEncoding = "") -> Response[bytes]:
        return answer(accept_encoding, KEPT_FOR_A_YEAR)

    handlers: list[Any] = [newest, of_version]
    return handlers
