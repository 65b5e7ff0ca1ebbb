"""`playhead ingest`: the HTTP APIs, in this process. Nothing here loads the lake."""

import errno

from commands.logs import log_settings
from ingest.serve import serve
from schemas.faults import NotReady
from schemas.settings import Settings


def run_ingest(settings: Settings) -> None:
    """Serve until stopped. Raises NotReady if the port is in use."""
    log_settings(settings)
    try:
        serve(settings)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise NotReady(f"port {settings.http_port} of {settings.http_host} is in use") from None
