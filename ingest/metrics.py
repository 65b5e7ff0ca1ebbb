"""What one ingest process counts: requests, what was accepted and refused, and how long the log took."""

from collections.abc import Iterable
from typing import Final

from eventlog import Writer
from ingest.clock import ClockSkew
from ingest.cors import Protocol
from observability import catalogue
from observability.meter import Meter
from schemas.faults import LogUnavailable

PROTOCOLS: Final[tuple[Protocol, ...]] = ("media", "tracking", "validation", "plain")
DROPPED_FOR: Final = ("rate", "backlog", "log")


class Metrics:
    """The numbers of an ingest, by what they count. Labels come from closed lists, never from what was sent."""

    def __init__(self, meter: Meter, *, accepted_types: Iterable[str]) -> None:
        self.meter = meter
        self.clock = ClockSkew()
        self.received = {name: meter.number(catalogue.RECEIVED, name) for name in PROTOCOLS}
        self.request_seconds = {name: meter.histogram(catalogue.REQUEST_SECONDS, name) for name in PROTOCOLS}
        self.received_bytes = meter.number(catalogue.RECEIVED_BYTES)
        self.in_flight = meter.number(catalogue.IN_FLIGHT)
        self.accepted = {name: meter.number(catalogue.ACCEPTED, name) for name in accepted_types}
        self.append_seconds = meter.histogram(catalogue.APPEND_SECONDS)
        self.rejected_kept = meter.number(catalogue.REJECTED_KEPT)
        self.rejected_dropped = {name: meter.number(catalogue.REJECTED_DROPPED, name) for name in DROPPED_FOR}
        self.disconnected = meter.number(catalogue.DISCONNECTED)
        self.errors = meter.number(catalogue.ERRORS)
        self.user_id_conflicts = meter.number(catalogue.USER_ID_CONFLICTS)
        self._log_up = meter.number(catalogue.INGEST_LOG_UP)
        meter.at_scrape(catalogue.CLOCK_SKEW, lambda: {} if self.clock.skew_s is None else {(): self.clock.skew_s})

    def begin(self, protocol: Protocol) -> None:
        """Count a request whose head was read."""
        self.received[protocol].value += 1
        self.in_flight.value += 1

    def end(self, protocol: Protocol, took_s: float) -> None:
        """Count the reply to a request, or its end without one."""
        self.in_flight.value -= 1
        self.request_seconds[protocol].observe(took_s)

    def refused(self, code: str, protocol: Protocol) -> None:
        """Count a request that was answered with a fault."""
        self.meter.number(catalogue.REFUSED, code, protocol).value += 1

    def refused_of_key(self, name: str, code: str) -> None:
        """Count such a request by the name of its API key: one of ours, or `unknown`."""
        self.meter.number(catalogue.REFUSED_OF_KEY, name, code).value += 1

    def watch(self, writer: Writer) -> None:
        """Show what waits for the log at each scrape."""
        self.meter.at_scrape(catalogue.QUEUE, lambda: {(): writer.waiting})
        self.meter.at_scrape(catalogue.INGEST_PARTITIONS, lambda: {(): writer.partitions})

    async def ask_log(self, writer: Writer) -> list[str]:
        """Ask the log whether it can take a record, and note it; return why not."""
        try:
            await writer.check()
        except LogUnavailable as fault:
            self._log_up.value = 0
            return [f"log unavailable: {fault}"]
        self._log_up.value = 1
        return []
