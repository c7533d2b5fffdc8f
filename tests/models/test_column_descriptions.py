"""What the yml says of the tables is true of the data of a build: the values that occur, signs, nulls, units of time.

The descriptions of `CHECKED` layers follow a form that a query can check:

- "One of `a`, `b` (...)." lists every value of a column.
- "(> 0)", "(>= 0)", "(<= 0)" give the sign of a number.
- A column can be null only where the text says what null means, and '' only where it mentions ''.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.lib.dbt_manifest import ready_manifest
from pipeline.core.home import HOME_VARIABLE, Home
from tests.parity.homes import random_histories, small
from tests.support import copy_home

CHECKED = ("price_book", "rating", "invoicing", "billing")
_PARENTHESES = re.compile(r"\([^()]*\)")
_LIST = re.compile(r"One of (.*?)(?:;|\. |\.$|$)")
_SIGN = re.compile(r"\((>=|<=|>|<) 0\)")

Column = tuple[str, str, str]
"""Schema, table and column."""


def listed_values(description: str) -> list[str]:
    """The values that a description lists, in its order; none where it lists none."""
    lists = _LIST.search(_PARENTHESES.sub("", description))
    return re.findall(r"`([^`]+)`", lists.group(1)) if lists else []


@pytest.fixture(scope="module", params=["random price book", "Stripe"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    """Homes of the parity tests: random histories and contracts with a closed month, and invoices in every state of Stripe."""
    folder = tmp_path_factory.mktemp("descriptions")
    home = copy_home(parsed_project, folder / "home")
    if request.param == "Stripe":
        return small(home, folder).home
    return random_histories(folder, seed=4, customers=60).home


@pytest.fixture(scope="module")
def nodes(built: Home) -> list[dict[str, Any]]:
    """The seeds and models of the checked layers, as dbt's manifest has them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(built.path))
        found: Mapping[str, dict[str, Any]] = json.loads(ready_manifest().read_text())["nodes"]
    return [
        node
        for node in found.values()
        if node["resource_type"] in ("model", "seed")
        and node["schema"] in CHECKED
        and node["config"]["materialized"] != "ephemeral"  # no relation to query
    ]


@pytest.fixture(scope="module")
def described(nodes: list[dict[str, Any]]) -> dict[Column, str]:
    """The description of every column of the checked layers."""
    return {
        (node["schema"], node["alias"], column["name"]): column["description"]
        for node in nodes
        for column in node["columns"].values()
    }


@pytest.fixture(scope="module")
def warehouse(built: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(built.warehouse), read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        # Views read the files of the ledger by paths relative to the home.
        connection.execute(f"set file_search_path = '{built.path}'")
        yield connection


def violations(
    warehouse: duckdb.DuckDBPyConnection, rules: Mapping[Column, tuple[str, str]]
) -> dict[tuple[Column, str], list[str]]:
    """The values that break a rule, by column: a rule is a SQL condition that such a value satisfies, and what it says."""
    found = {}
    for (schema, table, column), (condition, rule) in rules.items():
        query = f'select distinct cast("{column}" as varchar) from {schema}.{table} where {condition} limit 5'
        if rows := warehouse.execute(query).fetchall():
            found[((schema, table, column), rule)] = [str(value) for (value,) in rows]
    return found


def test_the_first_sentence_of_a_table_says_its_grain(nodes: list[dict[str, Any]]) -> None:
    assert [node["name"] for node in nodes if not node["description"].startswith("One row per ")] == []


def test_every_value_that_occurs_is_listed(described: dict[Column, str], warehouse: duckdb.DuckDBPyConnection) -> None:
    rules = {}
    for column, text in described.items():
        if values := listed_values(text):
            quoted = ", ".join(f"'{value}'" for value in values)
            rules[column] = (f'"{column[2]}" is not null and cast("{column[2]}" as varchar) not in (\'\', {quoted})', quoted)
    assert violations(warehouse, rules) == {}


def test_a_list_of_values_is_the_one_that_dbt_accepts(nodes: list[dict[str, Any]], built: Home) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(built.path))
        tests = [
            node
            for node in json.loads(ready_manifest().read_text())["nodes"].values()
            if node["resource_type"] == "test" and (node.get("test_metadata") or {}).get("name") == "accepted_values"
        ]
    by_id = {node["unique_id"]: node for node in nodes}
    different = {}
    for check in tests:
        node = by_id.get(check["attached_node"])
        if node is not None:
            values = {str(value) for value in check["test_metadata"]["kwargs"]["values"]}
            listed = set(listed_values(node["columns"][check["column_name"]]["description"]))
            if values != listed:
                different[(node["name"], check["column_name"])] = (values, listed)
    assert different == {}


def test_a_number_has_the_sign_that_is_said(described: dict[Column, str], warehouse: duckdb.DuckDBPyConnection) -> None:
    rules = {}
    for column, text in described.items():
        if sign := _SIGN.search(text):
            rules[column] = (f'not ("{column[2]}" {sign.group(1)} 0)', sign.group())
    assert violations(warehouse, rules) == {}


def test_a_column_is_null_only_where_its_description_says_what_null_means(
    described: dict[Column, str], warehouse: duckdb.DuckDBPyConnection
) -> None:
    rules = {column: (f'"{column[2]}" is null', "null") for column, text in described.items() if "null" not in text.lower()}
    assert violations(warehouse, rules) == {}


def test_a_column_is_empty_only_where_its_description_mentions_it(
    described: dict[Column, str], warehouse: duckdb.DuckDBPyConnection
) -> None:
    rules = {column: (f"cast(\"{column[2]}\" as varchar) = ''", "''") for column, text in described.items() if "''" not in text}
    assert violations(warehouse, rules) == {}


def test_an_amount_that_is_never_0_is_never_0(described: dict[Column, str], warehouse: duckdb.DuckDBPyConnection) -> None:
    rules = {column: (f'"{column[2]}" = 0', "never 0") for column, text in described.items() if "never 0" in text}
    assert violations(warehouse, rules) == {}


def test_names_say_types(warehouse: duckdb.DuckDBPyConnection) -> None:
    """`_at` is an instant (with time zone in the reports), `_date` a date, `_amount` a decimal, `is_` and `has_` a boolean."""
    columns = warehouse.execute(
        "select schema_name, table_name, column_name, data_type from duckdb_columns() where schema_name in (select unnest(?))",
        [list(CHECKED)],
    ).fetchall()
    wrong = []
    for schema, table, column, data_type in columns:
        instant = "TIMESTAMP WITH TIME ZONE" if schema == "billing" else "TIMESTAMP"
        if column.endswith("_at"):
            fits = data_type.startswith(instant)
        elif column.endswith("_date"):
            fits = data_type == "DATE"
        elif column.endswith("_amount"):
            fits = data_type.startswith("DECIMAL")
        elif column.startswith(("is_", "has_")):
            fits = data_type == "BOOLEAN"
        else:
            continue
        if not fits:
            wrong.append((schema, table, column, data_type))
    assert wrong == []


def test_a_period_is_a_month(described: dict[Column, str], warehouse: duckdb.DuckDBPyConnection) -> None:
    rules = {
        column: (f"not regexp_matches(\"{column[2]}\", '^\\d{{4}}-(0[1-9]|1[0-2])$')", "YYYY-MM")
        for column, text in described.items()
        if column[2].endswith("period") and "''" not in text
    }
    assert violations(warehouse, rules) == {}


def test_the_order_of_a_report_is_total(nodes: list[dict[str, Any]], warehouse: duckdb.DuckDBPyConnection) -> None:
    """`order_by` tells the rows of a report apart, so that the same inputs give the same bytes."""
    orders = {node["alias"]: node["config"]["meta"]["order_by"] for node in nodes if node["schema"] == "billing"}
    ties = {
        table: warehouse.execute(f"select {order} from billing.{table} group by {order} having count(*) > 1").fetchall()
        for table, order in orders.items()
    }
    assert {table: rows for table, rows in ties.items() if rows} == {}


@pytest.mark.parametrize(
    ("description", "values"),
    [
        ("One of `a`, `b` (as in c.csv), `c d`.", ["a", "b", "c d"]),
        ("Kind of `x`. One of `a`; null: none of `b`.", ["a"]),
        ("One of `a`. `b` is not one of them.", ["a"]),
        ("The `unit` of it.", []),
    ],
)
def test_a_list_of_values_is_read_from_its_sentence(description: str, values: list[str]) -> None:
    assert listed_values(description) == values
