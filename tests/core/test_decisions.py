"""Who decides, where the system has no name for the user of the process."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.core.decisions import logged_in_user
from pipeline.core.errors import WrongUsageError


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["quarantine", "--settle", "--file", "a.jsonl", "--why", "sent again"], "--by NAME"),
        (["approve", "2026-09", "--all"], "--by NAME"),
        (["credit-note", "INV-2026-09-1"], "--by NAME"),
        (["check-prices", "--accept"], "variable USER"),
    ],
)
@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 12345"), OSError("No username set in the environment")])
def test_a_user_without_a_name_is_asked_for_one(
    words: list[str], advice: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_name() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", no_name)
    refused = CliRunner().invoke(app, ["--home", str(tmp_path / "home"), *words]).exception
    assert isinstance(refused, WrongUsageError)
    assert "has no name" in str(refused) and advice in str(refused)


def test_the_name_is_that_of_the_environment_before_that_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ann")
    assert logged_in_user() == "ann"
