"""What the assets reach out to."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.core.home import Home


@dataclass(frozen=True)
class BillhouseHome:
    """The home directory: raw/, ledger/, the warehouse, the reports.

    A plain object and no configuration: a run cannot be launched with another home.
    """

    path: str

    @property
    def home(self) -> Home:
        """The home, its folders made where they are missing."""
        return Home.open(self.path)
