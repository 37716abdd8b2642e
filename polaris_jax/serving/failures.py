"""Errors in the shape that OpenAI's clients know how to read."""

from typing import Any

from polaris_jax.errors import InputError


class ApiError(Exception):
    """A refusal: HTTP status and the fields of the error object.

    Attributes:
      status: HTTP status.
      kind: ``error.type``; param: the offending field, or None; code: a word for programs, or None.
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
        """A caller's mistake that another room has found."""
        return cls(400, str(error), param=error.field)


def bad(param: str | None, message: str, code: str | None = None) -> ApiError:
    """A request that says something impossible."""
    return ApiError(400, message, param=param, code=code)


def unknown_model(name: str, served: str) -> ApiError:
    return ApiError(404, f"The model {name[:100]!r} is not served here; this is {served!r}.", param="model",
                    code="model_not_found")  # fmt: skip


def queue_full(limit: int) -> ApiError:
    return ApiError(429, f"{limit} texts are waiting or in work already; try again later.", kind="rate_limit_error",
                    code="queue_full")  # fmt: skip


def stopping() -> ApiError:
    return ApiError(503, "The server is shutting down.", code="shutting_down")
