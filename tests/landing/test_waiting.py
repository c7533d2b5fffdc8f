"""Files in the inbox that have landed are found without reading all of the history of landed files."""

from __future__ import annotations

from pathlib import Path

from pipeline.core.home import Home
from pipeline.landing import land_files
from pipeline.landing.waiting import _LandedFiles, inbox_files
from pipeline.store.raw import landed_file_rows_of_sizes
from tests.landing.raw import event_line, landed_files, write_lines


def test_only_landed_files_with_the_size_of_one_in_the_inbox_are_looked_at(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    folder = home.inbox / "usage"
    folder.mkdir(parents=True)
    files = [write_lines(folder / f"{number}.jsonl", [event_line("e" * number)]) for number in (1, 20, 300)]
    land_files(home, files[:2])
    land_files(home, [write_lines(tmp_path / "other.jsonl", [event_line("e" * 40)])])
    assert [file.has_landed for file in inbox_files(home)] == [True, True, False]
    by_name = {row["file_name"]: row for row in landed_files(home)}
    files[0].unlink()
    sizes = {path.stat().st_size for path in files[1:]}
    assert landed_file_rows_of_sizes(home, sizes)["file_name"].to_pylist() == ["20.jsonl"]
    assert _LandedFiles(home, sizes)._ids == {by_name["20.jsonl"]["file_id"]}
    assert [file.has_landed for file in inbox_files(home)] == [True, False]


def test_a_file_with_the_name_and_size_of_a_landed_one_and_other_content_waits(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    path = home.inbox / "usage" / "a.jsonl"
    path.parent.mkdir(parents=True)
    assert inbox_files(home) == []
    write_lines(path, [event_line("evt-1")])
    assert [file.has_landed for file in inbox_files(home)] == [False]  # no file has landed yet
    land_files(home, [path])
    assert [file.has_landed for file in inbox_files(home)] == [True]
    write_lines(path, [event_line("evt-2")])
    assert [file.has_landed for file in inbox_files(home)] == [False]
