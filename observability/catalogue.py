"""Every metric that a process of Playhead exports: name, unit, type, labels and meaning. There are no others.

Names follow Prometheus: the unit comes last, a counter ends with `_total`. The values of labels come from closed
lists of ours, never from what was sent. `python -m observability.catalogue` prints `METRICS.md`.
"""

from typing import Final, Literal

import msgspec

Verb = Literal["ingest", "worker", "upkeep"]

EVERY: Final[tuple[Verb, ...]] = ("ingest", "worker", "upkeep")
OF_LAKE: Final[tuple[Verb, ...]] = ("worker", "upkeep")
REQUEST_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
BATCH_S: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
FRESHNESS_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
BATCH_RECORDS: Final = (1.0, 10.0, 100.0, 1_000.0, 10_000.0, 50_000.0)
ROUND_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Metric(msgspec.Struct, frozen=True):
    """One metric. `unit` is also in its name, unless it counts things; `of` are the verbs that export it."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    unit: str
    meaning: str
    of: tuple[Verb, ...]
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


def _counter(of: tuple[Verb, ...], name: str, unit: str, meaning: str, *labels: str) -> Metric:
    return Metric(f"playhead_{name}_total", "counter", unit, meaning, of, labels)


def _gauge(of: tuple[Verb, ...], name: str, unit: str, meaning: str, *labels: str) -> Metric:
    return Metric(f"playhead_{name}", "gauge", unit, meaning, of, labels)


def _histogram(
    of: tuple[Verb, ...], name: str, unit: str, meaning: str, bounds: tuple[float, ...], *labels: str
) -> Metric:
    return Metric(f"playhead_{name}", "histogram", unit, meaning, of, labels, bounds)


BUILD: Final = _gauge(
    EVERY, "build_info", "", "1; the labels name the process and its versions", "verb", "version", "python"
)
DISK_FREE: Final = _gauge(EVERY, "disk_free_bytes", "bytes", "Free space of the file system of a folder", "folder")
DISK_SIZE: Final = _gauge(EVERY, "disk_size_bytes", "bytes", "Size of the file system of a folder", "folder")

_I: Final[tuple[Verb, ...]] = ("ingest",)
RECEIVED: Final = _counter(
    _I,
    "ingest_received",
    "requests",
    "Requests whose head was read, by API (validation: /validate; plain: everything else)",
    "protocol",
)
RECEIVED_BYTES: Final = _counter(
    _I, "ingest_received_bytes", "bytes", "Bodies of requests, as large as they are unpacked"
)
REQUEST_SECONDS: Final = _histogram(
    _I, "ingest_request_seconds", "seconds", "Time from a request's head to its reply", REQUEST_S, "protocol"
)
IN_FLIGHT: Final = _gauge(_I, "ingest_in_flight", "requests", "Requests that have no reply yet")
ACCEPTED: Final = _counter(
    _I, "ingest_accepted", "records", "Records appended durably and answered 2xx, by CloudEvents type", "type"
)
REFUSED: Final = _counter(
    _I, "ingest_refused", "requests", "Requests answered with a fault, by its code", "code", "protocol"
)
REFUSED_OF_KEY: Final = _counter(
    _I,
    "ingest_refused_of_key",
    "requests",
    "Requests with an API key that were answered with a fault, by the key's name; unknown: a wrong key",
    "key",
    "code",
)
REJECTED_KEPT: Final = _counter(
    _I, "ingest_rejected_kept", "bodies", "Refused bodies appended to the log as playhead.rejected"
)
REJECTED_DROPPED: Final = _counter(
    _I,
    "ingest_rejected_dropped",
    "bodies",
    "Refused bodies not kept: rate (over the limit), backlog, log (not available)",
    "reason",
)
DISCONNECTED: Final = _counter(
    _I, "ingest_disconnected", "requests", "Requests whose sender went away before they were complete"
)
ERRORS: Final = _counter(
    _I, "ingest_errors", "requests", "Requests that met an error of ours and were answered 5xx"
)
BODIES_BYTES: Final = _gauge(
    _I, "ingest_bodies_bytes", "bytes", "Bytes that bodies in flight hold, of those that may be held together"
)
USER_ID_CONFLICTS: Final = _counter(
    _I,
    "ingest_user_id_conflicts",
    "requests",
    "Tracking sessions asked for with several user ids that differ; the first one counts",
)
QUEUE: Final = _gauge(_I, "ingest_queue_records", "records", "Appends that wait for the log")
APPEND_SECONDS: Final = _histogram(
    _I,
    "ingest_append_seconds",
    "seconds",
    "Time from handing an accepted record to the log until it was durable, or not",
    REQUEST_S,
)
CLOCK_SKEW: Final = _gauge(
    _I,
    "ingest_clock_skew_seconds",
    "seconds",
    "How far this process's clock is ahead of the log's; absent where the log has no clock of its own",
)
INGEST_LOG_UP: Final = _gauge(
    _I, "ingest_log_up", "", "1 if the log can take a record now, asked at each scrape; else 0"
)
INGEST_PARTITIONS: Final = _gauge(_I, "ingest_partitions", "partitions", "Partitions of the log")

_W: Final[tuple[Verb, ...]] = ("worker",)
READ: Final = _counter(
    _W, "worker_read_records", "records", "Records read from the log, again if a commit failed", "partition"
)
LAG_RECORDS: Final = _gauge(
    _W,
    "worker_lag_records",
    "records",
    "Records of the log that are not in the lake yet; absent before the first read of a partition",
    "partition",
)
LAG_SECONDS: Final = _gauge(
    _W,
    "worker_lag_seconds",
    "seconds",
    "Age of the oldest record that is not in the lake yet; 0 if there is none; absent before the first read of a "
    "partition",
    "partition",
)
BATCH: Final = _histogram(_W, "worker_batch_records", "records", "Records of a transaction", BATCH_RECORDS)
DECODE_SECONDS: Final = _histogram(
    _W, "worker_decode_seconds", "seconds", "Time to decode the records of a batch", BATCH_S
)
FOLD_SECONDS: Final = _histogram(
    _W, "worker_fold_seconds", "seconds", "Time to fold a batch into its sessions", BATCH_S
)
COMMIT_SECONDS: Final = _histogram(
    _W, "worker_commit_seconds", "seconds", "Time to write a batch into the lake", BATCH_S
)
FRESHNESS: Final = _histogram(
    _W,
    "worker_freshness_seconds",
    "seconds",
    "Age of the oldest record of each partition in a batch when it was committed",
    FRESHNESS_S,
)
STORED: Final = _counter(_W, "worker_stored_records", "records", "Media and tracking events written into the lake")
DUPLICATES: Final = _counter(_W, "worker_duplicates", "records", "Records whose event was already in the lake")
LATE: Final = _counter(_W, "worker_late", "records", "Events of sessions that had closed before")
FLAGGED: Final = _counter(
    _W,
    "worker_flagged",
    "sessions",
    "Session versions closed, by each rule that decided something of them",
    "rule",
)
QUARANTINED: Final = _counter(
    _W,
    "worker_quarantined",
    "records",
    "Records written into quarantine; source ingest: refused requests",
    "source",
    "reason",
)
OPEN_SESSIONS: Final = _gauge(_W, "worker_open_sessions", "sessions", "Open sessions", "partition")
CLOSED: Final = _counter(_W, "worker_closed", "sessions", "Session versions closed", "reason")
REOPENED: Final = _counter(_W, "worker_reopened", "sessions", "Closed sessions that late data opened again")
PARTITIONS: Final = _gauge(_W, "worker_partitions", "partitions", "Partitions that this worker holds")
HALTED: Final = _gauge(
    _W, "worker_halted", "", "1 for each partition whose reading is halted", "partition", "reason"
)
FAILURES: Final = _counter(
    _W, "worker_failures", "failures", "Batches and reads that failed and are tried again", "kind"
)
REBALANCES: Final = _counter(
    _W, "worker_rebalances", "partitions", "Partitions assigned to this worker and released by it", "change"
)
WORKER_LOG_UP: Final = _gauge(_W, "worker_log_up", "", "1 if the last read of the log succeeded, else 0")
WORKER_LAKE_UP: Final = _gauge(_W, "worker_lake_up", "", "1 if the lake took the last transaction, else 0")

ROUNDS: Final = _counter(
    OF_LAKE, "upkeep_rounds", "rounds", "Rounds of upkeep that this process started and that ended", "outcome"
)
ROUND_SECONDS: Final = _histogram(OF_LAKE, "upkeep_round_seconds", "seconds", "Time of a round of upkeep", ROUND_S)
UPKEEP_DELETED: Final = _counter(
    OF_LAKE, "upkeep_deleted_files", "files", "Files that upkeep deleted because no snapshot needs them"
)
UPKEEP_EXPIRED: Final = _counter(OF_LAKE, "upkeep_expired_snapshots", "snapshots", "Snapshots that upkeep expired")
UPKEEP_AT: Final = _gauge(
    OF_LAKE,
    "upkeep_last_success_timestamp_seconds",
    "seconds",
    "When the last round of this process ended well, since 1970; absent before the first",
)
LAKE_FILES: Final = _gauge(
    OF_LAKE, "lake_files", "files", "Data files of the newest snapshot, as of the last round of upkeep"
)
LAKE_BYTES: Final = _gauge(OF_LAKE, "lake_bytes", "bytes", "Bytes of these files")
CATALOGUE_BYTES: Final = _gauge(
    OF_LAKE, "lake_catalogue_bytes", "bytes", "Size of the catalogue, as of the last round of upkeep"
)
SNAPSHOTS: Final = _gauge(
    OF_LAKE, "lake_snapshots", "snapshots", "Snapshots of the lake, as of the last round of upkeep"
)
BACKUP_AT: Final = _gauge(
    OF_LAKE,
    "backup_last_success_timestamp_seconds",
    "seconds",
    "When the newest backup was made, since 1970; absent without one",
)

# Exported by prometheus-client itself.
PROCESS: Final = (
    Metric("process_virtual_memory_bytes", "gauge", "bytes", "Virtual memory size in bytes.", EVERY),
    Metric("process_resident_memory_bytes", "gauge", "bytes", "Resident memory size in bytes.", EVERY),
    Metric(
        "process_start_time_seconds",
        "gauge",
        "seconds",
        "Start time of the process since unix epoch in seconds.",
        EVERY,
    ),
    Metric(
        "process_cpu_seconds_total",
        "counter",
        "seconds",
        "Total user and system CPU time spent in seconds.",
        EVERY,
    ),
    Metric("process_open_fds", "gauge", "descriptors", "Number of open file descriptors.", EVERY),
    Metric("process_max_fds", "gauge", "descriptors", "Maximum number of open file descriptors.", EVERY),
)
OURS: Final = tuple(each for each in list(globals().values()) if isinstance(each, Metric))


def of_verb(verb: Verb) -> tuple[Metric, ...]:
    """Return every metric that the process of a verb exports, in the order of the catalogue."""
    return tuple(metric for metric in (*OURS, *PROCESS) if verb in metric.of)


def page() -> str:
    """Return the catalogue as a page in Markdown."""
    lines = [
        "# Metrics",
        "",
        "Generated by `python -m observability.catalogue`. A process exports these metrics and no others;",
        "values of labels come from closed lists. [README.md](README.md) says where.",
        "",
        "| metric | type | unit | labels | exported by | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for each in (*OURS, *PROCESS):
        labels = ", ".join(f"`{label}`" for label in each.labels)
        lines.append(
            f"| `{each.name}` | {each.type} | {each.unit} | {labels} | {', '.join(each.of)} | {each.meaning} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201
