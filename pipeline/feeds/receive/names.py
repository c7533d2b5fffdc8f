"""The names that rows can be posted to: kinds of records, and sources whose files have a row on each line."""

from __future__ import annotations

import time

from pipeline.core.errors import WrongUsageError
from pipeline.core.home import Home
from pipeline.landing.record_kinds import Kind
from pipeline.landing.sources.source_files import find_source

_SECONDS_KNOWN = 5.0
"""How long a source is known without looking at its file again."""


def check_name(home: Home, name: str) -> None:
    """Raises WrongUsageError if rows cannot be posted to this name."""
    if name in set(Kind):
        return
    source = find_source(home, name)
    if source.rows_at != "$":
        raise WrongUsageError(
            f"Source '{name}' reads whole documents, with its rows at {source.rows_at}: single rows cannot be posted to it.",
            "Post to a source whose rows are at $.",
        )


class Names:
    """The names that the server has looked up. Only known ones are remembered, so senders cannot fill the memory."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._known: dict[str, float] = {}

    def check(self, name: str) -> None:
        """The same as `check_name`."""
        now = time.monotonic()
        if self._known.get(name, float("-inf")) < now:
            self._known.pop(name, None)
            check_name(self._home, name)
            self._known[name] = now + _SECONDS_KNOWN
