"""Refused requests: counted, kept if they may have been events, and answered by their protocol."""

from collections.abc import Callable, Container, Mapping, Sequence
from datetime import datetime
from typing import Final

import structlog

from ingest import keys
from ingest.accept import Accept
from ingest.consent import headers_deny
from ingest.cors import Cors, Protocol
from ingest.http import Reply
from ingest.keys import ApiKeys
from ingest.metrics import Metrics
from ingest.replies import refused
from schemas.faults import Fault, KeyRefused, MethodNotAllowed, Refusal
from schemas.ids import verify_media_session

KEPT_OF: Final[Container[Protocol]] = ("media", "tracking")

logger = structlog.get_logger(__name__)


class Refusals:
    """Turns errors into replies and counts."""

    def __init__(
        self,
        accept: Accept,
        metrics: Metrics,
        api_keys: ApiKeys,
        clock: Callable[[], datetime],
        cors: Cors,
        *,
        mac_keys: Sequence[bytes],
    ) -> None:
        self._accept = accept
        self._metrics = metrics
        self._keys = api_keys
        self._clock = clock
        self._cors = cors
        self._mac_keys = mac_keys

    def answer(
        self,
        error: Exception,
        protocol: Protocol,
        headers: Mapping[bytes, bytes],
        *,
        method: str,
        route: str | None,
        session_id: str | None = None,
        body: bytes = b"",
        allow: str = "",
    ) -> Reply:
        """Return the reply to a request that ended in a fault or an unexpected error.

        `route` is the path with the names of its parameters; None if there is no such path. `allow` lists the
        methods of the path, if the method was wrong. `session_id` is what the path has in the place of one: it
        is kept if it is one of ours, since anything else may be anything.
        """
        fault = error if isinstance(error, Fault) else self._unforeseen(error, route)
        self._metrics.refused(fault.code, protocol)
        key_name = self._keys.name_of(headers.get(keys.HEADER))
        if key_name is not None:
            self._metrics.refused_of_key(key_name, fault.code)
        if route is not None and protocol in KEPT_OF and _is_kept(fault, method):
            self._accept.keep_refused(
                fault,
                body,
                route=route,
                received=self._clock(),
                denied=headers_deny(headers),
                key_name=key_name,
                session_id=self._known(session_id),
            )
        return refused(fault, protocol, headers, self._cors.headers(protocol, headers.get(b"origin")), allow=allow)

    def _known(self, session_id: str | None) -> str | None:
        known = verify_media_session(self._mac_keys, session_id) if session_id is not None else None
        return None if known is None else known.id

    def gone(self) -> None:
        """Count a request whose sender disconnected."""
        self._metrics.disconnected.value += 1

    def _unforeseen(self, error: Exception, route: str | None) -> Fault:
        logger.error("request failed", path=route, exc_info=error)
        self._metrics.errors.value += 1
        return Fault("internal error")


def _is_kept(fault: Fault, method: str) -> bool:
    """Return whether a refusal is kept: the request may have been an event, or was meant as one.

    A GET without a session is how clients ask whether there is one, and a wrong key may be anyone's.
    """
    if not isinstance(fault, Refusal) or isinstance(fault, KeyRefused):
        return False
    return method == "POST" or isinstance(fault, MethodNotAllowed)
