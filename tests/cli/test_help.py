"""The command line's own answers: help, version, and that neither waits for a heavy library."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from docs.generate.command_line import commands_of
from pipeline.cli.app import app

COMMANDS = dict(commands_of(get_command(app)))
HEAVY = {"dagster", "dbt", "dlt", "duckdb", "matplotlib", "numpy", "pandas", "pyarrow", "stripe", "xlsxwriter"}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """A call of the command line that prints on stderr, as its last line, the heavy libraries that it imported."""
    code = (
        "import sys\n"
        "from pipeline.cli.app import main\n"
        "sys.argv = ['billhouse', *sys.argv[1:]]\n"
        "try:\n    main()\n"
        f"finally:\n    print(sorted({HEAVY} & sys.modules.keys()), file=sys.stderr)\n"
    )
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("close", "--help")], ids=" ".join)
def test_help_and_version_import_no_heavy_library(words: tuple[str, ...]) -> None:
    answered = run(*words)
    assert answered.returncode == 0, answered.stderr
    assert answered.stderr.splitlines()[-1] == "[]"
    assert "b'" not in answered.stdout, "click asks a stream whether it takes bytes"


def test_version_prints_the_version_and_makes_no_home(tmp_path: Path) -> None:
    answered = run("--home", str(tmp_path / "home"), "--version")
    assert answered.stdout == f"billhouse {importlib.metadata.version('billhouse')}\n"
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_of_a_command_says_that_it_is_safe_to_repeat_or_changes_nothing_and_describes_each_option(name: str) -> None:
    command = COMMANDS[name]
    help_text = " ".join((command.help or "").split())
    assert name == "ui" or "to repeat" in help_text or "hanges no" in help_text, help_text
    assert all(getattr(parameter, "help", None) for parameter in command.params if parameter.name != "help")
