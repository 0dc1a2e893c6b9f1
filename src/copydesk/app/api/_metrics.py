"""Prometheus metrics: of requests as they end, of the engine when it is asked."""

import re
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from copydesk.app.api._visits import Visit
from copydesk.records import Engine

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The metrics of one server, in a registry of their own.

    The label `client` takes only names of the catalogue, and `route` only known ones, so that no
    caller can make up series.
    """

    def __init__(self, engine: Engine) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "copydesk_requests",
            "Requests that were answered.",
            ("route", "client", "status"),
            registry=registry,
        )
        self._tokens = Counter(
            "copydesk_tokens",
            "Tokens by kind: prompt, cached (of the prompt), completion.",
            ("client", "kind"),
            registry=registry,
        )
        self._seconds = Histogram(
            "copydesk_request_seconds",
            "From arrival to the end of the answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._first = Histogram(
            "copydesk_first_token_seconds",
            "From submission to the first token.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._queued = Histogram(
            "copydesk_queued_seconds",
            "From submission to the first step.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._rate = Histogram(
            "copydesk_request_tokens_per_second",
            "Of one answer, its tokens over the time behind its first.",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
            registry=registry,
        )
        self._checked = Counter(
            "copydesk_checked_answers",
            "Answers while a canary ran, by what a check found: clean, findings, unchecked.",
            ("client", "found"),
            registry=registry,
        )
        registry.register(_EngineFigures(engine))

    def count(self, visit: Visit) -> None:
        """Add a request that has ended."""
        route = visit.route or "other"
        self._requests.labels(route, visit.client, str(visit.status)).inc()
        self._seconds.labels(route).observe(visit.seconds)
        for kind, tokens in (
            ("prompt", visit.prompt_tokens),
            ("cached", visit.cached_tokens),
            ("completion", visit.completion_tokens),
        ):
            if tokens:
                self._tokens.labels(visit.client, kind).inc(tokens)
        if visit.queued_seconds is not None:
            self._queued.observe(visit.queued_seconds)
        if visit.first_token_seconds is not None:
            self._first.observe(visit.first_token_seconds)
            rest = visit.seconds - visit.first_token_seconds
            if visit.completion_tokens > visit.choices and rest > 0:
                self._rate.observe((visit.completion_tokens - visit.choices) / rest)

    def checked(self, client: str, found: str) -> None:
        """Add an answer that a canary hears of; `found` is `clean`, `findings` or `unchecked`."""
        self._checked.labels(client, found).inc()

    def text(self) -> bytes:
        """All metrics, as Prometheus reads them."""
        return generate_latest(self._registry)


class _EngineFigures(Collector):
    """The engine's own figures, read when Prometheus asks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterable[Metric]:
        state = self._engine.state()
        up = float(state.status == "ready")
        yield GaugeMetricFamily("copydesk_engine_up", "1 when it takes requests.", value=up)
        yield GaugeMetricFamily("copydesk_running", "Continuations under way.", value=state.running)
        yield GaugeMetricFamily("copydesk_queue", "Continuations that wait.", value=state.waiting)
        for name, value in sorted(state.figures.items()):
            own = "copydesk_engine_" + re.sub(r"[^a-zA-Z0-9_]", "_", name)
            if own.endswith("_total"):
                yield CounterMetricFamily(own, f"The engine's {name}.", value=value)
            else:
                yield GaugeMetricFamily(own, f"The engine's {name}.", value=value)

    def describe(self) -> Iterable[Metric]:
        return ()
