"""Every query has a connection of its own."""

from __future__ import annotations

import ast

import duckdb

from pipeline.core.home import PROJECT_ROOT


def test_no_query_uses_the_connection_that_duckdb_opens_for_a_process() -> None:
    """All threads share it, it has none of our settings, and a forked process waits forever for its threads."""
    methods = {name for name in dir(duckdb.DuckDBPyConnection) if not name.startswith("_")}
    found = [
        f"{file.relative_to(PROJECT_ROOT)}:{node.lineno}"
        for folder in ("pipeline", "orchestration", "docs", "benchmarks")
        for file in (PROJECT_ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("duckdb.") and ast.unparse(node.func)[7:] in methods
    ]
    assert found == [], "Use duckdb.connect()."
