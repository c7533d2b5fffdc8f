"""Small raw files of a day, and of landed_files, are merged: no row is lost, changed or doubled, whenever a merge is killed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.landing import land_files
from pipeline.landing.index_state import landing_totals
from pipeline.landing.merge_raw_files import MergedFiles, merge_raw_files, remove_replaced
from pipeline.landing.quarantine_report import reasons_in_quarantine
from pipeline.landing.verify_events import event_problems
from pipeline.store.append import finish_interrupted
from pipeline.store.integrity import adopt_files, integrity_problems, read_store_state
from pipeline.store.manifest import append_line, manifest_head, new_line, read_manifest
from pipeline.store.raw import landed_file_ids, landed_file_rows
from pipeline.warehouse.build import build
from pipeline.warehouse.build_inputs import input_digests
from pipeline.warehouse.build_steps import BuildFailedError
from pipeline.warehouse.reconstruction import _link_landed
from pipeline.warehouse.reports import read_status
from tests.landing.raw import Row, event_line, landed_files, rows_of, write_lines
from tests.landing.test_atomicity import KILLED_AT_EVERY_STEP
from tests.support import billhouse

FILES = 6
"""Landed files, each with events of two days."""


@pytest.fixture(autouse=True)
def _few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLHOUSE_RAW_FILES_PER_DAY", "2")


def input_files(folder: Path) -> list[Path]:
    """Files with events of a few sandboxes, which are in all of them."""
    folder.mkdir()
    return [
        write_lines(
            folder / f"{number}.jsonl",
            [
                event_line(
                    f"evt-{number}-{place}",
                    sandbox_id=f"box-{place % 3}",
                    timestamp=f"2026-01-0{1 + place % 2}T1{place % 10}:00:0{number}Z",
                    event_type="resources_updated",
                    vcpu_count=place,
                )
                for place in range(8)
            ],
        )
        for number in range(FILES)
    ]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home.open(tmp_path / "home")
    for file in input_files(tmp_path / "files"):  # in one call, one file a day would have the rows of all
        assert land_files(made, [file]).problems == []
    return made


def rows_in_order(home: Home) -> list[Row]:
    return sorted(rows_of(home), key=lambda row: (row["file_id"], row["file_row"]))


def raw_files(home: Home) -> list[str]:
    return sorted(path.relative_to(home.raw).as_posix() for path in home.raw.glob("usage_events/*=*/*"))


def problems(home: Home) -> list[str]:
    return [str(problem) for problem in (*integrity_problems(home, read_store_state(home)), *event_problems(home))]


def merged_file(home: Home) -> Path:
    return next(home.raw.glob("usage_events/event_date=2026-01-01/merged-*.parquet"))


def test_a_merged_day_has_the_rows_of_its_files_sorted_each_with_its_file_and_line(home: Home) -> None:
    before = rows_in_order(home)
    as_landed = {path.stem: pq.ParquetFile(path).read() for path in home.raw.glob("usage_events/event_date=2026-01-01/*")}
    assert merge_raw_files(home) == MergedFiles(days=2, files=3 * FILES, merged_files=3)
    assert len(raw_files(home)) == 2
    assert rows_in_order(home) == before
    merged = pq.ParquetFile(merged_file(home))
    table = merged.read()
    assert table.to_pylist() == sorted(table.to_pylist(), key=lambda row: (row["sandbox_id"], row["event_at"], row["file_id"]))
    for file_id, landed in as_landed.items():  # a landed file can be written again
        again = table.filter(pa.compute.equal(table["file_id"], file_id))
        assert again.to_pylist() == landed.to_pylist()
        assert merged.metadata.metadata[file_id.encode()] == str(landed.num_rows).encode()
    assert problems(home) == []
    assert merge_raw_files(home) == MergedFiles(), "there is nothing left to merge"


def test_a_merged_file_is_merged_again_with_those_that_land_later(home: Home, tmp_path: Path) -> None:
    merge_raw_files(home)
    more = [write_lines(tmp_path / f"more-{at}.jsonl", [event_line(f"more-{at}", sandbox_id=f"box {at}")]) for at in range(2)]
    for file in more:
        land_files(home, [file])
    before = rows_in_order(home)
    assert merge_raw_files(home) == MergedFiles(days=1, files=6, merged_files=2)
    assert rows_in_order(home) == before and problems(home) == []
    footer = pq.read_metadata(merged_file(home)).metadata
    assert sum(int(rows) for key, rows in footer.items() if len(key) == 64) == 4 * FILES + 2


def test_files_that_land_in_one_call_have_one_raw_file_a_day_as_if_they_had_been_merged(tmp_path: Path) -> None:
    one_by_one, together = (Home.open(tmp_path / name) for name in ("one_by_one", "together"))
    files = input_files(tmp_path / "files")
    alone = write_lines(tmp_path / "alone.jsonl", [event_line("evt-alone", timestamp="2026-01-03T10:00:00Z")])
    for file in (*files, alone):
        land_files(one_by_one, [file])
    merge_raw_files(one_by_one)
    land_files(together, [*files, alone])
    assert len(raw_files(together)) == 3 and problems(together) == []
    assert len(list((together.raw / "landed_files").glob("[0m]*.parquet"))) == 1
    assert merge_raw_files(together) == MergedFiles()
    for name in raw_files(one_by_one):
        merged, landed = ((pq.ParquetFile(home.raw / name)) for home in (one_by_one, together))
        assert landed.read().to_pylist() == merged.read().to_pylist()
        footers = [{key for key in (file.metadata.metadata or {}) if len(key) == 64} for file in (merged, landed)]
        assert footers[0] == footers[1]


def test_a_day_with_few_small_files_stays_as_it_is(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    before = raw_files(home)
    monkeypatch.setenv("BILLHOUSE_RAW_FILES_PER_DAY", str(FILES))
    assert merge_raw_files(home) == MergedFiles()
    monkeypatch.setenv("BILLHOUSE_RAW_FILES_PER_DAY", "2")
    monkeypatch.setattr("pipeline.landing.merge_raw_files._SMALL_BYTES", 1)
    assert merge_raw_files(home) == MergedFiles()
    assert raw_files(home) == before


def test_many_files_are_merged_into_several_of_limited_size(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    size = max(path.stat().st_size for path in home.raw.glob("usage_events/*=*/*"))
    monkeypatch.setattr("pipeline.landing.merge_raw_files._ENOUGH_BYTES", 2 * size)
    before = rows_in_order(home)
    assert merge_raw_files(home) == MergedFiles(days=2, files=2 * FILES, merged_files=4)
    assert rows_in_order(home) == before and problems(home) == []


def test_a_file_that_lands_again_is_a_duplicate_and_a_conflict_names_its_file_and_line(home: Home, tmp_path: Path) -> None:
    merge_raw_files(home)
    (again,) = land_files(home, [tmp_path / "files" / "0.jsonl"]).files
    assert again.is_already_landed
    lines = (tmp_path / "files" / "1.jsonl").read_text().splitlines()
    conflict = event_line("evt-2-3", sandbox_id="box-0", timestamp="2026-01-02T13:00:02Z", event_type="sandbox_stopped")
    other_user = event_line("evt-new", sandbox_id="box-0", user_id="bob")
    (landed,) = land_files(home, [write_lines(tmp_path / "again.jsonl", [*lines, conflict, other_user])]).files
    assert (landed.accepted, landed.duplicates) == (0, 8)
    assert landed.by_reason == {"conflicting_duplicate": 1, "user_mismatch": 1}
    file_id = next(row["file_id"] for row in landed_files(home) if row["file_name"] == "2.jsonl")
    assert f"file {file_id[:12]}, row 4" in next(
        row["detail"] for row in rows_of(home, "quarantine") if row["reason"] == "conflicting_duplicate"
    )


def test_the_command_and_each_landing_merge_and_say_what_they_did(home: Home, tmp_path: Path) -> None:
    printed = billhouse(home.path, "compact")
    assert (printed.code, printed.stdout) == (0, f"{3 * FILES} small files became 3 (usage of 2 days).\n")
    assert billhouse(home.path, "compact").stdout == "No folder has so many small files.\n"
    more = [write_lines(tmp_path / f"more-{at}.jsonl", [event_line(f"more-{at}", sandbox_id=f"box {at}")]) for at in range(2)]
    assert [billhouse(home.path, "land", file).code for file in more] == [0, 0]
    assert len(raw_files(home)) == 2
    assert billhouse(home.path, "compact", "--json").json == {
        "days": 0, "files": 0, "merged_files": 0, "problems": [], "removed": 0,
    }  # fmt: skip


def test_a_merge_that_is_killed_at_any_step_is_complete_or_absent_and_finished_by_the_next_command(
    home: Home, tmp_path: Path
) -> None:
    rows, landed, before, start = rows_in_order(home), landed_files(home), raw_files(home), tmp_path / "start"
    shutil.copytree(home.path, start)
    merge_raw_files(home)
    after = raw_files(home)
    killed = tmp_path / "killed"
    killed.mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EVERY_STEP, str(killed), str(start)],
        capture_output=True,
        text=True,
        cwd=PROJECT_ROOT,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 30, "there are steps to die at"
    seen = set()
    for path in sorted(killed.iterdir()):
        stopped = Home.open(path)
        seen.add(len(raw_files(stopped)))
        assert problems(stopped) == [], "also before the next command finishes the merge"
        finish_interrupted(stopped)
        assert rows_in_order(stopped) == rows and landed_files(stopped) == landed and problems(stopped) == []
        assert set(raw_files(stopped)) <= {*before, *after}
        merge_raw_files(stopped)
        assert raw_files(stopped) == after and rows_in_order(stopped) == rows and landed_files(stopped) == landed, path.name
        assert list(stopped.scratch.iterdir()) == []
    assert len(seen) >= 2 * FILES, "also between the removals"


_MERGE = """
import sys
from pathlib import Path
from pipeline.core.home import Home
from pipeline.landing import land_files
from pipeline.landing.index_state import landing_totals
from pipeline.landing.merge_raw_files import merge_raw_files
home, *files = map(Path, sys.argv[1:])
for file in files:
    land_files(Home(home), [file])
    assert merge_raw_files(Home(home)).files
"""


def test_verifying_during_merges_finds_no_problem(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLHOUSE_RAW_FILES_PER_DAY", "1")
    more = [write_lines(tmp_path / f"more-{at}.jsonl", [event_line(f"more-{at}", sandbox_id=f"b {at}")]) for at in range(20)]
    with subprocess.Popen([sys.executable, "-c", _MERGE, str(home.path), *map(str, more)], cwd=PROJECT_ROOT) as merging:
        verified = 0
        while merging.poll() is None:
            assert problems(home) == []
            verified += 1
    assert merging.returncode == 0 and verified > 3 and len(raw_files(home)) == 2


def test_merged_rows_of_landed_files_are_in_order_of_landing_and_more_follow(home: Home, tmp_path: Path) -> None:
    ids, rows, totals, inputs = landed_file_ids(home), landed_file_rows(home), landing_totals(home), digest_of_landed(home)
    merge_raw_files(home)
    assert len(list(home.raw.glob("landed_files/*"))) == 2, "one, and the one without rows"
    assert landed_file_ids(home) == ids == rows["file_id"].to_pylist()
    assert landed_file_rows(home).to_pylist() == rows.to_pylist() == landed_files(home)
    assert landing_totals(home) == totals and digest_of_landed(home) == inputs, "no build is needed"
    land_files(home, [write_lines(tmp_path / "more.jsonl", [event_line("more")])])
    assert [row["landed_sequence"] for row in landed_files(home)] == list(range(1, FILES + 2))
    shutil.rmtree(home.landing_index)
    land_files(home, [write_lines(tmp_path / "last.jsonl", [event_line("last")])])
    assert [row["landed_sequence"] for row in landed_files(home)] == list(range(1, FILES + 3)), "also with a new index"
    found = landing_totals(home)
    assert found is not None and (found.rows, found.accepted) == (FILES + 2, 8 * FILES + 2)


def digest_of_landed(home: Home) -> str:
    return input_digests(home, datetime(2026, 2, 1, tzinfo=UTC), PROJECT_ROOT)["raw/landed_files"]


def test_a_row_of_landed_files_that_is_in_two_files_is_read_once(home: Home, tmp_path: Path) -> None:
    """As between the rename of a merged file and the removal of those that it replaces."""
    rows, totals = landed_files(home), landing_totals(home)
    shutil.copytree(home.raw / "landed_files", tmp_path / "before")
    merge_raw_files(home)
    shutil.copytree(tmp_path / "before", home.raw / "landed_files", dirs_exist_ok=True)
    assert landed_file_rows(home).to_pylist() == rows
    assert landing_totals(home) == totals
    assert read_status(home)["landed"]["files"] == FILES


@pytest.mark.parametrize("first", [0, 1, FILES, None])
def test_an_earlier_state_has_the_files_that_had_landed_then(home: Home, tmp_path: Path, first: int | None) -> None:
    merge_raw_files(home)
    land_files(home, [write_lines(tmp_path / "more.jsonl", [event_line("more")])])
    earlier = Home.open(tmp_path / "earlier")
    _link_landed(home, earlier, first)
    assert landed_file_ids(earlier) == landed_file_ids(home)[:first]


def test_status_and_quarantine_can_be_read_during_merges(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLHOUSE_RAW_FILES_PER_DAY", "1")
    land_files(home, [write_lines(tmp_path / "bad.jsonl", [event_line("bad", event_type="nonsense")])])
    more = [write_lines(tmp_path / f"more-{at}.jsonl", [event_line(f"more-{at}", sandbox_id=f"b {at}")]) for at in range(20)]
    with subprocess.Popen([sys.executable, "-c", _MERGE, str(home.path), *map(str, more)], cwd=PROJECT_ROOT) as merging:
        reads, files = 0, FILES + 1
        while merging.poll() is None:
            landed = len(landed_file_ids(home))
            assert landed >= files and landed_file_rows(home).num_rows >= landed
            totals = landing_totals(home)
            assert totals is not None and totals.files >= landed
            assert [row["rows"] for row in reasons_in_quarantine(home)] == [1]
            reads, files = reads + 1, landed
    assert merging.returncode == 0 and reads > 3 and len(landed_file_ids(home)) == FILES + 21


def without_a_row(path: Path) -> None:
    table = pq.ParquetFile(path).read()
    path.chmod(0o600)
    pq.write_table(table.slice(1).replace_schema_metadata(pq.read_metadata(path).metadata), path)


def with_more_vcpus(path: Path) -> None:
    table = pq.ParquetFile(path).read()
    place = table.schema.get_field_index("vcpu_count")
    tenfold = pa.compute.multiply(table["vcpu_count"], 10).cast(table.schema.field("vcpu_count").type)
    path.chmod(0o600)
    pq.write_table(table.set_column(place, "vcpu_count", tenfold).replace_schema_metadata(pq.read_metadata(path).metadata), path)


@pytest.mark.parametrize("change", [without_a_row, with_more_vcpus, Path.unlink])
def test_a_change_to_a_merged_file_is_noticed(home: Home, change: Callable[[Path], None]) -> None:
    merge_raw_files(home)
    head = manifest_head(home)
    change(merged_file(home))
    (problem, *_) = integrity_problems(home, read_store_state(home), head=head)
    assert "merged-" in problem.file and ("was changed" in problem.reason or "is missing" in problem.reason)
    assert (list(event_problems(home)) == []) == (change is with_more_vcpus), "rows are counted by landed file"


def test_a_small_file_that_was_changed_is_not_merged_but_reported(home: Home) -> None:
    changed = next(home.raw.glob("usage_events/event_date=2026-01-01/*"))
    with_more_vcpus(changed)
    outcome = billhouse(home.path, "compact")
    assert outcome.code == 1 and "was changed after it was written" in outcome.stderr
    assert changed.exists() and len(raw_files(home)) == 3
    assert [problem for problem in problems(home) if changed.name in problem]


def test_a_file_of_which_no_row_is_in_landed_files_is_not_merged(home: Home) -> None:
    """Its rows do not count. The file may land again, under the same name."""
    (row,) = home.raw.glob("landed_files/00000001-*")
    row.unlink()
    assert merge_raw_files(home).files == 3 * (FILES - 1)
    assert len(raw_files(home)) == 4


def test_a_replaced_file_that_exists_again_is_reported_and_removed(home: Home, tmp_path: Path) -> None:
    """As after a restore from a bucket, which keeps files that were removed."""
    shutil.copytree(home.raw / "usage_events", tmp_path / "bucket")
    merge_raw_files(home)
    rows = rows_in_order(home)
    shutil.copytree(tmp_path / "bucket", home.raw / "usage_events", dirs_exist_ok=True)
    assert len([problem for problem in problems(home) if "exists again" in problem]) == 2 * FILES
    assert adopt_files(home) == 0, "it is known"
    aside = merged_file(home).rename(tmp_path / "aside")
    assert remove_replaced(home) == FILES, "not of the day of which the merged file is missing"
    (name,) = (name for name in read_manifest(home).files if "2026-01-01/merged" in name)
    aside.rename(home.path / name)
    assert billhouse(home.path, "compact").stdout.startswith(f"Removed {FILES} file(s)")
    assert rows_in_order(home) == rows and problems(home) == []


def test_a_manifest_line_cannot_replace_files_that_are_never_merged(home: Home, tmp_path: Path) -> None:
    land_files(home, [write_lines(tmp_path / "bad.jsonl", [event_line("evt-bad", event_type="nonsense")])])
    (row,) = home.raw.glob("quarantine/[0-9a-f]*")
    name = row.relative_to(home.path).as_posix()
    append_line(home, new_line(home, {"command": "compact", "replaced": [name]}))
    row.unlink()
    found = problems(home)
    assert any(f"replaces {name}" in problem for problem in found)
    assert any(name in problem and "is missing" in problem for problem in found)


@pytest.mark.usefixtures("parsed_project")
def test_a_build_notices_rows_that_a_merged_file_lost(home: Home) -> None:
    merge_raw_files(home)
    without_a_row(merged_file(home))
    with pytest.raises(BuildFailedError, match="landed_events_are_all_there"):
        build(home)


def test_one_line_of_the_manifest_lists_a_merged_file_and_those_that_it_replaces(home: Home) -> None:
    before = sorted([*raw_files(home), *(f"landed_files/{path.name}" for path in home.raw.glob("landed_files/0*"))])
    merge_raw_files(home)
    entries = [json.loads(line) for line in home.manifest.read_text().splitlines()][-3:]
    assert [entry["command"] for entry in entries] == ["compact"] * 3
    assert sorted(name.removeprefix("raw/") for entry in entries for name in entry["replaced"]) == before
    assert all(len(entry["files"]) == 1 for entry in entries)
