"""Files that every home can use again, in the user's cache folder: $XDG_CACHE_HOME/billhouse, ~/.cache/billhouse by default.

Where that folder is not private to the user or cannot be written to, dbt's parse is in <home>/.dbt/parsed. The files can be
deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.core.files import make_folders, replace_atomically
from pipeline.core.home import Home


def cache_folder(home: Home) -> Path:
    """The user's cache folder, or one in the home."""
    return user_cache_folder() or home.path / ".dbt" / "parsed"


def user_cache_folder() -> Path | None:
    """The user's cache folder; None where it is not private to the user or cannot be written to.

    Stored code is read from nowhere else: a home can come from somebody else, as a copy or a backup.
    """
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        base = configured if configured.is_absolute() else Path.home() / ".cache"
        folder = base / "billhouse"
        make_folders(folder)
        return folder if _is_private(folder) else None
    except (OSError, RuntimeError):  # a read-only disk, or a user without a home directory
        return None


def _is_private(folder: Path) -> bool:
    """Whether only this user can write to the folder: what another user could put there would run as SQL of a build."""
    found = folder.lstat()
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return is_own and not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO) and os.access(folder, os.W_OK | os.X_OK)


def read_cached(file: Path) -> bytes | None:
    """The contents that `write_cached` wrote; None where there are none, or where the file is incomplete after a power cut."""
    try:
        checksum, _, contents = file.read_bytes().partition(b"\n")
    except OSError:
        return None
    return contents if hashlib.sha256(contents).hexdigest().encode() == checksum else None


def write_cached(file: Path, contents: bytes) -> None:
    """Replace a file of the cache. Raises OSError."""
    with replace_atomically(file, sync=False) as path:
        path.write_bytes(hashlib.sha256(contents).hexdigest().encode() + b"\n" + contents)


def package_versions(packages: Iterable[str]) -> Iterator[str]:
    """Name and version of each of these packages that is installed."""
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            yield f"{package}=={version(package)}"
