"""Every dbt model as an asset, every dbt test as a check on one; all built by one dbt call, whichever of them a run asks for.

A warehouse in which some tables are newer than others would be worth nothing: so a run always brings all of it up to date, and
tells of the tables that it was launched for.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from time import monotonic
from typing import Any

import dagster as dg
import duckdb
from dagster_dbt import DagsterDbtTranslator, dbt_assets

from orchestration.landing import RAW_KEYS
from orchestration.lib.dbt_manifest import ready_manifest
from orchestration.lib.owners import OF_LAYER, PLATFORM
from orchestration.lib.partitions import report_days, usage_days
from orchestration.lib.report_metadata import highlights
from orchestration.lib.resources import BillhouseHome
from pipeline.core.failures import convert_errors
from pipeline.core.home import Home
from pipeline.core.periods import parse_instant
from pipeline.monitoring.health import write_health
from pipeline.warehouse.build import BuildFailedError, Step, build, is_current, last_build, open_warehouse

_DAY_COLUMNS = ("usage_date", "event_date")
"""A table with one of these has rows of a day, and so partitions."""
_SECONDS_BETWEEN_NEWS = 5.0


def _layer(node: Mapping[str, Any]) -> str:
    return "price_book" if node["resource_type"] == "seed" else str(node["fqn"][1])


def _day_column(node: Mapping[str, Any]) -> str | None:
    if node["config"]["materialized"] == "view":  # its rows are counted neither in all nor by day
        return None
    return next((column for column in _DAY_COLUMNS if column in node["columns"]), None)


class Translator(DagsterDbtTranslator):
    """Groups by layer, cuts what has days by day, and ties the staging models to what was landed."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """Schema and table, as a query names them."""
        return dg.AssetKey([dbt_resource_props["config"]["schema"], dbt_resource_props["alias"]])

    def get_partitions_def(self, dbt_resource_props: Mapping[str, Any]) -> dg.PartitionsDefinition[str] | None:
        """Days, for tables of days."""
        return usage_days if _day_column(dbt_resource_props) else None

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: Any) -> dg.AssetSpec:
        """The asset of a dbt node. The ledger's staging models read no asset: what closes write comes in by the next build."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        node = self.get_resource_props(manifest, unique_id)
        layer = _layer(node)
        read = RAW_KEYS.get(node["name"].removeprefix("stg_")) if layer == "staging" else None
        return spec.replace_attributes(
            group_name=layer,
            deps=[*spec.deps, read] if read is not None else list(spec.deps),
            owners=[OF_LAYER.get(layer, PLATFORM)],
            description=node["description"],
            kinds={"csv" if layer == "price_book" else "dbt", "duckdb"},
        )

    def get_asset_check_spec(
        self, asset_spec: dg.AssetSpec, manifest: Mapping[str, Any], unique_id: str, project: Any
    ) -> dg.AssetCheckSpec | None:
        """The check of a dbt test: blocking, as every test of ours is of severity error."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        node = self.get_resource_props(manifest, unique_id)
        return spec._replace(description=node["description"] or _told(node)) if spec is not None else None


def _told(test: Mapping[str, Any]) -> str:
    """What a generic test says of its column, for people."""
    metadata = test.get("test_metadata") or {"name": test["name"], "kwargs": {}}
    sentences = {
        "not_null": "Every row has one.",
        "unique": "No two rows have the same.",
        "key": "Every row has one, and no two have the same.",
        "key_on_changed_days": "Every row has one, and no two have the same, on the days that a build has changed.",
        "accepted_values": "No value but those that are known.",
        "relationships": "What it refers to is there.",
    }
    column = test.get("column_name")
    return f"{column}: {sentences.get(metadata['name'], metadata['name'])}" if column else str(metadata["name"])


class BuildConfig(dg.Config):
    """What a build may be told."""

    as_of: str | None = None
    """Events after this instant (ISO 8601) are not seen; now where none is given."""


@dbt_assets(
    manifest=ready_manifest(),
    dagster_dbt_translator=Translator(),
    exclude="resource_type:unit_test",
    name="build_warehouse",
    pool="warehouse",
    backfill_policy=dg.BackfillPolicy.single_run(),
)
@convert_errors
def build_warehouse(
    context: dg.AssetExecutionContext, config: BuildConfig, home: dg.ResourceParam[BillhouseHome]
) -> Iterator[Any]:
    """Build every model and run every check; when all is well, analysts get the new reports.

    A run that waited while another built what it was launched for takes that build as it stands.
    """
    opened = home.home
    with opened.writing():
        touched = _days_landed_since_the_last_build(opened)
        started = monotonic()
        try:
            ran = _build(context, config, opened)
        except BuildFailedError as error:
            yield from _checks(context, {step.unique_id: step for step in error.ran}, all_is_well=False)
            raise
        with open_warehouse(opened) as warehouse:
            facts = _Facts(context, opened, warehouse, {step.unique_id: step for step in ran})
            yield from facts.materializations(touched)
        yield from _checks(context, facts.steps, all_is_well=True)
        context.log.info(f"{len(ran)} steps in {monotonic() - started:.1f} s")


def _build(context: dg.AssetExecutionContext, config: BuildConfig, home: Home) -> Sequence[Step]:
    """The steps that had to run: none where the standing build has all that this run was launched for."""
    now = datetime.now(UTC)
    standing = last_build(home)
    is_later = config.as_of is None and standing is not None and _launched_at(context) <= standing.as_of <= now
    if is_later and standing is not None and is_current(home, standing.as_of):
        context.log.info(f"Built already, as of {standing.as_of:%Y-%m-%d %H:%M:%S} UTC, after this run was launched.")
        return []
    as_of = parse_instant(config.as_of) if config.as_of is not None else now
    told = monotonic()

    def follow(step: str, done: int, total: int) -> None:
        nonlocal told
        if monotonic() - told > _SECONDS_BETWEEN_NEWS:
            told = monotonic()
            context.log.info(f"{done} of {total}: {step}")

    result = build(home, as_of, on_progress=follow)
    write_health(home)
    context.log.info(
        f"{home.analysts_file.name} has {sum(result.tables.values()):,} rows in {len(result.tables)} tables, as of {as_of}."
    )
    return result.ran


def _launched_at(context: dg.AssetExecutionContext) -> datetime:
    record = context.instance.get_run_record_by_id(context.run_id)
    return record.create_timestamp.astimezone(UTC) if record is not None else datetime.now(UTC)


def _days_landed_since_the_last_build(home: Home) -> set[str]:
    """Days that files landed for since the reports were last replaced. Landing and building never overlap."""
    since = home.analysts_file.stat().st_mtime if home.analysts_file.exists() else 0.0
    return {path.parent.name.partition("=")[2] for path in home.raw.glob("*/*=*/*.parquet") if path.stat().st_mtime > since}


def _unique_id(spec: dg.AssetSpec | dg.AssetCheckSpec) -> str:
    return str((spec.metadata or {})["dagster_dbt/unique_id"])


def _checks(context: dg.AssetExecutionContext, steps: Mapping[str, Step], *, all_is_well: bool) -> Iterator[dg.AssetCheckResult]:
    """What each check found. After a build in which all is well, one that did not have to run again stands as it was: passed."""
    for spec in context.assets_def.check_specs:
        step = steps.get(_unique_id(spec))
        if spec.key not in context.selected_asset_check_keys or (step is None and not all_is_well):
            continue
        if step is not None and step.status == "skipped":
            continue
        facts = {} if step is None else {"seconds": round(step.seconds, 3), "rows_found_wrong": step.failures or 0}
        yield dg.AssetCheckResult(
            asset_key=spec.key.asset_key,
            check_name=spec.key.name,
            passed=step is None or step.status == "pass",
            severity=dg.AssetCheckSeverity.WARN if step is not None and step.status == "warn" else dg.AssetCheckSeverity.ERROR,
            metadata=facts | ({"message": step.message} if step is not None and step.message else {}),
        )


class _Facts:
    """What there is to say of each table after a build."""

    def __init__(
        self, context: dg.AssetExecutionContext, home: Home, warehouse: duckdb.DuckDBPyConnection, steps: Mapping[str, Step]
    ) -> None:
        self.steps = steps
        self._context = context
        self._home = home
        self._warehouse = warehouse
        self._nodes: dict[str, dict[str, Any]] = json.loads(ready_manifest().read_text())["nodes"]
        sizes = warehouse.execute("select schema_name, table_name, estimated_size from duckdb_tables()").fetchall()
        self._rows = {(schema, table): rows for schema, table, rows in sizes}
        self._columns: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for schema, table, column, type_ in warehouse.execute(
            "select schema_name, table_name, column_name, data_type from duckdb_columns() order by 1, 2, column_index"
        ).fetchall():
            self._columns.setdefault((schema, table), []).append((column, type_.lower()))

    def materializations(self, touched: set[str]) -> Iterator[dg.MaterializeResult[None]]:
        """Each table that the run was launched for, parents before children."""
        for spec in self._in_order():
            node = self._nodes[_unique_id(spec)]
            facts = self._of(spec, node)
            if (column := _day_column(node)) is None:
                yield dg.MaterializeResult(asset_key=spec.key, metadata=facts)
            else:
                yield from report_days(self._context, spec.key, touched, self._by_day(spec.key, column, facts))

    def _in_order(self) -> Iterable[dg.AssetSpec]:
        specs = {spec.key: spec for spec in self._context.assets_def.specs}
        for keys in self._context.job_def.asset_layer.asset_graph.toposorted_asset_keys_by_level:
            yield from (specs[key] for key in sorted(keys) if key in specs and key in self._context.selected_asset_keys)

    def _of(self, spec: dg.AssetSpec, node: Mapping[str, Any]) -> dict[str, Any]:
        schema, table = spec.key.path
        facts: dict[str, Any] = {}
        if (rows := self._rows.get((schema, table))) is not None:
            facts["dagster/row_count"] = rows
        if (step := self.steps.get(node["unique_id"])) is not None:
            facts["seconds"] = round(step.seconds, 3)
        described = {name: column["description"] for name, column in node["columns"].items()}
        columns = [dg.TableColumn(name, type_, described.get(name)) for name, type_ in self._columns.get((schema, table), [])]
        facts["dagster/column_schema"] = dg.TableSchema(columns)
        if _layer(node) == "billing":
            parts = self._home.marts / table  # a report that grows with time is a folder
            files = list(parts.rglob("*.parquet")) if parts.is_dir() else [self._home.marts / f"{table}.parquet"]
            place = parts if parts.is_dir() else files[0]
            facts |= {"bytes": sum(file.stat().st_size for file in files), "files": dg.MetadataValue.path(str(place))}
            facts |= highlights(self._warehouse, table)
        return facts

    def _by_day(self, key: dg.AssetKey, column: str, facts: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any]]:
        schema, table = key.path
        found = self._warehouse.execute(f"select {column}::date, count(*) from {schema}.{table} group by all").fetchall()
        rows = {day.isoformat(): number for day, number in found if isinstance(day, date)}
        return lambda day: {**facts, "dagster/partition_row_count": rows.get(day, 0)}
