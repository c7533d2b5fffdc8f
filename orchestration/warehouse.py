"""Every dbt model as an asset, every dbt test as a check on one; built by one dbt call."""

import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtCliResource, dbt_assets

from orchestration.landing import LANDED_FILES_KEY, QUARANTINE_KEY, RAW_KEYS
from orchestration.manifest import ready_manifest
from orchestration.resources import BillhouseHome
from pipeline.home import PROJECT_ROOT, Home
from pipeline.kinds import Kind
from pipeline.periods import parse_instant
from pipeline.warehouse import (
    begin_build,
    dbt_environment,
    environment,
    finish_build,
    let_go_of_the_warehouse,
)

_READS = {
    "stg_usage_events": RAW_KEYS[Kind.USAGE],
    "stg_subscriptions": RAW_KEYS[Kind.SUBSCRIPTIONS],
    "stg_customers": RAW_KEYS[Kind.CUSTOMERS],
    "stg_credit_grants": RAW_KEYS[Kind.CREDIT_GRANTS],
    "stg_quarantined_events": QUARANTINE_KEY,
    "stg_landed_files": LANDED_FILES_KEY,
}
"""The raw collection that a staging model reads. The ledger's have none: what closes write comes back only in the next build."""


class Translator(DagsterDbtTranslator):
    """Groups by layer, and ties the staging models to what was landed."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """Schema and table, as a query names them."""
        return dg.AssetKey([dbt_resource_props["config"]["schema"], dbt_resource_props["alias"]])

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: Any) -> dg.AssetSpec:
        """The asset of a dbt node."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        node = self.get_resource_props(manifest, unique_id)
        if node["resource_type"] == "model":
            read = _READS.get(node["name"])
            spec = spec.replace_attributes(
                group_name=node["fqn"][1], deps=[*spec.deps, read] if read is not None else list(spec.deps)
            )
        elif node["resource_type"] == "seed":
            spec = spec.replace_attributes(group_name="price_book")
        return spec.replace_attributes(description=node["description"])


class BuildConfig(dg.Config):
    """What a build may be told."""

    as_of: str | None = None
    """Events after this instant (ISO 8601) are not seen; now where none is given."""


@dbt_assets(
    manifest=ready_manifest(),
    dagster_dbt_translator=Translator(DagsterDbtTranslatorSettings(enable_source_tests_as_checks=True)),
    exclude="resource_type:unit_test",
    name="build_warehouse",
    pool="warehouse",
)
def build_warehouse(
    context: dg.AssetExecutionContext, config: BuildConfig, home: BillhouseHome, dbt: DbtCliResource
) -> Iterator[Any]:
    """Build the chosen models and run their checks. When all were chosen and all is well, analysts get the new reports."""
    opened = home.home
    as_of = parse_instant(config.as_of) if config.as_of else datetime.now(UTC)
    with opened.writing(), environment(dbt_environment(opened)):
        record = begin_build(opened, as_of)
        try:
            yield from _dbt_build(context, dbt, opened)
        finally:
            let_go_of_the_warehouse()
        if not context.is_subset:
            tables = finish_build(opened, record)
            context.log.info(f"{opened.billing.name} has {sum(tables.values()):,} rows in {len(tables)} tables, as of {as_of}.")


def _dbt_build(context: dg.AssetExecutionContext, dbt: DbtCliResource, home: Home) -> Iterator[Any]:
    arguments = ["build", "--log-path", str(home.path / ".dbt" / "logs"), "--no-send-anonymous-usage-stats"]
    run = dbt.cli(arguments, context=context, target_path=home.path / ".dbt" / "target")
    yield from run.stream().fetch_row_counts()


def dbt_resource() -> DbtCliResource:
    """The dbt command line, over this project."""
    # The dbt of this environment: nobody needs to have activated it.
    dbt = str(Path(sys.executable).with_name("dbt"))
    return DbtCliResource(project_dir=str(PROJECT_ROOT), profiles_dir=str(PROJECT_ROOT), dbt_executable=dbt)
