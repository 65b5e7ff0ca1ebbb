"""The metrics of several processes of one verb as if they were one: one address to scrape, whatever dies."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from observability import catalogue

Series = tuple[str, tuple[tuple[str, str], ...]]  # the name of a sample, and its labels

# Gauges that are not sums: what each process says of the same thing.
_LARGEST: Final = (
    catalogue.BUILD,
    catalogue.DISK_FREE,
    catalogue.DISK_SIZE,
    catalogue.INGEST_PARTITIONS,
)
_LEAST: Final = (catalogue.INGEST_LOG_UP,)
_RULES: Final[Mapping[str, Callable[[float, float], float]]] = {
    **{metric.name: max for metric in _LARGEST},
    **{metric.name: min for metric in _LEAST},
    "process_start_time_seconds": min,
    catalogue.CLOCK_SKEW.name: lambda one, other: max(one, other, key=abs),
}


class Aggregate(Collector):
    """What was last seen of each process. What those that have ended had counted stays: counters never fall."""

    def __init__(self) -> None:
        self._families: dict[str, tuple[str, str]] = {}  # type and meaning, by name
        self._seen: dict[int, dict[Series, tuple[str, float]]] = {}  # by process: name of the family, and value
        self._ended: dict[Series, tuple[str, float]] = {}

    def saw(self, process: int, text: str) -> None:
        """Take the metrics that a process has now, in the text format of Prometheus."""
        seen = {}
        for family in text_string_to_metric_families(text):
            self._families[family.name] = (family.type, family.documentation)
            for sample in family.samples:
                seen[sample.name, tuple(sorted(sample.labels.items()))] = (family.name, float(sample.value))
        self._seen[process] = seen

    def ended(self, process: int) -> None:
        """Keep what a process has counted that is no more; its gauges are of nothing now."""
        for series, (family, value) in self._seen.pop(process, {}).items():
            if self._families[family][0] != "gauge":
                self._ended[series] = (family, value + self._ended.get(series, (family, 0.0))[1])

    def collect(self) -> Iterator[Family]:
        """Yield each family, with the sum, or the largest or least, of all processes."""
        together = dict(self._ended)
        for seen in [*self._seen.values()]:
            for series, (family, value) in seen.items():
                rule = _RULES.get(family, float.__add__)
                together[series] = (family, rule(together[series][1], value) if series in together else value)
        families = {name: Family(name, meaning, kind) for name, (kind, meaning) in [*self._families.items()]}
        for (name, labels), (family, value) in together.items():
            families[family].add_sample(name, dict(labels), value)
        yield from families.values()

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self)
