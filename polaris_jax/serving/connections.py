"""Limits for connections without a request: a time limit, and closing them before the server is full.

Every open connection takes a file descriptor. Without limits, a client that opens many and never finishes a request
could lock out everybody else.
"""

import asyncio
import contextlib
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from polaris_jax.serving.limits import Limits

# File descriptors for everything except connections: weights, listening sockets, the compilation cache.
RESERVED_FILES = 128


def connection_limit(limits: Limits) -> int:
    """``limits.connections``, or fewer where the process may not open that many files."""
    with contextlib.suppress(ImportError):  # POSIX only
        import resource

        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if files != resource.RLIM_INFINITY:
            return max(min(limits.connections, files - RESERVED_FILES), 1)
    return limits.connections


def protocol_with_limits(limits: Limits) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1 protocol, in which headers must arrive within ``limits.header_seconds``.

    When more than ``connection_limit`` connections are open, the one that has waited longest without a request is
    closed.
    """
    most = connection_limit(limits)
    idle: dict[H11Protocol, None] = {}  # in the order in which they began to wait

    class LimitedProtocol(H11Protocol):
        _header_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()
            if len(self.connections) > most and idle:
                oldest = next(iter(idle))
                assert isinstance(oldest, LimitedProtocol)
                oldest._give_up()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch(begun=False)

        def _watch(self, begun: bool = True) -> None:
            """Follows the state of the connection; an idle one between requests has uvicorn's own time limit."""
            if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
                self._stop_waiting()
            elif begun:
                self._wait()
            else:
                idle[self] = None

        def _wait(self) -> None:
            idle.setdefault(self, None)
            if self._header_timer is None:
                self._header_timer = self.loop.call_later(limits.header_seconds, self._give_up)

        def _stop_waiting(self) -> None:
            idle.pop(self, None)
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None

        def _give_up(self) -> None:
            self._stop_waiting()
            self.connections.discard(self)
            self.transport.abort()

    return LimitedProtocol


def protocol_settings(limits: Limits) -> dict[str, Any]:
    """The settings of uvicorn's ``Config`` that this module decides.

    At twice the connection limit, every connection has an active request, and further requests get status 503.
    """
    return {"http": protocol_with_limits(limits), "limit_concurrency": 2 * connection_limit(limits)}
