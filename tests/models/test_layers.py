"""The order of the layers, and that dbt's graph has every dependency: held over dbt's parse of the project, without a build."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.home import PROJECT_ROOT

LAYERS = ("staging", "customers", "usage", "rating", "invoicing", "limits", "utilisation", "billing")
"""In the order in which they read each other. `limits` and `utilisation` are siblings."""
SIBLINGS = frozenset({"limits", "utilisation"})
_COMMENT = re.compile(r"\{#.*?#\}|--[^\n]*", re.DOTALL)
_VERBS = r"(?<!distinct )from|join|using|into|update|table|table if (?:not )?exists|view"
_NAMED_BY_HAND = re.compile(rf"\b(?:{_VERBS})\s+[\"`]?[a-z_]+[\"`]?\.[\"`]?[a-z_]", re.IGNORECASE)
"""A table called by schema and name, where SQL expects one."""

Node = Mapping[str, Any]


@pytest.fixture(scope="module")
def models(manifest: Mapping[str, Any]) -> Mapping[str, Node]:
    """By unique id."""
    return {key: node for key, node in manifest["nodes"].items() if node["resource_type"] == "model"}


def layer(model: Node) -> str:
    """The folder of `models/` that a model is in."""
    return str(model["path"]).partition("/")[0]


def reads(models: Mapping[str, Node]) -> Iterator[tuple[Node, Node]]:
    """Every model with each model that it reads."""
    for model in models.values():
        yield from ((model, models[key]) for key in model["depends_on"]["nodes"] if key in models)


def test_a_folder_of_models_is_the_schema_of_the_same_name(models: Mapping[str, Node]) -> None:
    assert {layer(model) for model in models.values()} == set(LAYERS)
    assert [model["name"] for model in models.values() if model["schema"] != layer(model)] == []


def test_a_model_reads_its_own_layer_and_earlier_ones(models: Mapping[str, Node]) -> None:
    upwards = [
        (f"{layer(model)}.{model['name']}", f"{layer(read)}.{read['name']}")
        for model, read in reads(models)
        if LAYERS.index(layer(read)) > LAYERS.index(layer(model)) or {layer(model), layer(read)} == SIBLINGS
    ]
    assert upwards == []


def test_no_model_reads_a_report(models: Mapping[str, Node]) -> None:
    assert [(model["name"], read["name"]) for model, read in reads(models) if layer(read) == "billing"] == []


def test_every_model_and_every_column_that_yml_names_is_described(models: Mapping[str, Node]) -> None:
    assert [model["name"] for model in models.values() if not (model["description"].strip() and model["columns"])] == []
    undescribed = [
        (model["name"], column["name"])
        for model in models.values()
        for column in model["columns"].values()
        if not column["description"].strip()
    ]
    assert undescribed == []


def test_no_sql_names_a_relation_by_hand(manifest: Mapping[str, Any]) -> None:
    """But by `ref`, `source`, `state_table` or `last_built`: so dbt knows what is read."""
    nodes = [node for node in manifest["nodes"].values() if node["resource_type"] in ("model", "seed")]
    schemas = {node["schema"] for node in nodes}
    names = {node["alias"] for node in nodes}
    known = re.compile(rf"\b(?:{'|'.join(sorted(schemas))})\.(?:{'|'.join(sorted(names))})\b|\b(?:build|sample)_state\.\w")
    found = []
    for folder in ("models", "macros", "tests/warehouse"):
        for file in sorted((PROJECT_ROOT / folder).rglob("*.sql")):
            text = _COMMENT.sub("", file.read_text())
            found += [(file.name, match.group()) for pattern in (known, _NAMED_BY_HAND) for match in pattern.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    "sql",
    [
        "select 1 from usage.sandbox_sessions",
        "delete from {{ this }} using rating.dirty_customer_months as changed",
        'left join "staging"."stg_closes" on true',
        "insert into build_state.rated_inputs select 1",
        "create table if not exists build_state.known_closes (period varchar)",
    ],
)
def test_a_relation_that_is_named_by_hand_is_found(sql: str) -> None:
    assert _NAMED_BY_HAND.search(sql)


def test_hooks_are_in_the_graph(models: Mapping[str, Node]) -> None:
    """What a hook reads is a dependency of its model: utilisation deletes the days of timelines in `dirty_executions`."""
    (model,) = (node for node in models.values() if node["name"] == "sandbox_utilisation")
    hooks = "".join(hook["sql"] for hook in model["config"]["pre-hook"])
    assert "delete_stale_utilisation" in hooks
    assert {"model.billhouse.dirty_executions", "model.billhouse.sandbox_minutes"} <= set(model["depends_on"]["nodes"])


def test_every_layer_is_listed_in_the_architecture_page() -> None:
    _, _, page = (PROJECT_ROOT / "docs" / "internals" / "architecture.md").read_text().partition("## The models\n")
    assert tuple(re.findall(r"^\| `(\w+)` \| [^`|]", page, re.MULTILINE)) == LAYERS


def test_a_folder_has_one_yml_of_its_name(models: Mapping[str, Node]) -> None:
    assert [name for name in LAYERS if not Path(PROJECT_ROOT / "models" / name / f"_{name}.yml").exists()] == []
