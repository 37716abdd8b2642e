"""The HTTP surface: routes, streaming, cancelling, and errors in one shape."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from polaris_jax.errors import InputError
from polaris_jax.serving import requests
from polaris_jax.serving.engine_thread import Batch, EngineThread
from polaris_jax.serving.event_stream import EventStream, unless_gone
from polaris_jax.serving.failures import ApiError, unknown_model
from polaris_jax.serving.guard import TokenGuard, read_limited
from polaris_jax.serving.limits import Limits
from polaris_jax.serving.openapi import document
from polaris_jax.serving.replies import Choice, Reply
from polaris_jax.serving.requests import Asked, Served
from polaris_jax.serving.schema import read_body

logger = logging.getLogger(__name__)
COMPILING = 2  # schemas and expressions compiled at the same time, beside the event loop


def make_app(
    engine: EngineThread,
    served: Served,
    limits: Limits | None = None,
    *,
    token: str | None = None,
    hosts: tuple[str, ...] = ("*",),
) -> Starlette:
    """An ASGI application around ``engine``, which it starts and stops.

    Args:
      served: the model, by name and tokenizer.
      token: callers must present it, except at ``/health``; None lets everybody in.
      hosts: names by which the server may be called (the ``Host`` header); guards a server without a token against
        pages in a browser that resolve their own name to this machine.
    """
    surface = _Surface(engine, served, limits or Limits())
    guards = [Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)]
    if token:
        guards.append(Middleware(TokenGuard, token=token))
    return Starlette(
        routes=[
            Route("/v1/completions", surface.completions, methods=["POST"]),
            Route("/v1/chat/completions", surface.chat_completions, methods=["POST"]),
            Route("/v1/models", surface.models, methods=["GET"]),
            Route("/v1/models/{name:path}", surface.model, methods=["GET"]),
            Route("/health", surface.health, methods=["GET"]),
            Route("/openapi.json", surface.openapi, methods=["GET"]),
        ],
        middleware=guards,
        exception_handlers={
            ApiError: _refuse,
            InputError: lambda request, error: _refuse(request, ApiError.of(error)),
            HTTPException: _refuse_path,
            ClientDisconnect: _gone,
            Exception: _fail,
        },
        lifespan=surface.lifespan,
    )  # fmt: skip


class _Surface:
    """The endpoints of one server."""

    def __init__(self, engine: EngineThread, served: Served, limits: Limits):
        self._engine, self._served, self._limits = engine, served, limits
        self._pieces = served.tokenizer.token_bytes()
        self._created = int(time.time())
        self._compilers = anyio.CapacityLimiter(COMPILING)

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

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def model(self, request: Request) -> Response:
        if request.path_params["name"] != self._served.name:
            raise unknown_model(request.path_params["name"], self._served.name)
        return JSONResponse(self._card())

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(document(self._served.name))

    async def completions(self, request: Request) -> Response:
        return await self._answer(request, "completion", requests.completion)

    async def chat_completions(self, request: Request) -> Response:
        return await self._answer(request, "chat", requests.chat_completion)

    def _card(self) -> dict:
        return {"id": self._served.name, "object": "model", "created": self._created, "owned_by": "polaris_jax",
                "max_model_len": self._served.max_length}  # fmt: skip

    async def _answer(self, request: Request, kind: str, ask: Callable[..., Asked]) -> Response:
        body = read_body(kind, await read_limited(request, self._limits))
        if body["model"] != self._served.name:
            raise unknown_model(body["model"], self._served.name)
        # Long prompts and large schemas take a while: not on the event loop.
        asked = await anyio.to_thread.run_sync(ask, body, self._served, self._limits, limiter=self._compilers)
        reply = Reply(asked, self._served, chat=kind == "chat")
        choices = [self._choice(index, asked) for index in range(len(asked.requests))]
        batch = self._engine.submit(asked.requests)
        if asked.stream:
            return EventStream(self._told(reply, choices, batch), batch.cancel)
        try:
            await unless_gone(request.receive, self._collect(choices, batch))
        finally:
            batch.cancel()
        return JSONResponse(reply.whole(choices))

    def _choice(self, index: int, asked: Asked) -> Choice:
        return Choice(index, asked, self._pieces, self._engine.engine.end_tokens(asked.requests[index]))

    async def _collect(self, choices: list[Choice], batch: Batch) -> None:
        async with self._in_time():
            while any(choice.reason is None for choice in choices):
                index, event = await batch.next()
                choices[index].take(event)

    async def _told(self, reply: Reply, choices: list[Choice], batch: Batch) -> AsyncIterator[dict[str, Any]]:
        """The chunks of a stream, those of all choices as they come."""
        for choice in choices:
            opening = reply.opening(choice)
            if opening:
                yield opening
        try:
            deadline = asyncio.get_running_loop().time() + self._limits.seconds
            while any(choice.reason is None for choice in choices):
                async with self._in_time(deadline):
                    index, event = await batch.next()
                text, logprobs = choices[index].take(event)
                if text or logprobs or event.finish_reason:
                    yield reply.chunk(choices[index], text, logprobs)
        except ApiError as error:  # the status is sent already
            yield error.body()
            return
        if reply.asked.usage:
            yield reply.closing(choices)

    @contextlib.asynccontextmanager
    async def _in_time(self, deadline: float | None = None) -> AsyncIterator[None]:
        deadline = deadline or asyncio.get_running_loop().time() + self._limits.seconds
        try:
            async with asyncio.timeout_at(deadline):
                yield
        except TimeoutError:
            message = f"The request took longer than {self._limits.seconds:g} s."
            raise ApiError(503, message, code="timeout") from None


def _refuse(request: Request, error: ApiError) -> Response:
    return JSONResponse(error.body(), error.status, {"Retry-After": "1"} if error.status in (429, 503) else None)


def _refuse_path(request: Request, error: HTTPException) -> Response:
    said = ApiError(error.status_code, f"{request.method} {request.url.path[:100]}: {error.detail}")
    return JSONResponse(said.body(), error.status_code, error.headers)


def _fail(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse(ApiError(500, "The server has a defect; its log says more.").body(), 500)


def _gone(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=499)  # nobody will read it
