"""The report tables as models/billing/_billing.yml describes them: the contract that each build enforces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.home import PROJECT_ROOT


@dataclass(frozen=True)
class Column:
    """A column of a report table."""

    name: str
    data_type: str
    """As DuckDB names it."""
    description: str


@dataclass(frozen=True)
class ReportTable:
    """A report table, and how it is written."""

    name: str
    description: str
    columns: Sequence[Column]
    order_by: str
    """A total order of its rows, so that the same rows give the same bytes."""
    part: str | None
    """The column whose day or month says which part a row is in; None: the report is written whole."""
    unit: str
    """What a part is: day or month."""

    def rows_of(self, part: date) -> str:
        """SQL that chooses a part's rows."""
        return f"where {self.part} >= date '{part}' and {self.part} < date '{part}' + interval 1 {self.unit}"

    def file_of(self, part: date) -> str:
        """The name of a part's file, which says its day or month."""
        return f"{part.isoformat()[: 10 if self.unit == 'day' else 7]}.parquet"


def report_tables(project: Path = PROJECT_ROOT) -> Mapping[str, ReportTable]:
    """Every report table of a project, by name."""
    text = (project / "models" / "billing" / "_billing.yml").read_text(encoding="utf-8")
    described: list[dict[str, Any]] = yaml.load(text, Loader=yaml.CSafeLoader)["models"]
    # A model that would be called as a seed is has another name in its layer: billing_plans is the table `plans`.
    tables = (_table(model["name"].removeprefix("billing_"), model) for model in described)
    return {table.name: table for table in tables}


def _table(name: str, model: Mapping[str, Any]) -> ReportTable:
    meta = model["config"]["meta"]
    parts: Mapping[str, str] = meta.get("parts", {})
    columns = [Column(column["name"], column["data_type"], _one_line(column["description"])) for column in model["columns"]]
    return ReportTable(name, _one_line(model["description"]), columns, meta["order_by"], parts.get("by"), parts.get("unit", ""))


def _one_line(text: str) -> str:
    return " ".join(text.split())
