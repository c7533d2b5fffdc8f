"""Charge models at every edge, in the warehouse, against tables computed by hand: docs/reference/billing-rules.md, section 5."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline.core.home import PROJECT_ROOT
from pipeline.landing import land_files
from pipeline.warehouse.build import build
from tests.support import copy_home, event, query, write_jsonl

GRADUATED = [("0", "10", "10", "2"), ("10", "20", "5", "3"), ("20", "", "5", "3")]
VOLUME = [("0", "10", "10", "2"), ("10", "20", "5", "3"), ("20", "", "1", "0")]

# quantity -> amount
WORKED = {
    # (0,10] at 10 + flat 2; (10,20] at 5 + flat 3; above at 5 + flat 3: each tier prices its own slice.
    "graduated": {
        "0": "2.00",
        "1": "12.00",
        "2.5": "27.00",
        "10": "102.00",
        "10.5": "107.50",
        "11": "110.00",
        "20": "155.00",
        "21": "163.00",
        "1020": "5158.00",
    },
    # The tier that is reached prices all.
    "volume": {
        "0": "2.00",
        "1": "12.00",
        "2.5": "27.00",
        "10": "102.00",
        "10.5": "55.50",
        "11": "58.00",
        "20": "103.00",
        "21": "21.00",
        "1020": "1020.00",
    },
    # Packages of 10 at 7: a package once begun is due.
    "package": {
        "0": "0.00",
        "1": "7.00",
        "2.5": "7.00",
        "10": "7.00",
        "10.5": "14.00",
        "11": "14.00",
        "20": "14.00",
        "21": "21.00",
        "1020": "714.00",
    },
    "per_unit": {
        "0": "0.00",
        "1": "0.01",
        "2.5": "0.01",
        "10": "0.05",
        "10.5": "0.05",
        "11": "0.06",
        "20": "0.10",
        "21": "0.11",
        "1020": "5.10",
    },
}
"""Per unit at 0.005: half cents go away from zero."""


@pytest.fixture(scope="module")
def amounts(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> dict[tuple[str, str], Decimal]:
    """The amount of every (charge model, quantity): a customer each, on a contract with that model for tokens."""
    folder = tmp_path_factory.mktemp("charge-models")
    project = folder / "project"
    project.mkdir()
    for name in ("dbt_project.yml", "profiles.yml", "models", "macros", "tests"):
        (project / name).symlink_to(PROJECT_ROOT / name)
    shutil.copytree(PROJECT_ROOT / "seeds", project / "seeds")
    contracts, rates, tiers, usage = [], [], [], []
    for model, table in WORKED.items():
        for quantity in table:
            customer = f"{model}-{quantity}"
            contracts.append(f"{customer},{customer},{customer},2026-09-01T00:00:00Z,,USD,,,,,,,")
            price = {"package": "7", "per_unit": "0.005"}.get(model, "")
            size = "10" if model == "package" else ""
            rates.append(f"{customer}-rate,,{customer},tokens,USD,2026-09-01T00:00:00Z,{model},{price},{size},0,")
            for tier in {"graduated": GRADUATED, "volume": VOLUME}.get(model, []):
                tiers.append(",".join([f"{customer}-rate", *tier]))
            nothing = {"vcpu_count": 0, "memory_gb": 0, "storage_gb": 0}
            usage.append(event("start", "2026-09-02T00:00:00Z", user=customer, sandbox=customer, tokens=quantity, **nothing))
            usage.append(event("stop", "2026-09-02T00:00:01Z", user=customer, sandbox=customer))
    for name, rows in (("contracts", contracts), ("rates", rates), ("rate_tiers", tiers)):
        with (project / "seeds" / f"{name}.csv").open("a") as lines:
            lines.write("\n".join(rows) + "\n")
    home = copy_home(parsed_project, folder / "home")
    summary = land_files(home, [write_jsonl(folder / "usage.jsonl", usage)], seeds=project / "seeds")
    assert summary.quarantined == 0
    build(home, project=project)
    lines_of = query(home, "from invoice_lines where meter_id = 'tokens' and service_period = '2026-09'")
    return {(row["customer_id"].rsplit("-", 1)[0], row["customer_id"].rsplit("-", 1)[1]): row["amount"] for row in lines_of}


@pytest.mark.parametrize("model", WORKED)
def test_a_charge_model_agrees_with_the_table_worked_by_hand(model: str, amounts: dict[tuple[str, str], Decimal]) -> None:
    nothing_due = {quantity for quantity, amount in WORKED[model].items() if quantity == "0" and Decimal(amount) == 0}
    expected = {quantity: Decimal(amount) for quantity, amount in WORKED[model].items() if quantity not in nothing_due}
    assert {quantity: amount for (of, quantity), amount in amounts.items() if of == model} == expected
