"""Which objects of a bucket were collected: a file that grows by 16 bytes for each.

A line of JSON for all of them would be written again for every batch, which takes the square of their number.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from pipeline.core.files import replace_atomically, sync_folder

DIGEST_BYTES = 16
_MANY = 1000


def identity_digest(key: str, version: str) -> bytes:
    """What identifies one content of an object: its key, and its etag or what is used instead of one."""
    return hashlib.sha256(f"{key}\0{version}".encode()).digest()[:DIGEST_BYTES]


class TakenObjects:
    """The digests of the collected objects, in a file that one process writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = b""
        self._whole_bytes = len(content) // DIGEST_BYTES * DIGEST_BYTES  # a kill or a power cut may leave a part of one
        self._taken = {content[at : at + DIGEST_BYTES] for at in range(0, self._whole_bytes, DIGEST_BYTES)}

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._taken

    def __len__(self) -> int:
        return len(self._taken)

    def add(self, digests: Iterable[bytes]) -> None:
        """Store digests, so that they survive a power cut. Their objects must be in the inbox already."""
        added = [digest for digest in digests if digest not in self._taken]
        if not added:
            return
        is_new = not self._path.exists()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, self._whole_bytes)
            os.lseek(descriptor, self._whole_bytes, os.SEEK_SET)
            content = b"".join(added)
            while content:
                content = content[os.write(descriptor, content) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            sync_folder(self._path.parent)
        self._whole_bytes += DIGEST_BYTES * len(added)
        self._taken.update(added)

    def forget_all_but(self, listed: set[bytes], scratch: Path) -> None:
        """Drop the digests of objects that are no longer listed, if they are most of the file."""
        if len(self._taken) <= 2 * len(listed) + _MANY:
            return
        self._taken &= listed
        with replace_atomically(self._path, scratch=scratch) as path:
            path.write_bytes(b"".join(sorted(self._taken)))
        self._whole_bytes = DIGEST_BYTES * len(self._taken)
