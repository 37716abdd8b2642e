"""How much one caller, and all callers together, may ask for."""

from dataclasses import dataclass, fields

from polaris_jax.errors import InputError


@dataclass(frozen=True)
class Limits:
    """Bounds of a server; what lies beyond is refused with a clear error.

    Attributes:
      body_bytes: of a request's body.
      body_seconds: to receive it.
      tokens: that one text may be asked to have written.
      choices: texts one request may ask for, prompts times ``n``.
      queue: texts waiting or in work, over all requests.
      seconds: that a request may take in all, waiting included.
      schema_bytes: of a JSON schema or regular expression.
      shutdown_seconds: that requests in work are given to finish when the server is told to stop.
    """

    body_bytes: int = 8 << 20
    body_seconds: float = 30.0
    tokens: int = 65_536
    choices: int = 64
    queue: int = 256
    seconds: float = 3600.0
    schema_bytes: int = 64 << 10
    shutdown_seconds: float = 30.0

    def __post_init__(self):
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise InputError(f"limits.{field.name}", getattr(self, field.name), "must be positive")
