"""What an exported table is: its columns, its rows, and how a value reads in a spreadsheet and in CSV."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

Row = tuple[object, ...]


class ColumnKind(Enum):
    """What the values of a column are."""

    TEXT = auto()
    MONEY = auto()
    """DECIMAL(18,3), in the currency that the row's `currency` column names."""
    QUANTITY = auto()
    """DECIMAL(38,12)."""
    PRICE = auto()
    """DECIMAL(38,12): the amount of one unit."""
    WHOLE = auto()
    BOOLEAN = auto()
    DATE = auto()
    INSTANT = auto()
    """TIMESTAMPTZ, read and written in UTC."""


@dataclass(frozen=True)
class Column:
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
    columns: tuple[Column, ...]
    order_by: tuple[str, ...]
    """A total order, so that the same rows always give the same bytes."""
    source: str = ""
    """SQL of the rows, where they are not simply the table's of the period. Its one parameter is $period, 'YYYY-MM'."""
    follows_stripe: bool = False
    """Whether the rows change with what Stripe says, also after the close: they are as of the build."""

    @property
    def rows(self) -> str:
        """SQL of the rows of one period, unordered."""
        return self.source or f"select * from {self.name} where period = $period"

    @property
    def select_period(self) -> str:
        """SQL for the rows of one period ($period), in order; instants come as naive UTC."""
        shown = ", ".join(
            f"{column.name} at time zone 'UTC' as {column.name}" if column.kind is ColumnKind.INSTANT else column.name
            for column in self.columns
        )
        return f"select {shown} from ({self.rows}) as exported order by {', '.join(self.order_by)}"

    def index(self, column_name: str) -> int:
        """The place of a column, from 0."""
        return next(place for place, column in enumerate(self.columns) if column.name == column_name)
