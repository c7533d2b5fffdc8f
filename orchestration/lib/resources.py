"""Resources of the assets."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.core.home import Home


@dataclass(frozen=True)
class BillhouseHome:
    """The home directory: raw/, ledger/, the warehouse, the reports.

    A plain object instead of a configurable resource, so that a run cannot be launched with another home.
    """

    path: str

    @property
    def home(self) -> Home:
        """The home; missing folders are created."""
        return Home.open(self.path)
