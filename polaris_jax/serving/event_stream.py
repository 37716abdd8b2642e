"""Server-sent events, and work that ends when the client disconnects."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class EventStream:
    """An ASGI response of one event per item of ``chunks``, closed by ``[DONE]``.

    Args:
      chunks: JSON values, each sent when it arrives.
      cancel: called at the end, whatever the reason.
    """

    def __init__(self, chunks: AsyncIterator[dict[str, Any]], cancel: Callable[[], None]):
        self._chunks, self._cancel = chunks, cancel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await run_until_disconnect(receive, self._send_all(send))
        except (ClientDisconnect, OSError):
            pass  # the client has disconnected
        finally:
            self._cancel()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        async for chunk in self._chunks:
            line = json.dumps(chunk, ensure_ascii=False)
            await send({"type": "http.response.body", "body": f"data: {line}\n\n".encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


async def run_until_disconnect(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Awaits ``work`` unless the client disconnects first.

    Raises:
      ClientDisconnect: the client disconnected; the work is cancelled.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
