"""A request that is not stored: the status and the reason of its answer."""

from __future__ import annotations

from pipeline.core.plain_text import plain_line


class RefusalError(Exception):
    """Nothing of the request is stored. `retry_after`: seconds after which the sender may send it again, if that can help."""

    def __init__(self, status: int, reason: str, *, retry_after: int | None = None) -> None:
        self.status = status
        self.reason = plain_line(reason)
        self.retry_after = retry_after
        super().__init__(self.reason)
