"""Checks before a request is parsed: its bearer token, its content type, and the size and time of its body."""

import asyncio
import hmac
import json
from collections.abc import Sequence

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from polaris_jax.serving.api_errors import ApiError
from polaris_jax.serving.limits import Limits

OPEN_PATHS = ("/health",)
DRAIN_BYTES = 64 << 20  # beyond the allowed size, still received and dropped


class BearerTokenMiddleware:
    """Lets only requests with ``Authorization: Bearer <token>`` through; ``/health`` needs no token."""

    def __init__(self, app: ASGIApp, token: str):
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS and not self._authorized(scope):
            error = ApiError(
                401,
                "A valid token is required: Authorization: Bearer …",
                kind="authentication_error",
                code="invalid_api_key",
            )
            await send_json(send, error.status, error.body(), [(b"www-authenticate", b"Bearer")])
            return
        await self._app(scope, receive, send)

    def _authorized(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token)


async def send_json(send: Send, status: int, body: dict, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Sends a whole JSON response."""
    content = json.dumps(body).encode()
    fixed = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": content})


async def read_limited(request: Request, limits: Limits) -> bytes:
    """The body of a request.

    A page in a browser cannot send ``application/json`` to another site without a preflight request, so requiring it
    keeps foreign pages away from a server on the user's own machine.

    Raises:
      ApiError: not declared as JSON, too large, or too slow.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "Send JSON, with the header Content-Type: application/json.")
    length = request.headers.get("content-length", "")
    kept = 0 if length.isdecimal() and int(length) > limits.body_bytes else limits.body_bytes
    content, received = bytearray(), 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for piece in request.stream():
                received += len(piece)
                # A client that is cut off never reads the error, so a slightly too large body is received and dropped.
                if received > limits.body_bytes + DRAIN_BYTES:
                    break
                if received <= kept:
                    content += piece
    except TimeoutError:
        raise ApiError(408, f"The body did not arrive within {limits.body_seconds:g} s.") from None
    if received > limits.body_bytes:
        raise ApiError(413, f"The body is larger than {limits.body_bytes} bytes.", code="body_too_large")
    return bytes(content)
