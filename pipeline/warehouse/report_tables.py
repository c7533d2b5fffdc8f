"""The report tables as described in models/billing/_billing.yml: the contract that each build enforces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.home import PROJECT_ROOT


@dataclass(frozen=True)
class ReportColumn:
    """A column of a report table."""

    name: str
    data_type: str
    """As DuckDB names it."""
    description: str


@dataclass(frozen=True)
class ReportTable:
    """A report table, and how its files are written."""

    name: str
    description: str
    columns: Sequence[ReportColumn]
    order_by: str
    """Columns of a total order, so that the same rows give the same bytes."""
    part: str | None
    """The date column by whose day or month the report is split into files; None: one file."""
    unit: str
    """day or month: the span of one file."""

    def rows_of(self, part: date) -> str:
        """SQL condition of one part's rows."""
        return f"where {self.part} >= date '{part}' and {self.part} < date '{part}' + interval 1 {self.unit}"

    def file_of(self, part: date) -> str:
        """The file name of a part: 2026-09-01.parquet for a day, 2026-09.parquet for a month."""
        return f"{part.isoformat()[: 10 if self.unit == 'day' else 7]}.parquet"


def report_tables(project: Path = PROJECT_ROOT) -> Mapping[str, ReportTable]:
    """Every report table of a project, by name."""
    text = (project / "models" / "billing" / "_billing.yml").read_text(encoding="utf-8")
    described: list[dict[str, Any]] = yaml.load(text, Loader=yaml.CSafeLoader)["models"]
    # dbt wants unique names: the model of a table that is named like a seed has a prefix (billing_plans is the table `plans`).
    tables = (_table(model["name"].removeprefix("billing_"), model) for model in described)
    return {table.name: table for table in tables}


def _table(name: str, model: Mapping[str, Any]) -> ReportTable:
    meta = model["config"]["meta"]
    parts: Mapping[str, str] = meta.get("parts", {})
    columns = [ReportColumn(column["name"], column["data_type"], _one_line(column["description"])) for column in model["columns"]]
    return ReportTable(name, _one_line(model["description"]), columns, meta["order_by"], parts.get("by"), parts.get("unit", ""))


def _one_line(text: str) -> str:
    return " ".join(text.split())
