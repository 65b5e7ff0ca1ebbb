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
        raise why_not_bound(error, settings) from None


def why_not_bound(error: OSError, settings: Settings) -> Exception:
    """Return what an operator reads if the port cannot be had; any other error as it is."""
    if error.errno != errno.EADDRINUSE:
        return error
    return NotReady(f"port {settings.http_port} of {settings.http_host} is in use")
