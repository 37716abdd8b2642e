"""Running the application: where it listens, who may reach it, and how it ends."""

import contextlib
import ipaddress
import signal
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from polaris_jax.errors import InputError
from polaris_jax.serving.limits import Limits

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
CONNECTIONS = 1024  # open at once; further ones are told to come back


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def hosts_for(host: str, token: str | None) -> tuple[str, ...]:
    """The names that a server at ``host`` answers to.

    Raises:
      InputError: others than this machine can reach it and there is no token.
    """
    if token:
        return ("*",)
    if not is_loopback(host):
        raise InputError("--host", host, "can be reached from other machines: give a token (--token-env=NAME)")
    return (*LOOPBACK_NAMES, host)


class _Server(uvicorn.Server):
    """uvicorn, saying where it listens once it does, and ending with an exit code instead of by the signal."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[str], None]):
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets=None) -> None:
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


def serve(app: ASGIApp, host: str, port: int, limits: Limits, on_ready: Callable[[str], None]) -> None:
    """Serves ``app`` until SIGTERM or SIGINT.

    Then no connection is taken in any more, requests in work may finish within ``limits.shutdown_seconds`` (a second
    signal cuts that short), and it returns.

    Args:
      port: 0 takes any free one.
      on_ready: called with the server's URL once it listens.

    Raises:
      InputError: it cannot listen there.
    """
    config = uvicorn.Config(
        app, host=host, port=port, log_config=None, log_level="error", access_log=False, server_header=False,
        limit_concurrency=CONNECTIONS, timeout_keep_alive=30, h11_max_incomplete_event_size=64 << 10, ws="none",
        timeout_graceful_shutdown=max(int(limits.shutdown_seconds), 1),
    )  # fmt: skip
    server = _Server(config, on_ready)
    try:
        server.run()
    except SystemExit as error:
        raise InputError("--port", port, f"cannot listen at {host}:{port}; is something else there?") from error
