"""Stripe's errors: what is wrong, in the body Stripe answers with."""

from __future__ import annotations

from typing import Any


class RefusalError(Exception):
    """A request that Stripe would refuse."""

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
    def is_remembered(self) -> bool:
        """Whether it stands under the idempotency key: not where the call did not begin, as with a wrong parameter."""
        return self.status in (400, 402, 404) and not str(self.error.get("code", "")).startswith("parameter_")


def missing(kind: str, id: str, param: str = "id") -> RefusalError:
    """No object of that id."""
    return RefusalError(f"No such {kind}: '{id}'", status=404, code="resource_missing", param=param)


def required(param: str) -> RefusalError:
    """A parameter that must be there is not."""
    return RefusalError(f"Missing required param: {param}.", code="parameter_missing", param=param)
