"""What is refused: counted, kept where it may have been an event, and answered in the way of its protocol."""

from collections.abc import Callable, Mapping
from datetime import datetime

import structlog

from ingest.accept import Accept
from ingest.consent import headers_deny
from ingest.http import Reply
from ingest.metrics import Metrics
from ingest.replies import Protocol, refused
from schemas.faults import Fault, KeyRefused, MethodNotAllowed, Refusal

logger = structlog.get_logger(__name__)


class Refusals:
    """Turns whatever goes wrong into a reply and a count."""

    def __init__(self, accept: Accept, metrics: Metrics, clock: Callable[[], datetime]) -> None:
        self._accept = accept
        self._metrics = metrics
        self._clock = clock

    def answer(
        self,
        error: Exception,
        protocol: Protocol,
        headers: Mapping[bytes, bytes],
        *,
        method: str,
        route: str | None,
        body: bytes = b"",
        allow: str = "",
    ) -> Reply:
        """Answer a request that ended in an error: a fault, or what nobody foresaw.

        `route` is the path with the names of its parameters; None if there is no such path. `allow` lists the
        methods of the path, if the method was wrong.
        """
        fault = error if isinstance(error, Fault) else self._unforeseen(error, route)
        self._metrics.refused.labels(fault.code, protocol).inc()
        if route is not None and protocol != "plain" and _is_kept(fault, method):
            self._accept.keep_refused(
                fault, body, route=route, received=self._clock(), denied=headers_deny(headers)
            )
        return refused(fault, protocol, headers, allow=allow)

    def gone(self) -> None:
        """Count a request whose sender went away: there is nobody to answer."""
        self._metrics.disconnected.inc()

    def _unforeseen(self, error: Exception, route: str | None) -> Fault:
        logger.error("request failed", path=route, exc_info=error)
        self._metrics.errors.inc()
        return Fault("internal error")


def _is_kept(fault: Fault, method: str) -> bool:
    """Return whether a refusal belongs among the rejected: what may have been an event, or was meant as one.

    A GET without a session is how clients ask whether there is one, and a wrong key is nobody we know.
    """
    if not isinstance(fault, Refusal) or isinstance(fault, KeyRefused):
        return False
    return method == "POST" or isinstance(fault, MethodNotAllowed)
