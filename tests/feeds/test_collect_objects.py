"""Objects of a bucket: each content is copied once, as it is, under a name by which it lands."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from pipeline.core.home import Home
from pipeline.feeds import objects
from pipeline.feeds.object_formats import UnknownFormatError, suffix_of
from pipeline.feeds.taken_objects import DIGEST_BYTES, TakenObjects, identity_digest
from tests.feeds.killed_runs import kill_between_steps
from tests.landing.raw import event_line, events
from tests.support import Outcome, billhouse

LINE = event_line("sniffed").encode() + b"\n"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    folder = tmp_path / "bucket"
    folder.mkdir()
    return folder


def collect(home: Home, address: object, *words: object) -> Outcome:
    return billhouse(home.path, "collect", "--objects", address, "--name", "mine", *words, "--json")


def copies(home: Home) -> list[str]:
    """The copies in the inbox, without the digests in their names."""
    names = (path.name.split(".") for path in (home.inbox / "usage" / "mine").iterdir())
    return sorted(".".join([stem, *suffixes]) for stem, _, *suffixes in names)


def landed(home: Home) -> list[str]:
    files = sorted((home.inbox / "usage").rglob("*.*"))
    assert billhouse(home.path, "land", *files, "--json").json["quarantined"] == 0
    return sorted(str(row["event_id"]) for row in events(home))


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


def parquet(event_id: str) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([json.loads(event_line(event_id))]), sink)
    return bytes(sink.getvalue())


def test_objects_of_all_formats_are_copied_as_they_are_once_and_land(home: Home, bucket: Path) -> None:
    content = {
        "2026/09/a.json.gz": gzip.compress(event_line("a").encode()),
        "b.jsonl": event_line("b").encode(),
        "c.parquet": parquet("c"),
        "no-suffix": event_line("d").encode(),
        "part-0": zstd(event_line("e").encode()),
        "part-1": parquet("f"),
        "part-2.gz": gzip.compress(b"\n [" + event_line("g").encode() + b"]"),
        "decompressed.json.gz": event_line("h").encode(),
        "array.jsonl": b"[" + event_line("i").encode() + b"]",
        "_SUCCESS": b"",
        ".part.tmp": b"half",
    }
    for key, data in content.items():
        (bucket / key).parent.mkdir(parents=True, exist_ok=True)
        (bucket / key).write_bytes(data)
    first = collect(home, bucket)
    assert (first.code, len(first.json["files"]), first.json["refused"]) == (0, 9, [])
    assert copies(home) == [
        "a.json.gz",
        "array.json",
        "b.jsonl",
        "c.parquet",
        "decompressed.json",
        "no-suffix.json",
        "part-0.json.zst",
        "part-1.parquet",
        "part-2.json.gz",
    ]
    assert {path.read_bytes() for path in map(Path, first.json["files"])} == {data for data in content.values() if len(data) > 4}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in map(Path, first.json["files"]))
    assert collect(home, bucket).json["files"] == []
    assert landed(home) == list("abcdefghi")


def test_a_changed_object_is_a_new_one_and_both_land(home: Home, bucket: Path) -> None:
    (bucket / "events.jsonl").write_text(event_line("a") + "\n")
    (first,) = collect(home, bucket).json["files"]
    (bucket / "events.jsonl").write_text(event_line("a") + "\n" + event_line("b") + "\n")
    (second,) = collect(home, bucket).json["files"]
    assert first != second
    assert landed(home) == ["a", "b"]


def test_without_a_position_everything_is_collected_again(home: Home, bucket: Path) -> None:
    (bucket / "events.jsonl").write_text(event_line("a") + "\n")
    files = collect(home, bucket).json["files"]
    assert len(files) == 1
    assert collect(home, bucket).json["files"] == []
    (home.collecting / "mine.json").unlink()
    assert collect(home, bucket).json["files"] == files


def test_what_cannot_land_is_listed_each_time_and_the_others_are_taken(home: Home, bucket: Path) -> None:
    (bucket / "a.jsonl").write_text(event_line("a"))
    (bucket / "image").write_bytes(b"\x89PNG\0\0")
    (bucket / "broken.gz").write_bytes(b"\x1f\x8bnothing")
    (bucket / "link.jsonl").symlink_to(bucket / "a.jsonl")
    os.mkfifo(bucket / "pipe.jsonl")
    for files in (1, 0):
        result = collect(home, bucket)
        assert (result.code, len(result.json["files"])) == (1, files)
        assert [refusal.split("/")[-1].split()[0] for refusal in result.json["refused"]] == [
            "broken.gz",
            "image",
            "link.jsonl",
            "pipe.jsonl",
        ]


@pytest.mark.parametrize(
    ("name", "head", "suffix"),
    [
        ("x", LINE, ".json"),
        ("x.ndjson", LINE, ".ndjson"),
        ("x.CSV.GZ", gzip.compress(b"event_id\n1\n", mtime=0), ".csv.gz"),
        ("x.csv", b"[event_id]\n1\n", ".csv"),
        ("x.parquet", LINE, ".json"),
        ("x.zstd", zstd(LINE), ".json.zst"),
        ("x.json", b"\xef\xbb\xbf" + LINE, ".json"),
        ("x", b"PAR1", ".parquet"),
        ("x", b"event_id\n1\n", None),
        ("x", b"Obj\x01", ".avro"),
        ("x.avro.gz", gzip.compress(b"Obj\x01", mtime=0), None),
        ("x.parquet.gz", gzip.compress(b"PAR1", mtime=0), None),
        ("x.jsonl", b"\0\0\0", None),
        ("x.gz", b"\x1f\x8b", None),
        ("x.zst", b"\x28\xb5\x2f\xfdbroken", None),
    ],
)
def test_the_format_is_that_of_the_content(name: str, head: bytes, suffix: str | None) -> None:
    try:
        assert suffix_of(name, head) == suffix
    except UnknownFormatError:
        assert suffix is None


def test_a_pattern_leaves_other_objects_out_and_an_empty_place_is_an_error(home: Home, bucket: Path) -> None:
    (bucket / "a.jsonl").write_text(event_line("a"))
    (bucket / "manifest").write_text("not events")
    assert len(collect(home, f"{bucket}/*.jsonl").json["files"]) == 1
    for address in (bucket / "nowhere", f"{bucket}/*.csv", "nosuchscheme://bucket"):
        assert billhouse(home.path, "collect", "--objects", address).code == 1
    assert billhouse(home.path, "collect", "--objects", bucket, "--export", bucket).code == 2
    shown = billhouse(home.path, "collect", "--objects", f"{bucket}/a*", "--name", "shown").stdout
    assert "Collected 1 objects" in shown
    assert "billhouse land --kind usage" in shown


def test_an_address_with_a_password_is_refused_and_not_shown(home: Home) -> None:
    for address in ("s3://ada:top-secret@bucket/x", "memory://ada:top-secret@x/y", "simplecache::memory://ada:top-secret@x"):
        for option in ("--objects", "--export"):
            refused = billhouse(home.path, "collect", option, address, "--json")
            assert (refused.code, "holds a name or a password" in refused.json["error"]) == (2, True)
            assert "top-secret" not in refused.stdout + refused.stderr
    assert not list(home.collecting.glob("*"))


def test_an_object_that_changes_while_it_is_read_is_left_for_the_next_run(home: Home, bucket: Path) -> None:
    path = bucket / "a.jsonl"
    path.write_text(event_line("a"))
    read = objects._blocks

    def changing(files: Any, found: Any) -> Iterator[bytes]:
        yield from read(files, found)
        path.write_text(event_line("b"))
        os.utime(path, (1, 1))

    with patch.object(objects, "_blocks", changing):
        assert "was changed while it was read" in collect(home, bucket).json["refused"][0]
    assert len(collect(home, bucket).json["files"]) == 1
    assert landed(home) == ["b"]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """S3 on this machine, of moto, with an empty bucket `usage`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        settings = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "s3-secret-0123456789",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        for name, value in (settings | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}).items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket="usage")
        yield client
    finally:
        server.stop()


def test_objects_of_s3_are_known_by_key_and_etag(home: Home, s3: Any) -> None:
    def put(key: str, content: bytes) -> None:
        s3.put_object(Bucket="usage", Key=key, Body=content)

    put("events/2026/09/e2b box.jsonl", event_line("a").encode())
    put("events/2026/09/part-0", gzip.compress(event_line("b").encode()))
    put("events/2026/10/", b"")
    put("other/c.jsonl", event_line("c").encode())
    assert len(collect(home, "s3://usage/events").json["files"]) == 2
    put("events/2026/09/e2b box.jsonl", event_line("a").encode())
    assert collect(home, "s3://usage/events").json["files"] == [], "written again with the same content"
    put("events/2026/09/e2b box.jsonl", event_line("d").encode())
    assert len(collect(home, "s3://usage/events").json["files"]) == 1
    assert copies(home) == ["e2b_box.jsonl", "e2b_box.jsonl", "part-0.json.gz"]
    assert landed(home) == ["a", "b", "d"]
    missing = billhouse(home.path, "collect", "--objects", "s3://nowhere/events", "--json")
    assert missing.code == 1
    assert "s3-secret" not in missing.stdout + missing.stderr


def test_100000_objects_are_known_by_16_bytes_each_and_found_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.taken"
    digests = [identity_digest(f"key {number}", "etag") for number in range(100_000)]
    began = time.process_time()
    taken = TakenObjects(path)
    for start in range(0, len(digests), 1000):
        taken.add(digests[start : start + 1000])
    path.write_bytes(path.read_bytes() + digests[0][:5])  # as a kill in the middle of a write leaves it
    again = TakenObjects(path)
    assert all(digest in again for digest in digests)
    again.add([identity_digest("new", "etag")])
    assert time.process_time() - began < 5
    assert path.stat().st_size == 100_001 * DIGEST_BYTES
    assert identity_digest("new", "etag") in TakenObjects(path)
    again.forget_all_but(set(digests[:10]), tmp_path / "scratch")
    assert path.stat().st_size == 10 * DIGEST_BYTES
    assert len(TakenObjects(path)) == 10


def test_a_run_may_be_killed_between_every_two_steps(home: Home, bucket: Path) -> None:
    added: list[str] = []

    def add_rows(number: int) -> None:
        for each in range(3):
            added.append(f"{number}-{each}")
            (bucket / f"{added[-1]}.jsonl").write_text(event_line(added[-1]) + "\n")

    words = ["collect", "--objects", str(bucket), "--name", "mine"]
    with patch.object(objects, "OBJECTS_AT_ONCE", 2):
        kills = kill_between_steps(home.path, words, add_rows, [10, 16, 19])
    assert kills >= 5
    assert landed(home) == sorted(added)
