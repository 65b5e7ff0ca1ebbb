"""The metrics of one ingest process: what was accepted, refused, and how long the log took.

What each accepted record adds to is kept as plain numbers, and made into metrics when they are asked for:
prometheus-client's own counters take a lock each, together a tenth of a request's time.
"""

import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from ingest.clock import ClockSkew

APPEND_BUCKETS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class AppendMetrics(Collector):
    """The accepted records by type, and the time from handing each to the log until it was durable, or not."""

    def __init__(self, types: Iterable[str]) -> None:
        self.accepted = dict.fromkeys(types, 0)
        self._in_bucket = [0] * (len(APPEND_BUCKETS_S) + 1)
        self._sum_s = 0.0

    def observe(self, took_s: float) -> None:
        """Count an append that took so long."""
        self._in_bucket[bisect_left(APPEND_BUCKETS_S, took_s)] += 1
        self._sum_s += took_s

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        """Make metrics of what was counted."""
        accepted = CounterMetricFamily(
            "playhead_ingest_accepted",
            "Records appended durably and answered 2xx, by CloudEvents type",
            labels=["type"],
        )
        for record_type, count in self.accepted.items():
            accepted.add_metric([record_type], count)
        yield accepted
        bounds = [*map(str, APPEND_BUCKETS_S), "+Inf"]
        yield HistogramMetricFamily(
            "playhead_ingest_append_seconds",
            "Time from handing an accepted record to the log until it was durable, or not",
            buckets=list(zip(bounds, itertools.accumulate(self._in_bucket), strict=True)),
            sum_value=self._sum_s,
        )


class Metrics:
    """All metrics, in a registry of their own. Labels come from closed lists, never from what was sent."""

    def __init__(self, *, accepted_types: Iterable[str]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.appended = AppendMetrics(accepted_types)
        self.registry.register(self.appended)
        self.clock = ClockSkew()
        self.registry.register(self.clock)
        self.refused = Counter(
            "playhead_ingest_refused",
            "Requests answered with a fault, by code and protocol",
            ["code", "protocol"],
            registry=self.registry,
        )
        self.rejected_kept = Counter(
            "playhead_ingest_rejected_kept",
            "Refused bodies appended to the log as playhead.rejected",
            registry=self.registry,
        )
        self.rejected_dropped = Counter(
            "playhead_ingest_rejected_dropped",
            "Refused bodies not kept, by reason: rate (over the limit), backlog, log (not available)",
            ["reason"],
            registry=self.registry,
        )
        self.disconnected = Counter(
            "playhead_ingest_disconnected",
            "Requests whose sender went away before they were complete",
            registry=self.registry,
        )
        self.errors = Counter(
            "playhead_ingest_errors",
            "Requests that met an error of ours and were answered 5xx",
            registry=self.registry,
        )
        self._bodies = Gauge(
            "playhead_ingest_bodies_bytes",
            "Bytes that bodies in flight hold, of those that may be held together",
            registry=self.registry,
        )
        self.user_id_conflicts = Counter(
            "playhead_ingest_user_id_conflicts",
            "Tracking sessions asked for with several user ids that differ; the first one counts",
            registry=self.registry,
        )

    def show_bodies(self, held_bytes: Callable[[], float]) -> None:
        """Report the bytes of bodies in flight at each scrape."""
        self._bodies.set_function(held_bytes)
