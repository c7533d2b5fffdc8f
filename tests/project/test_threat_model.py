"""The threat model names tests that exist."""

from __future__ import annotations

import ast
import re

from pipeline.core.home import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "internals" / "threat-model.md"


def test_every_defence_names_tests_and_each_of_them_exists() -> None:
    known = {
        node.name
        for file in (PROJECT_ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    rows = [line.split("|")[1:-1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 11
    named = [(row[0].strip(), re.findall(r"`(test_\w+)`", row[-1])) for row in rows]
    assert [who for who, tests in named if not tests] == []
    assert [test for _, tests in named for test in tests if test not in known] == []
