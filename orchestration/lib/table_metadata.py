"""The metadata of each table after a build: rows, columns, seconds, files, and the summaries of report tables."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from graphlib import TopologicalSorter
from typing import Any

import dagster as dg
import duckdb

from orchestration.lib.asset_events import materialized
from orchestration.lib.dbt_manifest import ready_manifest
from orchestration.lib.dbt_translator import day_column, layer_of
from orchestration.lib.partitions import with_partition
from orchestration.lib.report_metadata import highlights
from pipeline.core.home import Home
from pipeline.warehouse.build_steps import BuildStep


def unique_id_of(spec: dg.AssetSpec | dg.AssetCheckSpec) -> str:
    """Dbt's id of an asset or a check: model.billhouse.invoices."""
    return str((spec.metadata or {})["dagster_dbt/unique_id"])


class TableMetadata:
    """Metadata of the tables of the warehouse, read when it is created."""

    def __init__(self, home: Home, warehouse: duckdb.DuckDBPyConnection, steps: Mapping[str, BuildStep]) -> None:
        self.steps = steps
        self._home = home
        self._warehouse = warehouse
        self._nodes: dict[str, dict[str, Any]] = json.loads(ready_manifest().read_text())["nodes"]
        sizes = warehouse.execute("select schema_name, table_name, estimated_size from duckdb_tables()").fetchall()
        self._row_counts = {(schema, table): rows for schema, table, rows in sizes}
        self._columns: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for schema, table, column, type_ in warehouse.execute(
            "select schema_name, table_name, column_name, data_type from duckdb_columns() order by 1, 2, column_index"
        ).fetchall():
            self._columns.setdefault((schema, table), []).append((column, type_.lower()))

    def materializations(self, specs: Iterable[dg.AssetSpec], days: Iterable[str]) -> Iterator[dg.AssetMaterialization]:
        """The materialization of each of these tables, upstream tables first; of partitioned ones, of each of these days."""
        reported = with_partition(days)
        for spec in _upstream_first(specs):
            node = self._nodes[unique_id_of(spec)]
            metadata = self._metadata(spec, node)
            if (column := day_column(node)) is None:
                yield materialized(spec.key, metadata)
                continue
            of_day = self._metadata_by_day(spec.key, column, metadata)
            for day in reported:
                yield materialized(spec.key, of_day(day), day)

    def _metadata(self, spec: dg.AssetSpec, node: Mapping[str, Any]) -> dict[str, Any]:
        schema, table = spec.key.path
        metadata: dict[str, Any] = {}
        if (rows := self._row_counts.get((schema, table))) is not None:
            metadata["dagster/row_count"] = rows
        if (step := self.steps.get(node["unique_id"])) is not None:
            metadata["seconds"] = round(step.seconds, 3)
        descriptions = {name: column["description"] for name, column in node["columns"].items()}
        columns = [dg.TableColumn(name, type_, descriptions.get(name)) for name, type_ in self._columns.get((schema, table), [])]
        metadata["dagster/column_schema"] = dg.TableSchema(columns)
        if layer_of(node) == "billing":
            folder = self._home.marts / table  # a report that grows with time is a folder of files
            files = list(folder.rglob("*.parquet")) if folder.is_dir() else [self._home.marts / f"{table}.parquet"]
            path = folder if folder.is_dir() else files[0]
            metadata |= {"bytes": sum(file.stat().st_size for file in files), "files": dg.MetadataValue.path(str(path))}
            metadata |= highlights(self._warehouse, table)
        return metadata

    def _metadata_by_day(self, key: dg.AssetKey, column: str, metadata: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any]]:
        schema, table = key.path
        counts = self._warehouse.execute(f"select {column}::date, count(*) from {schema}.{table} group by all").fetchall()
        rows = {day.isoformat(): number for day, number in counts if isinstance(day, date)}
        return lambda day: {**metadata, "dagster/partition_row_count": rows.get(day, 0)}


def _upstream_first(specs: Iterable[dg.AssetSpec]) -> Iterator[dg.AssetSpec]:
    by_key = {spec.key: spec for spec in specs}
    order = TopologicalSorter({key: [dep.asset_key for dep in by_key[key].deps] for key in sorted(by_key)}).static_order()
    yield from (by_key[key] for key in order if key in by_key)
