"""What the assets reach out to."""

import dagster as dg

from pipeline.home import Home


class BillhouseHome(dg.ConfigurableResource[None]):
    """The home directory: raw/, ledger/, the warehouse, the reports."""

    path: str

    @property
    def home(self) -> Home:
        """The home, its folders made where they are missing."""
        return Home.open(self.path)
