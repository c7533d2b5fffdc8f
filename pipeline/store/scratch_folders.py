"""Folders under .tmp/ in which commands write aside: each is held by its command, and removed with it, or by the next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.files import hold_new_folder, make_folders, remove_abandoned
from pipeline.core.home import Home

PURPOSES = ("write", "file", "land", "verify", "snapshot", "scratch", "prices", "export", "spark", "audit")
"""What folders are for: who holds one has it locked, so that whoever comes next removes those of the dead."""
COMMITTED = "committed-"
"""What the name of a folder begins with whose files are in the manifest, and not yet all in their places."""


@contextmanager
def scratch_folder(home: Home, purpose: str) -> Iterator[Path]:
    """A folder of this command's own; `purpose`, one of PURPOSES, begins its name. What commands that died left is removed."""
    assert purpose in PURPOSES
    make_folders(home.scratch)
    remove_leftovers(home)
    with hold_new_folder(home.scratch, f"{purpose}-") as folder:
        yield folder


def remove_leftovers(home: Home) -> None:
    """Remove the folders of commands that have died; those of the living, and what is committed, stay."""
    remove_abandoned(home.scratch, *(f"{purpose}-" for purpose in PURPOSES))
