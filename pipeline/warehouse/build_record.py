"""The record of the last build (`build/last.json`): the digests of its inputs, so that a build repeats only what changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline.core.files import replace_atomically
from pipeline.core.home import Home
from pipeline.warehouse.build_inputs import input_digests
from pipeline.warehouse.project import project_of


@dataclass(frozen=True)
class BuildRecord:
    """What the warehouse was built from."""

    as_of: datetime
    inputs: Mapping[str, str]
    """Digests by pipeline.warehouse.build_inputs; empty while a build runs, or after it failed."""
    step_count: int = 0
    """Seeds, models and checks that the build ran."""
    seconds: float = 0
    """What it took, of wall clock."""


def last_build(home: Home) -> BuildRecord | None:
    """The record of the last build, or None where nothing was built.

    Its `inputs` are empty where the build did not finish or its files are missing: then everything has to be built.
    """
    try:
        record = json.loads(_path(home).read_text())
        is_whole = home.warehouse.exists() and home.analysts_file.exists()
        inputs, steps = (record["inputs"], record.get("steps", 0)) if is_whole else ({}, 0)
        return BuildRecord(datetime.fromisoformat(record["as_of"]), inputs, steps, record.get("seconds", 0))
    except (FileNotFoundError, KeyError, ValueError):
        return None


def write_build_record(home: Home, record: BuildRecord) -> None:
    """Replace the record of the last build."""
    with replace_atomically(_path(home), scratch=home.scratch) as path:
        values = {"as_of": record.as_of.isoformat(), "inputs": record.inputs, "steps": record.step_count}
        path.write_text(json.dumps(values | {"seconds": record.seconds}))


def is_current(home: Home, as_of: datetime, project: Path | None = None) -> bool:
    """Whether a build as of this instant would only repeat the last one."""
    record = last_build(home)
    return record is not None and record.inputs == input_digests(home, as_of, project or project_of(home))


def _path(home: Home) -> Path:
    return home.path / "build" / "last.json"
