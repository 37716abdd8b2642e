"""Runs the application: host and port, allowed host names, graceful shutdown."""

import asyncio
import contextlib
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from polaris_jax.errors import InputError
from polaris_jax.serving.connections import protocol_settings
from polaris_jax.serving.limits import Limits

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
FAREWELL = 5  # seconds to send errors to clients whose requests did not finish in time


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def hosts_for(host: str, token: str | None) -> tuple[str, ...]:
    """The host names that a server at ``host`` accepts.

    Raises:
      InputError: other machines can reach it and there is no token.
    """
    if token:
        return ("*",)
    if not is_loopback(host):
        raise InputError("--host", host, "can be reached from other machines: give a token (--token-env=NAME)")
    return (*LOOPBACK_NAMES, host)


class _Server(uvicorn.Server):
    """uvicorn that calls ``on_ready`` with its URL, and returns on a signal instead of raising it again.

    ``on_timeout`` is called when requests are still active ``patience`` seconds after the signal.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        on_ready: Callable[[str], None],
        on_timeout: Callable[[], None],
        patience: float,
    ):
        super().__init__(config)
        self._on_ready, self._on_timeout, self._patience = on_ready, on_timeout, patience

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        timer = asyncio.get_running_loop().call_later(self._patience, self._on_timeout)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(
    app: ASGIApp,
    host: str,
    port: int,
    limits: Limits,
    on_ready: Callable[[str], None],
    on_timeout: Callable[[], None] = lambda: None,
) -> None:
    """Serves ``app`` until SIGTERM or SIGINT.

    Then it accepts no more connections, lets active requests finish within ``limits.shutdown_seconds`` (a second signal
    ends that time), and returns.

    Args:
      port: 0 takes any free port.
      on_ready: called with the server's URL once it listens.
      on_timeout: called when that time is up, to end what is still active (``EngineThread.end_all``).

    Raises:
      InputError: the server cannot listen there.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=64 << 10,
        ws="none",
        **protocol_settings(limits),
        timeout_graceful_shutdown=int(limits.shutdown_seconds) + FAREWELL,
    )
    server = _Server(config, on_ready, on_timeout, limits.shutdown_seconds)
    try:
        server.run()
    except SystemExit as error:
        raise InputError("--port", port, f"cannot listen at {host}:{port}; is something else there?") from error
