"""The ASGI application: routes, streaming, cancelling, and errors in one format."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import anyio
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from polaris_jax.errors import InputError
from polaris_jax.serving import requests
from polaris_jax.serving.api_errors import ApiError, unknown_model
from polaris_jax.serving.engine_thread import EngineThread, RequestHandle
from polaris_jax.serving.event_stream import EventStream, run_until_disconnect
from polaris_jax.serving.guard import BearerTokenMiddleware, read_limited
from polaris_jax.serving.limits import Limits
from polaris_jax.serving.metrics import MetricsMiddleware, ServerMetrics
from polaris_jax.serving.openapi import openapi_document
from polaris_jax.serving.requests import ParsedRequest, ServedModel
from polaris_jax.serving.responses import Choice, Delta, ResponseBuilder
from polaris_jax.serving.schema import read_body

logger = logging.getLogger(__name__)
PATHS = frozenset(
    ("/v1/completions", "/v1/chat/completions", "/v1/models", "/tokenize", "/health", "/metrics", "/openapi.json")
)
COMPILERS = 2  # threads that encode prompts and compile schemas and expressions


def make_app(
    engine: EngineThread,
    served: ServedModel,
    limits: Limits | None = None,
    *,
    token: str | None = None,
    hosts: tuple[str, ...] = ("*",),
) -> Starlette:
    """An ASGI application around ``engine``, which it starts and stops.

    Args:
      served: the model, by name and tokenizer.
      token: bearer token that callers must send, except to ``/health``; None: no authentication.
      hosts: accepted values of the ``Host`` header; protects a server without a token against DNS rebinding: web pages
        that resolve their own name to this machine.
    """
    endpoints = _Endpoints(engine, served, limits or Limits())
    guards = [
        Middleware(MetricsMiddleware, metrics=endpoints.metrics, paths=PATHS),
        Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
    ]
    if token:
        guards.append(Middleware(BearerTokenMiddleware, token=token))
    return Starlette(
        routes=[
            Route("/v1/completions", endpoints.completions, methods=["POST"]),
            Route("/v1/chat/completions", endpoints.chat_completions, methods=["POST"]),
            Route("/v1/models", endpoints.models, methods=["GET"]),
            Route("/v1/models/{name:path}", endpoints.model, methods=["GET"]),
            Route("/tokenize", endpoints.tokenize, methods=["POST"]),
            Route("/health", endpoints.health, methods=["GET"]),
            Route("/metrics", endpoints.exposition, methods=["GET"]),
            Route("/openapi.json", endpoints.openapi, methods=["GET"]),
        ],
        middleware=guards,
        exception_handlers={
            ApiError: _api_error,
            InputError: _input_error,
            HTTPException: _http_error,
            ClientDisconnect: _disconnected,
            Exception: _defect,
        },
        lifespan=endpoints.lifespan,
    )


class _Endpoints:
    """The endpoints of one server."""

    def __init__(self, engine: EngineThread, served: ServedModel, limits: Limits):
        self._engine, self._served, self._limits = engine, served, limits
        self._pieces = served.tokenizer.token_bytes()
        self._created = int(time.time())
        self.metrics = ServerMetrics(engine)
        self._compilers = anyio.CapacityLimiter(COMPILERS)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self._engine.start()
        try:
            yield
        finally:
            await self._engine.stop()

    async def health(self, request: Request) -> Response:
        alive = self._engine.alive
        status = "ok" if alive else "stopping"
        return JSONResponse({"status": status, "texts": self._engine.load}, 200 if alive else 503)

    async def exposition(self, request: Request) -> Response:
        return Response(self.metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._model_object(name) for name in self._served.names]})

    async def model(self, request: Request) -> Response:
        return JSONResponse(self._model_object(self._known(request.path_params["name"])))

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(openapi_document(self._served.names))

    async def completions(self, request: Request) -> Response | EventStream:
        return await self._respond(request, "completion", requests.completion)

    async def chat_completions(self, request: Request) -> Response | EventStream:
        return await self._respond(request, "chat", requests.chat_completion)

    async def tokenize(self, request: Request) -> Response:
        body = read_body("tokenize", await read_limited(request, self._limits))
        self._known(body.get("model", self._served.name))
        encode = partial(self._served.prompts.text, body["prompt"], body.get("add_special_tokens"))
        tokens = [int(token) for token in await anyio.to_thread.run_sync(encode, limiter=self._compilers)]
        return JSONResponse({"count": len(tokens), "max_model_len": self._served.max_length, "tokens": tokens})

    def _known(self, name: str) -> str:
        """``name``; raises the 404 if it is none of those that are served."""
        if name not in self._served.names:
            raise unknown_model(name, self._served.names)
        return name

    def _model_object(self, name: str) -> dict:
        base = name == self._served.name
        return {
            "id": name,
            "object": "model",
            "created": self._created,
            "owned_by": "polaris_jax",
            "max_model_len": self._served.max_length,
            "root": self._served.root if base else self._served.adapters[name],
            "parent": None if base else self._served.name,
        }

    async def _respond(
        self, request: Request, kind: str, parse: Callable[..., ParsedRequest]
    ) -> Response | EventStream:
        body = read_body(kind, await read_limited(request, self._limits))
        self._known(body["model"])
        # Long prompts and large schemas take a while, so they must not block the event loop.
        parsed = await anyio.to_thread.run_sync(parse, body, self._served, self._limits, limiter=self._compilers)
        response = ResponseBuilder(parsed, chat=kind == "chat")
        choices = [self._choice(index, parsed) for index in range(len(parsed.requests))]
        handle = self._engine.submit(parsed.requests)
        self.metrics.prompt_tokens.inc(parsed.prompt_tokens)
        if parsed.stream:
            return EventStream(self._chunks(response, choices, handle), handle.cancel)
        try:
            await run_until_disconnect(request.receive, self._collect(choices, handle))
        finally:
            handle.cancel()
        return JSONResponse(response.whole(choices))

    def _choice(self, index: int, parsed: ParsedRequest) -> Choice:
        return Choice(index, parsed, self._pieces, self._engine.engine.end_tokens(parsed.requests[index]))

    async def _collect(self, choices: list[Choice], handle: RequestHandle) -> None:
        async with self._time_limit():
            while any(choice.reason is None for choice in choices):
                await self._take(choices, handle)

    async def _take(self, choices: list[Choice], handle: RequestHandle) -> tuple[Choice, Delta]:
        """Waits for the next event; returns the choice that it belongs to, and what it adds."""
        index, event = await handle.next()
        choice = choices[index]
        if not any(one.begun for one in choices):
            self.metrics.first_token.observe(time.perf_counter() - handle.submitted)
        before = choice.tokens
        delta = choice.take(event)
        self.metrics.generated_tokens.inc(choice.tokens - before)
        if choice.reason is not None:
            self.metrics.finished.labels(choice.reason).inc()
        return choice, delta

    async def _chunks(
        self, response: ResponseBuilder, choices: list[Choice], handle: RequestHandle
    ) -> AsyncIterator[dict[str, Any]]:
        """The chunks of a stream, in the order in which the choices produce them."""
        for choice in choices:
            first = response.first_chunk(choice)
            if first:
                yield first
        try:
            deadline = asyncio.get_running_loop().time() + self._limits.seconds
            while any(choice.reason is None for choice in choices):
                async with self._time_limit(deadline):
                    choice, delta = await self._take(choices, handle)
                if delta.text or delta.thoughts or delta.logprobs or choice.reason:
                    yield response.chunk(choice, delta)
        except ApiError as error:  # the status is sent already
            yield error.body()
            return
        if response.parsed.usage:
            yield response.usage_chunk(choices)

    @contextlib.asynccontextmanager
    async def _time_limit(self, deadline: float | None = None) -> AsyncIterator[None]:
        deadline = deadline or asyncio.get_running_loop().time() + self._limits.seconds
        try:
            async with asyncio.timeout_at(deadline):
                yield
        except TimeoutError:
            message = f"The request took longer than {self._limits.seconds:g} s."
            raise ApiError(503, message, code="timeout") from None


def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body(), error.status, {"Retry-After": "1"} if error.status in (429, 503) else None)


def _input_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, InputError)
    return _api_error(request, ApiError.of(error))


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = ApiError(error.status_code, f"{request.method} {request.url.path[:100]}: {error.detail}").body()
    return JSONResponse(body, error.status_code, error.headers)


def _defect(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse(ApiError(500, "The server has a defect; its log says more.").body(), 500)


def _disconnected(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # the client will not read it
