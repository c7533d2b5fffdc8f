"""A file that comes after the close costs what it would have cost on time."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.landing import land_files
from pipeline.ledger.close import close_period
from pipeline.warehouse.build import build
from tests.models.test_against_reference import land_records, project_of
from tests.reference.strategies import random_batch, to_jsonl_parts
from tests.support import query


def billed(home: Home) -> dict[tuple[str, str], Decimal]:
    """What each customer was billed in all, before credits and without what was only carried from one invoice to the next."""
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for line in query(home, "from invoice_lines where line_type <> 'carry_forward'"):
        sums[line["customer_id"], line["currency"]] += line["amount"]
    return {key: amount for key, amount in sums.items() if amount}


@pytest.mark.parametrize("seed", [22, *[24] * ("BILLHOUSE_SOAK" in os.environ)])
def test_closing_two_months_around_a_late_file_bills_what_one_invoice_would_have(
    seed: int, make_home: Callable[[str], Home], tmp_path: Path
) -> None:
    batch = random_batch(Random(seed), 60)
    project = project_of(batch, tmp_path)
    month = BillingPeriod.containing(batch.as_of).previous()
    on_time, late = to_jsonl_parts(batch, tmp_path, 2)
    homes = {"late": make_home("late"), "on-time": make_home("on-time")}
    for home in homes.values():
        land_records(batch, home, tmp_path, project)
        land_files(home, [on_time], seeds=project / "seeds")
    build(homes["late"], month.end, project=project)
    for earlier in sorted({BillingPeriod.parse(row["period"]) for row in query(homes["late"], "from invoices")}):
        if earlier <= month:
            close_period(homes["late"], earlier, force=True, project=project)
    for home in homes.values():
        land_files(home, [late], seeds=project / "seeds")
        build(home, batch.as_of, project=project)
    assert query(homes["late"], "from invoice_lines where is_adjustment") != []
    assert billed(homes["late"]) == billed(homes["on-time"])
    shutil.rmtree(project)
