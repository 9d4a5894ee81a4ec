"""The service's metrics for Prometheus. Their names and labels are an interface that `infra/monitoring` relies on."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

METRICS = {
    "retrieval_http_requests_total": "Requests by route, method and status.",
    "retrieval_http_request_seconds": "Seconds from a request's head to the end of its answer, by route.",
    "retrieval_search_stage_seconds": "Seconds of each stage of a search: read, decode, wait, encode, engine.",
    "retrieval_encode_batch_size": "Images encoded together.",
    "retrieval_engine_errors_total": "Requests that failed for lack of the engine, the collection or the model.",
    "retrieval_uploads_refused_total": "Uploads that were refused, by reason.",
    "retrieval_engine_up": "1 if the engine answers a real query, else 0.",
    "retrieval_collection_points": "Images in the collection.",
    "retrieval_collection_info": "Always 1; collection and model are labels.",
    "retrieval_reindex_age_seconds": "Seconds since the collection was made; missing if that time lies in the future.",
}
"""Name → help text."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
Facts = Mapping[str, Any]


class Metrics:
    """Counters and histograms of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.requests = self._counter("retrieval_http_requests_total", "route", "method", "status")
        self.request_seconds = self._histogram("retrieval_http_request_seconds", SECONDS, "route")
        self.stage_seconds = self._histogram("retrieval_search_stage_seconds", SECONDS, "stage")
        self.batch_size = self._histogram("retrieval_encode_batch_size", (1, 2, 4, 8, 16, 32, 64))
        self.engine_errors = self._counter("retrieval_engine_errors_total", "kind")
        self.refused = self._counter("retrieval_uploads_refused_total", "reason")

    def follow(self, facts: Callable[[], Facts]) -> None:
        """At each scrape, export what `facts` returns: `up`, `alias` and, if it is up, the fields of the status."""
        self.registry.register(CurrentGauges(facts))

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage of a search."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stage_seconds.labels(name).observe(time.perf_counter() - started)

    def _counter(self, name: str, *labels: str) -> Counter:
        return Counter(name, METRICS[name], labels, registry=self.registry)

    def _histogram(self, name: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, METRICS[name], labels, buckets=buckets, registry=self.registry)


class CurrentGauges(Collector):
    """Gauges whose values are computed at each scrape."""

    def __init__(self, facts: Callable[[], Facts]) -> None:
        self._facts = facts

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering this does not query the engine."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges, with one sample each."""
        facts = self._facts()
        alias = facts["alias"]
        yield gauge("retrieval_engine_up", {}, float(facts["up"]))
        if facts["collection"]:
            yield gauge("retrieval_collection_points", {"alias": alias}, facts["points"])
            names = {"alias": alias, "collection": facts["collection"], "model": facts["model"]}
            yield gauge("retrieval_collection_info", names, 1)
            if facts["age"] is not None:
                yield gauge("retrieval_reindex_age_seconds", {"alias": alias}, facts["age"])


def gauge(name: str, labels: Mapping[str, str], value: float) -> Metric:
    """A gauge with one sample."""
    made = GaugeMetricFamily(name, METRICS[name], labels=list(labels))
    made.add_metric(list(labels.values()), value)
    return made
