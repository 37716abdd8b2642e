"""Errors in the format of OpenAI's API."""

from collections.abc import Sequence
from typing import Any

from polaris_jax.errors import InputError


class ApiError(Exception):
    """An error response: HTTP status and the fields of the error object.

    Attributes:
      status: HTTP status.
      kind: ``error.type``; param: the offending field, or None; code: machine-readable, or None.
    """

    def __init__(self, status: int, message: str, *, kind: str = "", param: str | None = None, code: str | None = None):
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.kind = kind or ("invalid_request_error" if status < 500 else "server_error")

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    @classmethod
    def of(cls, error: InputError) -> "ApiError":
        """Status 400 for a caller's mistake."""
        return cls(400, str(error), param=error.field)


def invalid_request(param: str | None, message: str, code: str | None = None) -> ApiError:
    """Status 400: a field is wrong."""
    return ApiError(400, message, param=param, code=code)


def unknown_model(name: str, served: Sequence[str]) -> ApiError:
    """Status 404: ``name`` is none of those that are served."""
    names = " or ".join(map(repr, served[:12]))
    return ApiError(
        404, f"The model {name[:100]!r} is not served here; this is {names}.", param="model", code="model_not_found"
    )


def queue_full(limit: int) -> ApiError:
    """Status 429: ``limit`` texts are waiting or active."""
    return ApiError(
        429,
        f"{limit} texts are waiting or active already; try again later.",
        kind="rate_limit_error",
        code="queue_full",
    )


def shutting_down() -> ApiError:
    """Status 503: the server takes no more requests."""
    return ApiError(503, "The server is shutting down.", code="shutting_down")
