"""Scratch folders in .tmp/: each is locked by its command and removed when the command ends, or by the next command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.files import locked_new_folder, make_folders, remove_orphaned_folders
from pipeline.core.home import Home

PURPOSES = ("write", "file", "land", "verify", "snapshot", "scratch", "prices", "export", "spark")
"""What a folder is for; its name starts with it."""
COMMITTED = "committed-"
"""Name prefix of folders whose files are in the manifest and have not all been renamed to their targets."""


@contextmanager
def scratch_folder(home: Home, purpose: str) -> Iterator[Path]:
    """Create a scratch folder for the block; `purpose` is one of PURPOSES. Orphaned folders are removed first."""
    assert purpose in PURPOSES
    make_folders(home.scratch)
    remove_orphaned_scratch(home)
    with locked_new_folder(home.scratch, f"{purpose}-") as folder:
        yield folder


def remove_orphaned_scratch(home: Home) -> None:
    """Remove the folders of commands that have ended, except committed ones."""
    remove_orphaned_folders(home.scratch, *(f"{purpose}-" for purpose in PURPOSES))
