"""The keys of senders: made here, shown once, and stored as hashes in receiving/keys.json, which only the owner can read.

A key is 256 random bits, which cannot be guessed, so one SHA-256 protects it at rest. Slow hashes such as scrypt are for
passwords that people choose, and would cost each request a tenth of a second.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.core.files import replace_atomically
from pipeline.core.home import Home
from pipeline.core.locks import hold_lock
from pipeline.feeds.receive.names import check_name

KEY_PREFIX = "bhk_"
_SENDER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_ID_DIGITS = 8
_LONGEST_KEY = 200
"""Characters; a longer text is no key of ours, and is not hashed."""


@dataclass(frozen=True)
class SenderKey:
    """A key as it is stored: without the key itself."""

    id: str
    """The first hexadecimal digits of the hash."""
    sender: str
    names: tuple[str, ...]
    """The kinds and sources that it may post to."""
    sha256: str
    created_at: str
    """An instant, UTC."""


def add_key(home: Home, sender: str, names: Sequence[str]) -> tuple[SenderKey, str]:
    """Make a key for a sender. Returns what is stored, and the key itself, which is not stored anywhere.

    Raises WrongUsageError if the sender's name is invalid, or one of `names` is neither a kind nor a source.
    """
    if not _SENDER.fullmatch(sender):
        raise WrongUsageError(
            "The name of a sender has lower-case letters, digits, dots, dashes and underscores.", "Choose one like gateway-eu."
        )
    for name in names:
        check_name(home, name)
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    digest = _digest(key)
    added = SenderKey(
        digest[:_ID_DIGITS], sender, tuple(dict.fromkeys(names)), digest, datetime.now(UTC).isoformat(timespec="seconds")
    )
    with _changing(home):
        _write(home, [*read_keys(home), added])
    return added, key


def revoke_keys(home: Home, sender_or_id: str) -> list[SenderKey]:
    """Remove all keys of a sender, or the key with an id; returns them. Raises WrongUsageError if there is no such key.

    A running `billhouse receive` refuses them from its next request on.
    """
    with _changing(home):
        known = read_keys(home)
        revoked = [key for key in known if sender_or_id in (key.sender, key.id)]
        if not revoked:
            raise WrongUsageError(f"No sender and no key is called '{sender_or_id}'.", "List them: billhouse receive-key list")
        _write(home, [key for key in known if key not in revoked])
    return revoked


def read_keys(home: Home) -> list[SenderKey]:
    """The keys, oldest first. Raises BillhouseError if the file cannot be read."""
    path = _path(home)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [SenderKey(**{**key, "names": tuple(key["names"])}) for key in found["keys"]]
    except FileNotFoundError:
        return []
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise BillhouseError(
            f"The senders' keys in {path} cannot be read.",
            "Restore the file from a back-up, or remove it and make new keys with billhouse receive-key add.",
        ) from error


class KeyRing:
    """The keys for the server: read again as soon as the file changes."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._path = _path(home)
        self._version: tuple[int, ...] | None = (0,)
        self._keys: list[SenderKey] = []

    def find(self, presented: str) -> SenderKey | None:
        """The stored form of a presented key; None if it is not known. A wrong key takes as long as a right one."""
        self._read_changes()
        digest = _digest(presented) if len(presented) <= _LONGEST_KEY else ""
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found

    def _read_changes(self) -> None:
        try:
            found = self._path.stat()
            version: tuple[int, ...] | None = (found.st_ino, found.st_size, found.st_mtime_ns)
        except FileNotFoundError:
            version = None
        if version != self._version:
            self._keys = read_keys(self._home)
            self._version = version


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _path(home: Home) -> Path:
    return home.receiving / "keys.json"


def _changing(home: Home) -> AbstractContextManager[None]:
    home.receiving.mkdir(mode=0o700, exist_ok=True)
    return hold_lock(home.receiving / ".keys.lock", activity="changing the senders' keys", timeout_seconds=10)


def _write(home: Home, keys: list[SenderKey]) -> None:
    with replace_atomically(_path(home), scratch=home.scratch) as path:
        path.write_text(json.dumps({"keys": [asdict(key) for key in keys]}, indent=1) + "\n", encoding="utf-8")
