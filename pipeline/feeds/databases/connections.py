"""What the databases share: the connection string from the environment, and errors without it."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.core.errors import BillhouseError, WrongUsageError


def missing_client(package: str, extra: str) -> BillhouseError:
    """The error where an optional client library is not installed."""
    return BillhouseError(
        f"The Python package {package} is not installed.", f"Install Billhouse with it: pip install 'billhouse[{extra}]'."
    )


def failed(
    action: str, error: BaseException, next_step: str = "Run this command again: it continues where it stopped."
) -> BillhouseError:
    """A client library's error, by its first line: libraries add the query, with its values."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return BillhouseError(f"{action}: {lines[0][:300].rstrip('.')}.", next_step)


def check_columns(names: Iterable[str], cursor_column: str | None, shown: str) -> None:
    """Raises WrongUsageError for a column that comes twice, or where the cursor's column is missing."""
    found = list(names)
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise WrongUsageError(f"{shown} has the column '{twice[0]}' twice.", "Give each column its own name with `as`.")
    if cursor_column is not None and cursor_column not in found:
        raise WrongUsageError(
            f"{shown} has no column '{cursor_column}'.", f"Name one of its columns with --cursor-column: {', '.join(found)}."
        )


def unreadable_column(shown: str, column: str, type_name: str) -> WrongUsageError:
    """The error for a column whose type is not collected."""
    return WrongUsageError(
        f"The column '{column}' of {shown} has the type {type_name}, which is not collected.",
        "Leave it out, or cast it to text or a number, in a query: see --query.",
    )
