"""The metrics of one ingest process: what was accepted, refused, and how long the log took."""

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

APPEND_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """All counters, in a registry of their own. Labels come from closed lists, never from what was sent."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.accepted = Counter(
            "playhead_ingest_accepted",
            "Records appended durably and answered 2xx, by CloudEvents type",
            ["type"],
            registry=self.registry,
        )
        self.refused = Counter(
            "playhead_ingest_refused",
            "Requests answered with a fault, by code and protocol",
            ["code", "protocol"],
            registry=self.registry,
        )
        self.append_s = Histogram(
            "playhead_ingest_append_seconds",
            "Time from handing an accepted record to the log until it was durable, or not",
            buckets=APPEND_BUCKETS_S,
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
        self.user_id_conflicts = Counter(
            "playhead_ingest_user_id_conflicts",
            "Tracking sessions asked for with several user ids that differ; the first one counts",
            registry=self.registry,
        )
