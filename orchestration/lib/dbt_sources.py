"""What the models read, as assets, by the sources in dbt's manifest: their keys and descriptions.

Landing writes the raw collections. The files of the ledger, of Stripe's mirror and of the build's inputs are assets without a
job: the work that writes them reports them (`written_files`), and the next build reads them. To link a close to the models that
read it would be a cycle, since a close reads the drafts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import dagster as dg
import duckdb

from orchestration.lib.asset_events import materialized
from orchestration.lib.dbt_manifest import ready_manifest
from orchestration.lib.owners import PLATFORM
from pipeline.core.home import Home
from pipeline.core.sql import quoted

_GROUPS = {"closes": "ledger", "ledger": "ledger", "stripe": "stripe/mirrored_files", "build": "warehouse/build_inputs"}


@cache
def _sources() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """By name of the source and of the table."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for source in json.loads(ready_manifest().read_text())["sources"].values():
        found.setdefault(source["source_name"], {})[source["name"]] = source
    return found


def asset_key(source: Mapping[str, Any]) -> dg.AssetKey:
    """The key that a source's yml gives it."""
    return dg.AssetKey(source["meta"]["dagster"]["asset_key"])


def source_keys(name: str) -> Mapping[str, dg.AssetKey]:
    """The asset keys of a source, by table."""
    return {table: asset_key(source) for table, source in _sources()[name].items()}


def source_descriptions(name: str) -> Mapping[str, str]:
    """The descriptions of a source's tables."""
    return {table: source["description"] for table, source in _sources()[name].items()}


def written_files(home: Home, *names: str) -> Iterator[dg.AssetMaterialization]:
    """The tables of these sources, with their rows as they are now: what a close, a sync or a build has written."""
    with duckdb.connect() as connection:
        connection.execute(f"set file_search_path = {quoted(home.path)}")
        for name in names:
            for table, source in _sources()[name].items():
                location = source["meta"]["external_location"].format(name=table)
                try:
                    ((rows,),) = connection.execute(f"select count(*) from {location}").fetchall()
                except duckdb.IOException:  # no file yet, or one that was merged meanwhile
                    continue
                yield materialized(asset_key(source), {"dagster/row_count": rows})


def files_read_by_builds() -> list[dg.AssetSpec]:
    """An asset for each table of the sources that landing does not write."""
    return [
        dg.AssetSpec(
            asset_key(source),
            description=source["description"],
            group_name=group,
            kinds={"parquet"},
            owners=[PLATFORM],
        )
        for name, group in _GROUPS.items()
        for source in _sources()[name].values()
    ]
