"""A part of an index finds exactly the keys that were written, and a damaged one is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.store.key_index_part import DamagedIndexError, Entries, Part, write_part

FILES = [b"usage_events/a.parquet", b"usage_events/event_date=2026-01-01/b.parquet", b"c.parquet"]


def _entries(rows: int, distinct: int, seed: int, *, has_owners: bool) -> Entries:
    draw = np.random.default_rng(seed)
    values = draw.integers(0, 2**64, distinct, dtype=np.uint64)
    values[:2] = [0, 2**64 - 1]  # the least hash, and the one that fills up the last block
    return Entries(
        values[draw.integers(0, distinct, rows)],
        draw.integers(0, len(FILES), rows).astype(np.uint32),
        FILES,
        draw.integers(0, 3, rows, dtype=np.uint64) if has_owners else None,
    )


@pytest.mark.parametrize("has_owners", [False, True])
@pytest.mark.parametrize(("rows", "distinct"), [(1, 2), (127, 50), (128, 128), (129, 3), (5000, 4), (5000, 4000)])
def test_a_part_finds_every_entry_with_a_hash_and_no_other(tmp_path: Path, rows: int, distinct: int, has_owners: bool) -> None:
    entries = _entries(rows, distinct, seed=rows, has_owners=has_owners)
    part = Part(tmp_path / "part", write_part(tmp_path / "part", entries, "a", "z"))
    draw = np.random.default_rng(1)
    absent = draw.integers(0, 2**64, 20, dtype=np.uint64)
    for wanted in (np.unique(entries.hashes), np.unique(entries.hashes)[::7], absent, np.array([0, 2**64 - 1], np.uint64)):
        needles = np.unique(np.concatenate([wanted, absent]))
        hashes, places = part.find(needles)
        is_wanted = np.isin(entries.hashes, needles)
        expected = sorted(zip(entries.hashes[is_wanted].tolist(), entries.places[is_wanted].tolist(), strict=True))
        assert sorted(zip(hashes.tolist(), places.tolist(), strict=True)) == expected
        if entries.owners is not None:
            owners = np.ones(len(needles), np.uint64)
            found, _ = part.find(needles, owners)
            assert sorted(found.tolist()) == sorted(entries.hashes[is_wanted & (entries.owners != 1)].tolist())
    assert part.names() == FILES
    everything = part.entries()
    assert sorted(everything.hashes.tolist()) == sorted(entries.hashes.tolist())


def test_a_changed_byte_anywhere_in_a_part_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "part"
    info = write_part(path, _entries(200, 150, seed=3, has_owners=True), "a", "z")
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DamagedIndexError):
            Part(path, info).entries()
    for wrong in (content[:-1], content + b"x", b""):
        path.write_bytes(wrong)
        with pytest.raises(DamagedIndexError):
            Part(path, info)
    path.unlink()
    with pytest.raises(DamagedIndexError):
        Part(path, info)
