"""`make test-fast`: no test of it builds, starts servers or waits for other programs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.core.home import Home
from pipeline.warehouse.build import build
from tests.conftest import is_slow, refuse_builds


def test_a_test_that_builds_fails_in_a_fast_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_builds(monkeypatch)
    with pytest.raises(pytest.fail.Exception, match="which `make test-fast` leaves out"):
        build(Home.open(tmp_path / "home"), datetime(2026, 10, 5, tzinfo=UTC))


def test_a_test_is_slow_by_its_mark_or_by_a_fixture_that_runs_dbt(request: pytest.FixtureRequest) -> None:
    assert not is_slow(request.node)
    request.node.fixturenames.append("parsed_project")
    assert is_slow(request.node)
    request.node.fixturenames.remove("parsed_project")
    request.node.add_marker("slow")
    assert is_slow(request.node)
