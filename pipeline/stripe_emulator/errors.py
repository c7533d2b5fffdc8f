"""Stripe's error responses."""

from __future__ import annotations

from typing import Any


class RefusalError(Exception):
    """A request that Stripe would refuse; `error` is the response's error object."""

    def __init__(
        self, message: str, *, status: int = 400, type: str = "invalid_request_error", code: str = "", param: str = ""
    ) -> None:
        self.status = status
        self.error: dict[str, Any] = {"message": message, "type": type}
        if code:
            self.error["code"] = code
        if param:
            self.error["param"] = param
        super().__init__(message)

    @property
    def is_stored(self) -> bool:
        """Whether it is stored under the idempotency key; not if the call did not begin, e.g. for an invalid parameter."""
        return self.status in (400, 402, 404) and not str(self.error.get("code", "")).startswith("parameter_")


def missing(kind: str, id: str, param: str = "id") -> RefusalError:
    """No such object."""
    return RefusalError(f"No such {kind}: '{id}'", status=404, code="resource_missing", param=param)


def required(param: str) -> RefusalError:
    """A required parameter is missing."""
    return RefusalError(f"Missing required param: {param}.", code="parameter_missing", param=param)
