"""Reads the price book (seeds/*.csv). dbt loads the same files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from pipeline.core.errors import PriceBookError, Problem
from pipeline.core.home import PROJECT_ROOT
from pipeline.pricebook.schema import FILES, Plan, PriceBookRows, SeedRow, SeedSchema
from pipeline.pricebook.seed_files import read_seed

SEEDS = PROJECT_ROOT / "seeds"
DEFAULT_CURRENCY = "USD"
"""The currency of customers and credit grants whose records name none. Billing rules, section 5."""


def read_price_book(seeds: Path = SEEDS) -> tuple[PriceBookRows, list[Problem]]:
    """The valid rows of each file, and a problem for each row and file that is not valid by itself."""
    problems: list[Problem] = []
    return {name: list(read_rows(seeds / name, schema, problems)) for name, schema in FILES.items()}, problems


def price_book_hash(seeds: Path = SEEDS) -> str:
    """SHA-256 of the seed files; a close records it."""
    digest = hashlib.sha256()
    for name in sorted(FILES):
        digest.update(name.encode() + b"\0" + (seeds / name).read_bytes() + b"\0")
    return digest.hexdigest()


def known_ids(file: str, column: str, seeds: Path = SEEDS) -> frozenset[str]:
    """The values of one column of one seed file, such as all plan ids. Raises PriceBookError if it cannot be read."""
    return frozenset(row[column] for row in _cells(seeds / file, column))


def first_versions(seeds: Path = SEEDS) -> dict[str, datetime]:
    """By plan, the instant of its first version. Ignores invalid rows."""
    first: dict[str, datetime] = {}
    for _, plan in read_rows(seeds / "plans.csv", FILES["plans.csv"], []):
        if isinstance(plan, Plan):
            first[plan.plan_id] = min(plan.valid_from, first.get(plan.plan_id, plan.valid_from))
    return first


def minor_unit_digits(seeds: Path = SEEDS) -> tuple[tuple[str, int], ...]:
    """(currency, decimals of its minor unit) of every currency of the price book: USD 2, JPY 0."""
    rows = _cells(seeds / "currencies.csv", "currency", "minor_unit_digits")
    return tuple((row["currency"], int(row["minor_unit_digits"])) for row in rows)


def replaced_ids(rows: PriceBookRows, file: str) -> frozenset[object]:
    """The ids of the rows of a file that other rows of it correct."""
    column = FILES[file].replaces
    return frozenset(getattr(row, column) for _, row in rows[file]) - {None} if column else frozenset()


def shown_path(path: Path | str) -> str:
    """How messages name a seed file: seeds/rates.csv."""
    return f"seeds/{Path(path).name}"


def _cells(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of one file as text. Landing uses it, since it does not need the rest of the price book to be valid."""
    seed = read_seed(path)
    missing = [column for column in columns if column not in seed.header]
    if not seed.is_readable or missing:
        reason = f"has no column {', '.join(missing)}."
        raise PriceBookError(seed.problems or [Problem(shown_path(path), 1, reason, "Add it to the header.")])
    return [row for _, row in seed.rows]


def read_rows(path: Path, schema: SeedSchema, problems: list[Problem]) -> Iterator[tuple[int, SeedRow]]:
    """The valid rows of one file, each with its line number; appends a problem to `problems` for each other row."""
    shown = shown_path(path)
    if not path.is_file():
        problems.append(Problem(shown, None, "is missing.", f"Restore it. A price book consists of {', '.join(FILES)}."))
        return
    seed = read_seed(path)
    problems += seed.problems
    if not seed.is_readable:
        return
    required = {name for name, field in schema.row.model_fields.items() if field.is_required()}
    missing = required - set(seed.header)
    if missing:
        problems.append(Problem(shown, 1, f"has no column {', '.join(sorted(missing))}.", "Add it to the header."))
        return
    for line, cells in seed.rows:
        try:
            yield line, schema.row.model_validate(cells)
        except ValidationError as error:
            for detail in error.errors():
                column = str(detail["loc"][0])
                problems.append(Problem(shown, line, f"{column} is '{cells.get(column)}': {detail['msg']}.", "Correct the cell."))
