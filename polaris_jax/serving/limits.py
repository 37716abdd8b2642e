"""Limits per request and for all requests together."""

from dataclasses import dataclass, fields

from polaris_jax.errors import InputError


@dataclass(frozen=True)
class Limits:
    """Limits of a server; a request beyond them is refused.

    Attributes:
      body_bytes: size of a request's body.
      body_seconds: time to receive the body.
      header_seconds: time to receive a request's line and headers, from the connection or their first byte on.
      connections: open at once; beyond that, the one that has waited longest without a request is closed.
      tokens: most tokens that a request may ask for per text.
      choices: texts of one request, prompts times ``n``.
      queue: texts waiting or active, over all requests.
      seconds: total time of a request, waiting included.
      schema_bytes: size of a JSON schema or regular expression.
      shutdown_seconds: time for active requests to finish when the server is told to stop.
    """

    body_bytes: int = 8 << 20
    body_seconds: float = 30.0
    header_seconds: float = 10.0
    connections: int = 1024
    tokens: int = 65_536
    choices: int = 64
    queue: int = 256
    seconds: float = 3600.0
    schema_bytes: int = 64 << 10
    shutdown_seconds: float = 30.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise InputError(f"limits.{field.name}", getattr(self, field.name), "must be positive")
