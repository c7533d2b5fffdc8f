"""The senders' keys: printed once, stored as hashes."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.plain_text import redact
from pipeline.feeds.receive.keys import KeyRing, add_key, read_keys
from tests.support import billhouse


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def test_a_key_is_printed_once_and_its_hash_is_stored_for_the_owner_alone(home: Home) -> None:
    added = billhouse(home.path, "receive-key", "add", "gateway", "usage", "e2b-events", "usage")
    assert added.code == 0, added.stderr
    key = added.stdout.strip()
    assert re.fullmatch(r"bhk_[\w-]{43}", key)
    file = home.receiving / "keys.json"
    digest = hashlib.sha256(key.encode()).hexdigest()
    (stored,) = json.loads(file.read_text())["keys"]
    assert stored["sha256"] == digest
    assert (file.stat().st_mode & 0o777, home.receiving.stat().st_mode & 0o777) == (0o600, 0o700)
    everything = b"".join(path.read_bytes() for path in home.path.rglob("*") if path.is_file())
    assert key.encode() not in everything
    listed = billhouse(home.path, "receive-key", "list", "--json")
    assert key not in listed.stdout
    (shown,) = listed.json["keys"]
    assert (shown["id"], shown["sender"], shown["names"]) == (digest[:8], "gateway", ["usage", "e2b-events"])
    assert "gateway" in billhouse(home.path, "receive-key", "list").stdout
    assert redact(f"a log with {key}") == "a log with bhk_[redacted]"


def test_keys_are_found_until_they_are_revoked(home: Home) -> None:
    _, one = add_key(home, "gateway", ["usage"])
    second, two = add_key(home, "gateway", ["metrics"])
    _, other = add_key(home, "sdk", ["usage"])
    ring = KeyRing(home)
    assert [found.names for key in (one, two) if (found := ring.find(key)) is not None] == [("usage",), ("metrics",)]
    for wrong in ("", one[:-1], one + "x", one.upper(), read_keys(home)[0].sha256, "ä\udcff", "x" * 100_000):
        assert ring.find(wrong) is None
    assert billhouse(home.path, "receive-key", "revoke", second.id).stdout == f"Revoked {second.id}.\n"
    assert ring.find(two) is None and ring.find(one) is not None
    assert len(billhouse(home.path, "receive-key", "revoke", "gateway", "--json").json["revoked"]) == 1
    assert ring.find(one) is None and ring.find(other) is not None
    assert billhouse(home.path, "receive-key", "revoke", "gateway").code == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["gateway", "nothing"], "There is no source 'nothing'"),
        (["gateway", "documents"], "reads whole documents, with its rows at $.data"),
        (["Gateway/../x", "usage"], "lower-case letters"),
    ],
)
def test_a_key_for_a_name_that_takes_no_rows_is_refused(home: Home, words: list[str], reason: str) -> None:
    home.sources.mkdir()
    (home.sources / "documents.sql").write_text("-- kind: usage\n-- rows: $.data\nselect file_row from rows\n")
    refused = billhouse(home.path, "receive-key", "add", *words)
    assert refused.code == 2
    assert reason in " ".join(refused.stderr.split())
    assert read_keys(home) == []


def test_a_broken_file_of_keys_is_an_error_and_no_key_is_valid(home: Home) -> None:
    _, key = add_key(home, "gateway", ["usage"])
    for content in ("", "{}", '{"keys": [{}]}', '{"keys": [{"id": 1}]}', "[]"):
        (home.receiving / "keys.json").write_text(content)
        with pytest.raises(BillhouseError, match="cannot be read"):
            read_keys(home)
        with pytest.raises(BillhouseError):
            KeyRing(home).find(key)
