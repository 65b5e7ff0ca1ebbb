"""The numbers of one process: plain ones while it works, made into metrics when somebody asks.

prometheus-client's own counters take a lock each, which together would be a tenth of a request's time. Here each
number has one thread that changes it; the thread of a scrape only reads.
"""

import itertools
import platform
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from observability import catalogue
from observability.catalogue import Metric, Verb

Labels = tuple[str, ...]
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class Number:
    """A counter or a gauge with certain labels."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Histogram:
    """How often values fell between certain bounds, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Labels) -> None:
        """Add what was counted to a family."""
        bounds = [*map(str, self._bounds), "+Inf"]
        family.add_metric(labels, list(zip(bounds, itertools.accumulate(self._counts), strict=True)), self._sum)


class Meter(Collector):
    """All numbers of the process of one verb. Each belongs to a metric of the catalogue that this verb exports."""

    def __init__(self, verb: Verb) -> None:
        self._numbers: dict[str, dict[Labels, Number]] = {}
        self._histograms: dict[str, dict[Labels, Histogram]] = {}
        self._read: dict[str, Callable[[], Mapping[Labels, float]]] = {}
        self._metrics = {each.name: each for each in catalogue.of_verb(verb) if each not in catalogue.PROCESS}
        self.number(catalogue.BUILD, verb, version("playhead"), platform.python_version()).value = 1
        for metric in self._metrics.values():
            if metric.type == "histogram" and not metric.labels:
                self.histogram(metric)
            elif metric.type == "counter" and not metric.labels:
                self.number(metric)
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def number(self, metric: Metric, *labels: str) -> Number:
        """Return the number of a counter or a gauge, which begins with 0."""
        of_metric = self._numbers.setdefault(self._known(metric, labels), {})
        if (number := of_metric.get(labels)) is None:
            number = of_metric[labels] = Number()
        return number

    def histogram(self, metric: Metric, *labels: str) -> Histogram:
        """Return the histogram of a metric."""
        of_metric = self._histograms.setdefault(self._known(metric, labels), {})
        if (histogram := of_metric.get(labels)) is None:
            histogram = of_metric[labels] = Histogram(metric.bounds)
        return histogram

    def at_scrape(self, metric: Metric, read: Callable[[], Mapping[Labels, float]]) -> None:
        """Let a function return the numbers of a metric, by its labels, whenever somebody asks; in any thread."""
        self._read[self._known(metric, None)] = read

    def _known(self, metric: Metric, labels: Labels | None) -> str:
        known = self._metrics[metric.name]
        if labels is not None and len(labels) != len(known.labels):
            raise ValueError(f"{metric.name} has the labels {known.labels}, got {labels}")
        return metric.name

    def collect(self) -> Iterator[Family]:
        """Yield every metric of the catalogue, also those without numbers."""
        for metric in self._metrics.values():
            family = _family(metric)
            for labels, histogram in self._histograms.get(metric.name, {}).copy().items():
                histogram.add_to(family, labels)
            for labels, number in self._numbers.get(metric.name, {}).copy().items():
                family.add_metric(labels, number.value)
            if (read := self._read.get(metric.name)) is not None:
                for labels, value in read().items():
                    family.add_metric(labels, value)
            yield family

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)


def _family(metric: Metric) -> Any:
    kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
    return kinds[metric.type](metric.name, metric.meaning, labels=metric.labels)
