"""Every command in the guides works, and prints what the guide says it prints."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.home import PROJECT_ROOT

GUIDES = [*sorted((PROJECT_ROOT / "docs" / "how-to").glob("*.md")), PROJECT_ROOT / "docs" / "stripe.md"]
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def workshop(tmp_path: Path, parsed_project: Path) -> Path:
    """A copy of the project in which a guide may edit the price book, with `billhouse` on its path and a home ready to build."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("dbt_project.yml", "profiles.yml", "models", "macros", "tests", "pipeline", "orchestration"):
        (folder / name).symlink_to(PROJECT_ROOT / name)
    (folder / "pipeline").unlink()
    shutil.copytree(PROJECT_ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PROJECT_ROOT / "seeds", folder / "seeds")
    shutil.copytree(parsed_project, folder / "var" / ".dbt" / "target")
    command = folder / "bin" / "billhouse"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pipeline.cli "$@"\n')
    command.chmod(0o755)
    return folder


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guides_commands_work_and_print_what_it_says(guide: Path, workshop: Path) -> None:
    path = os.pathsep.join([str(workshop / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(workshop)}
    output = ""
    for kind, text in BLOCK.findall(guide.read_text(encoding="utf-8")):
        if kind == "text":
            missing = [line for line in text.splitlines() if line not in output]
            assert missing == [], output
            continue
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=workshop, env=environment, capture_output=True, text=True, check=False
        )
        output = ran.stdout + ran.stderr
        assert ran.returncode == 0, output


def test_there_are_guides() -> None:
    assert len(GUIDES) >= 4
