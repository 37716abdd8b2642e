"""Server-sent events to a client that may leave at any moment, and work that nobody waits for any more."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]  # fmt: skip


class EventStream:
    """An ASGI response of one event per item of ``chunks``, closed by ``[DONE]``.

    Args:
      chunks: JSON values, as they come.
      cancel: called in the end, however it comes.
    """

    def __init__(self, chunks: AsyncIterator[dict[str, Any]], cancel: Callable[[], None]):
        self._chunks, self._cancel = chunks, cancel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_gone(receive, self._send_all(send))
        except (ClientDisconnect, OSError):
            pass  # the client has left: there is nobody to tell
        finally:
            self._cancel()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        async for chunk in self._chunks:
            line = json.dumps(chunk, ensure_ascii=False)
            await send({"type": "http.response.body", "body": f"data: {line}\n\n".encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Does ``work`` unless the client disconnects first.

    Raises:
      ClientDisconnect: it did; the work is cancelled.
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
