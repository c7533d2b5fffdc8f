"""How dbt's nodes appear as assets and checks: keys, groups, partitions, descriptions."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator

from orchestration.lib.owners import OF_LAYER, PLATFORM
from orchestration.lib.partitions import usage_days

_DAY_COLUMNS = ("usage_date", "event_date")
"""A table with one of these columns is partitioned by day."""
_GROUPS = {"price_book": "price_book", "invoicing": "invoices", "billing": "reports"}
GENERIC_TESTS = {
    "not_null": "Never null.",
    "unique": "Unique.",
    "key": "Unique and never null.",
    "key_on_dirty_days": "Unique and never null, on the days that a build has changed.",
    "accepted_values": "One of the known values.",
    "relationships": "Refers to an existing row.",
}


def layer_of(node: Mapping[str, Any]) -> str:
    """The layer of a node: the folder of a model, `price_book` for a seed."""
    return "price_book" if node["resource_type"] == "seed" else str(node["fqn"][1])


def group_of(layer: str) -> str:
    """The group in the graph: what people read and decide on has its own; the other layers are one click below `warehouse`."""
    return _GROUPS.get(layer, f"warehouse/{layer}")


def day_column(node: Mapping[str, Any]) -> str | None:
    """The column by which a table is partitioned by day; None if it is not partitioned."""
    if node["resource_type"] == "source" or node["config"]["materialized"] == "view":  # the rows of a view are not counted
        return None
    return next((column for column in _DAY_COLUMNS if column in node["columns"]), None)


class Translator(DagsterDbtTranslator):
    """Groups models by layer and partitions tables with days. The keys of sources are those of their yml."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """Schema and table, as in a query; for a source, the key in its yml."""
        if dbt_resource_props["resource_type"] == "source":
            return super().get_asset_key(dbt_resource_props)
        return dg.AssetKey([dbt_resource_props["config"]["schema"], dbt_resource_props["alias"]])

    def get_partitions_def(self, dbt_resource_props: Mapping[str, Any]) -> dg.PartitionsDefinition[str] | None:
        """Days, for tables with a column of days."""
        return usage_days if day_column(dbt_resource_props) else None

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: Any) -> dg.AssetSpec:
        """The asset of a dbt node."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        node = self.get_resource_props(manifest, unique_id)
        if node["resource_type"] == "source":
            return spec
        layer = layer_of(node)
        return spec.replace_attributes(
            group_name=group_of(layer),
            owners=[OF_LAYER.get(layer, PLATFORM)],
            description=node["description"],
            kinds={"csv" if layer == "price_book" else "dbt", "duckdb"},
        )

    def get_asset_check_spec(
        self, asset_spec: dg.AssetSpec, manifest: Mapping[str, Any], unique_id: str, project: Any
    ) -> dg.AssetCheckSpec | None:
        """The check of a dbt test: blocking, because all tests of the project have the severity error."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        node = self.get_resource_props(manifest, unique_id)
        return spec._replace(description=node["description"] or _description_of_test(node)) if spec is not None else None


def _description_of_test(test: Mapping[str, Any]) -> str:
    name = (test.get("test_metadata") or test)["name"]
    column = test.get("column_name")
    return f"{column}: {GENERIC_TESTS.get(name, name)}" if column else str(name)
