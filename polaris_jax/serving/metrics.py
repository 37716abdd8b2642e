"""The server's metrics, in Prometheus's text exposition format."""

import time
from collections.abc import Iterable
from dataclasses import asdict

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polaris_jax.serving.engine_thread import EngineThread

# Upper bounds of the buckets, in seconds: from one token of a small model to a long text.
SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
OTHER = "other"  # label of paths that do not exist, so that callers cannot create labels


class ServerMetrics:
    """The metrics of one server.

    Attributes:
      first_token: seconds from a parsed request to its first event; prompt_tokens: of all prompts;
        generated_tokens: of all texts, without end tokens; finished: texts by ``finish_reason``.
    """

    def __init__(self, engine: EngineThread):
        self._registry = registry = CollectorRegistry()
        registry.register(_EngineCollector(engine))
        self.requests = Counter(
            "polaris_requests", "HTTP requests by path and status", ("path", "status"), registry=registry
        )
        self.seconds = Histogram(
            "polaris_request_seconds", "Time of a request", ("path",), buckets=SECONDS, registry=registry
        )
        self.first_token = Histogram(
            "polaris_first_token_seconds", "Time to the first token", buckets=SECONDS, registry=registry
        )
        self.prompt_tokens = Counter("polaris_prompt_tokens", "Tokens of prompts, each prompt once", registry=registry)
        self.generated_tokens = Counter(
            "polaris_generated_tokens", "Tokens generated, without end tokens", registry=registry
        )
        self.finished = Counter(
            "polaris_texts_finished", "Texts by the reason why they ended", ("reason",), registry=registry
        )

    def exposition(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self._registry)


class _EngineCollector(Collector):
    """Metrics that are read from the engine on demand."""

    def __init__(self, thread: EngineThread):
        self._thread = thread

    def collect(self) -> Iterable[Metric]:
        """The current values."""
        engine = self._thread.engine
        yield GaugeMetricFamily("polaris_texts", "Texts waiting or active", self._thread.load)
        yield GaugeMetricFamily("polaris_texts_active", "Texts that are being generated", engine.active)
        yield GaugeMetricFamily("polaris_slots", "Texts that can be generated at once", engine.slots)
        tokens = CounterMetricFamily(
            "polaris_engine_tokens",
            "Tokens by origin: sampled, forced by a constraint, prefilled, or reused from a cache",
            labels=("origin",),
        )
        for origin, count in asdict(engine.counts).items():
            tokens.add_metric((origin,), count)
        yield tokens
        if ahead := engine.cache.ahead:
            guesses = CounterMetricFamily(
                "polaris_guesses",
                "Tokens guessed and read ahead (--speculate), and those of them that turned out right",
                labels=("kind",),
            )
            guesses.add_metric(("read",), ahead.guessed)
            guesses.add_metric(("right",), ahead.right)
            yield guesses


class MetricsMiddleware:
    """Counts every request, whatever answers it; ``paths`` are those with their own label."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics, paths: frozenset[str]):
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, begun = 500, time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            path = scope["path"] if scope["path"] in self._paths else OTHER
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - begun)
