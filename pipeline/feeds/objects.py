"""Collects the objects of a bucket or the files of a folder as they are, each content once. They must not grow.

A batch of objects is copied and synced, renamed into the inbox, and only then stored as taken. After a kill between two of these
steps the batch is copied again, under the same names; landing recognises a file that has landed by its content.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from glob import has_magic
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.core.errors import BillhouseError
from pipeline.core.files import are_on_same_disk, locked_new_folder, make_folders, remove_orphaned_folders, sync_folder
from pipeline.core.home import Home
from pipeline.core.regular_files import NotRegularError, open_regular
from pipeline.feeds.access import check_file_address
from pipeline.feeds.object_formats import HEAD_BYTES, UnknownFormatError, suffix_of
from pipeline.feeds.position import Collected, open_source
from pipeline.feeds.taken_objects import TakenObjects, identity_digest

OBJECTS_AT_ONCE = 64
_THREADS = 8
"""Downloads at a time: most of one is waiting."""
_BLOCK_BYTES = 4 << 20
_PREFIX = "objects-"
_ETAGS = ("ETag", "etag", "e_tag", "md5Hash", "content_md5")
_INSTANTS = ("LastModified", "mtime", "last_modified", "updated", "modified")


@dataclass(frozen=True)
class FoundObject:
    """An object that is listed and not taken."""

    key: str
    size: int
    digest: bytes

    def file_name(self, suffix: str) -> str:
        """The name of its copy. Up to the first dot it is the object's own: a source may read an id from it."""
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", PurePosixPath(self.key).name.partition(".")[0])[:100] or "object"
        return f"{stem}.{self.digest.hex()}{suffix}"


class UnreadableObjectError(Exception):
    """An object that is not collected in this run; the text says why."""


def collect_objects(home: Home, address: str, *, name: str, folder: str) -> Collected:
    """Copy the objects that were not taken yet to the inbox. Safe to kill and to repeat.

    `address`: a folder, prefix or pattern, local or an fsspec URL (s3://bucket/events needs s3fs). An object is known by its key
    and its etag, or its size and modification time where there is none: a changed one is a new one. Objects without a byte and
    hidden ones (a name that begins with a dot) are left out. Raises BillhouseError.
    """
    check_file_address(address)
    with open_source(home, name, folder, address, "objects") as source:
        files, listed = _list(address)
        taken_path = home.collecting / f"{name}.taken"
        if source.position is None:  # also where the position was removed, to collect everything again
            taken_path.unlink(missing_ok=True)
        source.add((), {})
        source.flush()  # the name belongs to this address from now on
        taken = TakenObjects(taken_path)
        taken.forget_all_but({each.digest for each in listed}, home.scratch)
        waiting = (each for each in listed if each.digest not in taken)
        while batch := list(islice(waiting, OBJECTS_AT_ONCE)):
            copies, refused = _copy_batch(home, files, batch, home.inbox / folder / name)
            taken.add(found.digest for found in copies)
            source.collected.files.extend(copies.values())
            source.collected.refused.extend(refused)
    return source.collected


def _list(address: str) -> tuple[Any, list[FoundObject]]:
    """The file system, and the objects at an address by their keys. Raises BillhouseError if there are none."""
    try:
        files, path = fsspec.core.url_to_fs(address)
        files.invalidate_cache()
        listed = files.glob(path, detail=True) if has_magic(path) else files.find(path, detail=True)
    except ImportError as error:
        raise BillhouseError(
            f"{address} cannot be read: {error}.", "For s3:// install Billhouse with it: pip install 'billhouse[s3]'."
        ) from None
    except Exception as error:  # each driver has errors of its own
        reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise BillhouseError(f"{address} cannot be read: {reason}.", "Check the address and the permissions.") from None
    found = [
        FoundObject(key, int(about.get("size") or 0), identity_digest(key, _version(about)))
        for key, about in sorted(listed.items())
        # What has no bytes is a marker, or still to be written. A local link or pipe is listed, so that it is refused by name.
        if about.get("type") != "directory" and (about.get("size") or about.get("type") != "file") and not _is_hidden(key)
    ]
    if not listed:
        raise BillhouseError(f"There are no objects at {address}.", "Check the address.")
    return files, found


def _copy_batch(home: Home, files: Any, batch: list[FoundObject], target: Path) -> tuple[dict[FoundObject, Path], list[str]]:
    """Copy objects to the inbox, so that they survive a power cut; what was copied, and messages about the others."""
    make_folders(home.scratch)
    make_folders(target)
    parent = home.scratch if are_on_same_disk(home.scratch, target) else target
    prefix = _PREFIX if parent == home.scratch else f".{_PREFIX}"
    remove_orphaned_folders(parent, prefix)
    copies: dict[FoundObject, Path] = {}
    refused: list[str] = []
    with locked_new_folder(parent, prefix) as folder, ThreadPoolExecutor(_THREADS) as threads:
        copying = [(found, threads.submit(_copy, files, found, folder)) for found in batch]
        for found, copied in copying:
            try:
                copies[found] = target / copied.result().name
            except UnreadableObjectError as error:
                refused.append(f"{found.key} {error}")
        for path in copies.values():
            os.replace(folder / path.name, path)
        sync_folder(target)
    return copies, refused


def _copy(files: Any, found: FoundObject, folder: Path) -> Path:
    """Copy an object to a folder, and sync it. Raises UnreadableObjectError."""
    blocks = _blocks(files, found)
    head = next(blocks, b"")
    try:
        path = folder / found.file_name(suffix_of(PurePosixPath(found.key).name, head[:HEAD_BYTES]))
    except UnknownFormatError as error:
        raise UnreadableObjectError(str(error)) from None
    size = 0
    with path.open("xb") as copy:
        for block in chain([head], blocks):
            size += copy.write(block)
        copy.flush()
        os.fsync(copy.fileno())
    path.chmod(0o600)
    if size != found.size or (isinstance(files, LocalFileSystem) and _digest_now(files, found.key) != found.digest):
        raise UnreadableObjectError("was changed while it was read. The next run takes it, if it no longer changes.")
    return path


def _blocks(files: Any, found: FoundObject) -> Iterator[bytes]:
    """An object's bytes, block by block. Raises UnreadableObjectError."""
    try:
        with _open(files, found.key) as stream:
            while block := stream.read(_BLOCK_BYTES):
                yield block
    except NotRegularError as error:
        raise UnreadableObjectError(f"{error} {error.next_step}") from None
    except Exception as error:  # each driver has errors of its own
        reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise UnreadableObjectError(f"cannot be read: {reason}.") from None


def _open(files: Any, key: str) -> IO[bytes]:
    opened: IO[bytes] = open_regular(Path(key)) if isinstance(files, LocalFileSystem) else files.open(key, "rb")
    return opened


def _digest_now(files: Any, key: str) -> bytes:
    return identity_digest(key, _version(files.info(key)))


def _version(about: dict[str, Any]) -> str:
    """What changes with an object's content: its etag, or its size and modification time."""
    etag = next((about[name] for name in _ETAGS if about.get(name)), None)
    if etag is not None:
        return str(etag).strip('"')
    return f"{about.get('size')} {next((about[name] for name in _INSTANTS if about.get(name)), '')}"


def _is_hidden(key: str) -> bool:
    return PurePosixPath(key).name.startswith(".") or key.endswith("/")
