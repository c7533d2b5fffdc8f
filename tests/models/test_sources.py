"""The sources of the models: every collection that is written, described, and read through dbt alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.core.home import PROJECT_ROOT
from pipeline.exports.table_definitions import EXPORT_TABLES
from pipeline.store.all_collections import COLLECTIONS
from pipeline.store.closes import SCHEMAS as CLOSES
from pipeline.warehouse.build_inputs import parts_with_few_readers, readers

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest


def _source_of(folder: str) -> tuple[str, str]:
    """raw/stripe/events -> stripe, events; raw/voids -> raw, voids; ledger/alerts -> ledger, alerts."""
    *parents, name = folder.split("/")
    return parents[-1], name


WRITTEN = {
    **{_source_of(collection.folder): collection.schema.names for collection in COLLECTIONS},
    **{("closes", name): schema.names for name, schema in CLOSES.items()},
}
"""The columns of every collection that the code writes, by source and table."""


def test_every_collection_is_a_source_with_the_columns_that_are_written(manifest: Mapping[str, Any]) -> None:
    found = {(source["source_name"], source["name"]): list(source["columns"]) for source in manifest["sources"].values()}
    del found["build", "inputs"]
    assert found == WRITTEN


def test_every_source_has_a_description_files_and_an_asset_key_of_its_own(manifest: Mapping[str, Any]) -> None:
    sources = manifest["sources"].values()
    assert [source["unique_id"] for source in sources if not source["description"].strip()] == []
    undescribed = [(s["name"], c["name"]) for s in sources for c in s["columns"].values() if not c["description"].strip()]
    assert undescribed == []
    assert [source["unique_id"] for source in sources if "read_parquet" not in source["meta"]["external_location"]] == []
    keys = {tuple(source["meta"]["dagster"]["asset_key"]) for source in sources}
    assert len(keys) == len(WRITTEN) + 1


def test_no_sql_names_the_files_of_a_collection_by_hand() -> None:
    sql = [file for folder in ("models", "macros", "tests/warehouse") for file in (PROJECT_ROOT / folder).rglob("*.sql")]
    by_hand = re.compile(r"['\"`](?:raw|ledger)/|read_parquet\('")
    assert [file.name for file in sql if by_hand.search(re.sub(r"\{#.*?#\}", "", file.read_text(), flags=re.DOTALL))] == []


def test_the_manifest_says_which_models_read_a_part(parsed: Manifest) -> None:
    found = {part: readers(parsed, frozenset({part})) for part in parts_with_few_readers(PROJECT_ROOT)}
    assert found == {
        "ledger/approvals": ("stg_approvals",),
        "ledger/quarantine_settlements": ("stg_quarantine_settlements",),
        "ledger/publications": ("stg_publications",),
        "ledger/credit_notes": ("stg_credit_note_lines",),
        "ledger/alerts": ("stg_alerts",),
        "ledger/alert_deliveries": ("stg_alert_deliveries",),
        "ledger/closes": (
            *("stg_billed_lines", "stg_billed_usage_days", "stg_closed_grants", "stg_closed_invoices", "stg_closes"),
            "stg_credit_applications",
        ),
        "raw/stripe/syncs": ("stg_stripe_syncs",),
        "stripe_mode": ("stg_stripe_mode",),
    }


def test_every_report_is_in_the_analysts_file(manifest: Mapping[str, Any]) -> None:
    reports = {key for key, node in manifest["nodes"].items() if key.startswith("model.") and node["schema"] == "billing"}
    assert set(manifest["exposures"]["exposure.billhouse.analysts_file"]["depends_on"]["nodes"]) == reports


def test_an_export_reads_the_reports_that_its_exposure_lists(manifest: Mapping[str, Any]) -> None:
    """Every report that the SQL of the exports names after from or join."""
    reports = {
        node["alias"] for key, node in manifest["nodes"].items() if key.startswith("model.") and node["schema"] == "billing"
    }
    text = "".join(file.read_text() for file in sorted((PROJECT_ROOT / "pipeline" / "exports").rglob("*.py")))
    named = set(re.findall(r"(?:from|join) \(?(?:select [^()]* from )?([a-z_]+)", text)) | {table.name for table in EXPORT_TABLES}
    listed = manifest["exposures"]["exposure.billhouse.month_export"]["depends_on"]["nodes"]
    assert {manifest["nodes"][key]["alias"] for key in listed} == named & reports
