"""The definition of an exported table: its columns, their kinds, and the SQL of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class ColumnKind(Enum):
    """The kind of a column's values."""

    TEXT = auto()
    MONEY = auto()
    """DECIMAL(18,3), in the currency of the row's `currency` column."""
    QUANTITY = auto()
    """DECIMAL(38,12)."""
    PRICE = auto()
    """DECIMAL(38,12): the amount of one unit."""
    WHOLE = auto()
    BOOLEAN = auto()
    DATE = auto()
    INSTANT = auto()
    """TIMESTAMPTZ, exported in UTC."""


@dataclass(frozen=True)
class ExportColumn:
    """A column of a report table, and its heading in the workbook."""

    name: str
    heading: str
    kind: ColumnKind = ColumnKind.TEXT
    width: int = 16
    """In characters."""


@dataclass(frozen=True)
class ExportTable:
    """Rows of the reports that are exported: `<name>.csv`, `<name>.parquet`, and a sheet of the workbook."""

    name: str
    sheet: str
    columns: tuple[ExportColumn, ...]
    order_by: tuple[str, ...]
    """Columns of a total order, so that the same rows always give the same bytes."""
    source: str = ""
    """SQL of the rows, where they are not the report table's rows of the period. Parameter: $period, 'YYYY-MM'."""
    follows_stripe: bool = False
    """Whether the rows are as of the last build and follow Stripe, even after the month is closed."""

    @property
    def rows(self) -> str:
        """SQL of one period's rows, unordered."""
        return self.source or f"select * from {self.name} where period = $period"

    @property
    def select_period(self) -> str:
        """SQL of one period's rows ($period), in order; instants as timestamps in UTC without a zone."""
        shown = ", ".join(
            f"{column.name} at time zone 'UTC' as {column.name}" if column.kind is ColumnKind.INSTANT else column.name
            for column in self.columns
        )
        return f"select {shown} from ({self.rows}) as exported order by {', '.join(self.order_by)}"

    def index(self, column_name: str) -> int:
        """The position of a column, from 0."""
        return next(place for place, column in enumerate(self.columns) if column.name == column_name)
