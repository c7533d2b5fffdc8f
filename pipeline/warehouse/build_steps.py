"""The steps of a build, and failed ones as an error with the first rows that a check found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from pipeline.core.errors import BillhouseError
from pipeline.core.failures import find_system_error
from pipeline.core.home import Home
from pipeline.core.plain_text import plain_line
from pipeline.warehouse.connection import open_warehouse

COLUMN_RULES = "columns_follow_their_rules"
"""The check that runs the generic tests of all models in one query (tests/warehouse)."""
_SHOWN_FAILURES = 20
"""Failed steps listed in the error message."""
_SHOWN_ROWS = 3
"""Rows listed for each failed check."""
_NODE_NAMES = {"model": "model", "seed": "price book file", "test": "check"}
_UNCHANGED_REPORTS = "The reports are unchanged since the last successful build."


@dataclass(frozen=True)
class BuildStep:
    """One seed, model or check that a build ran."""

    unique_id: str
    """As in dbt's manifest: model.billhouse.invoices."""
    status: str
    """success, pass, warn, fail, error or skipped."""
    seconds: float
    failures: int | None = None
    """Rows that a check found wrong."""
    message: str = ""

    @property
    def has_failed(self) -> bool:
        return self.status in ("error", "fail", "runtime error")


class BuildFailedError(BillhouseError):
    """Models or checks failed; the reports are unchanged since the last successful build."""

    def __init__(self, message: str, next_step: str, steps: Sequence[BuildStep]) -> None:
        self.steps = steps
        super().__init__(message, next_step)


@dataclass(frozen=True)
class _Failure:
    """A failed step, and the query that finds the rows that a check found."""

    node: Any
    step: BuildStep
    query: str = ""

    @property
    def text(self) -> str:
        kind = _NODE_NAMES.get(str(self.node.resource_type), "step")
        description = self.node.description.strip() if kind == "check" and self.node.description else ""
        return f"{kind} {self.node.name}{f' ({description})' if description else ''}: {self.step.message}"


def build_steps(home: Home, results: Sequence[Any], nodes: Mapping[str, Any], log: Path) -> list[BuildStep]:
    """The steps of dbt's results. `nodes`: of the project, by unique id; `log`: dbt's log.

    Raises BuildFailedError where a step failed. Its steps name the failed generic tests one by one.
    """
    steps = [
        BuildStep(result.node.unique_id, str(result.status), result.execution_time, result.failures, _message(result))
        for result in results
    ]
    failed = [(result, step) for result, step in zip(results, steps, strict=True) if step.has_failed]
    if not failed:
        return steps
    failures = [failure for result, step in failed for failure in _failures(home, result.node, step, nodes)]
    steps += [failure.step for failure in failures if failure.step not in steps]
    by_system = (find_system_error(failure.step.message) for failure in failures)
    if (known := next(filter(None, by_system), None)) is not None:
        raise BuildFailedError(f"{known.message} The build stopped. {_UNCHANGED_REPORTS}", known.next_step, steps)
    listed = "\n".join(f"  {failure.text}{_failing_rows(home, failure.query)}" for failure in failures[:_SHOWN_FAILURES])
    raise BuildFailedError(
        f"{len(failed)} of {len(results)} steps of the build failed. {_UNCHANGED_REPORTS}\n{listed}\n",
        f"The log is in {log}.",
        steps,
    )


def _failures(home: Home, node: Any, step: BuildStep, nodes: Mapping[str, Any]) -> Iterator[_Failure]:
    """The step itself; for the check of column rules, the generic tests that failed in it."""
    query = (getattr(node, "compiled_code", None) or "") if str(node.resource_type) == "test" else ""
    found = _rows(home, query) if node.name == COLUMN_RULES and step.status == "fail" else []
    for row in found:
        message = f"Got {row['failing_rows']} result{'s' if row['failing_rows'] != 1 else ''}, configured to fail if != 0"
        test = BuildStep(row["check_id"], "fail", step.seconds, row["failing_rows"], message)
        yield _Failure(nodes[row["check_id"]], test, row["failing_query"])
    if not found:
        yield _Failure(node, step, query)


def _message(result: Any) -> str:
    return " ".join(str(result.message or "").split())


def _failing_rows(home: Home, query: str) -> str:
    """The first rows that a failed check found, a line each, such as 'customer_id paula, period 2026-09'."""
    if not query:
        return ""
    rows = _rows(home, f"select * from ({query}) as found limit {_SHOWN_ROWS}")
    return "".join(
        "\n    " + ", ".join(f"{column} {plain_line(value)}" for column, value in row.items() if value is not None)
        for row in rows
    )


def _rows(home: Home, query: str) -> list[dict[str, Any]]:
    """A query's rows; none where the check itself is broken, or ran on another engine: the log has the error."""
    try:
        with open_warehouse(home) as warehouse:
            found = warehouse.execute(query)
            columns = [column[0] for column in found.description or ()]
            return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
    except (duckdb.Error, BillhouseError):
        return []
