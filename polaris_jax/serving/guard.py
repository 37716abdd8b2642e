"""Before a request is looked at: may its sender ask at all, and is it small and quick enough to be read?"""

import asyncio
import hmac
import json

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from polaris_jax.serving.failures import ApiError
from polaris_jax.serving.limits import Limits

OPEN_PATHS = ("/health",)
PATIENCE = 64 << 20  # bytes beyond the allowed size that are still received


class TokenGuard:
    """Lets only requests with ``Authorization: Bearer <token>`` through; ``/health`` is for everybody."""

    def __init__(self, app: ASGIApp, token: str):
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS and not self._knows(scope):
            error = ApiError(401, "A valid token is required: Authorization: Bearer …", kind="authentication_error",
                             code="invalid_api_key")  # fmt: skip
            await send_json(send, error.status, error.body(), [(b"www-authenticate", b"Bearer")])
            return
        await self._app(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token)


async def send_json(send: Send, status: int, body: dict, headers: list[tuple[bytes, bytes]] = ()) -> None:
    """A whole JSON answer."""
    content = json.dumps(body).encode()
    fixed = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": content})


async def read_limited(request: Request, limits: Limits) -> bytes:
    """The body of a request.

    A page in a browser cannot send ``application/json`` to another site without asking first, so insisting on it keeps
    strangers' pages away from a server on one's own machine.

    Raises:
      ApiError: not JSON by its own account, too large, or too slow.
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
                # A sender that is cut off never reads why: what is a little too large is received and forgotten.
                if received > limits.body_bytes + PATIENCE:
                    break
                if received <= kept:
                    content += piece
    except TimeoutError:
        raise ApiError(408, f"The body did not arrive within {limits.body_seconds:g} s.") from None
    if received > limits.body_bytes:
        raise ApiError(413, f"The body is larger than {limits.body_bytes} bytes.", code="body_too_large")
    return bytes(content)
