"""Rows of CSV with quotes, line breaks and other delimiters: each lands with its line, and a bad one takes no other along."""

from __future__ import annotations

import gzip
from pathlib import Path
from shutil import copytree

import pytest

from pipeline.core.home import SEEDS, Home
from pipeline.landing import land_files
from pipeline.landing.record_kinds import Kind
from tests.landing.raw import rows_of

HEADER = "customer_id,name\n"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def land(home: Home, path: Path, text: str) -> dict[str, tuple[str, int]]:
    """Land a file of customers; the name and the line of each."""
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    assert land_files(home, [path], Kind.CUSTOMERS).problems == []
    return {row["customer_id"]: (row["name"], row["file_row"]) for row in rows_of(home, "customers")}


def quarantined(home: Home) -> list[tuple[int, str]]:
    return sorted((row["file_row"], row["raw_row"]) for row in rows_of(home, "quarantine"))


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_cell_in_quotes_holds_line_breaks_and_each_row_has_the_line_that_it_begins_on(
    name: str, end: str, home: Home, tmp_path: Path
) -> None:
    text = HEADER + 'ada,"Ada\n\n""A"", x"\nbob,Bob\neve,"E\nve"'
    landed = land(home, tmp_path / name, text.replace("\n", end))
    assert landed == {"ada": (f'Ada{end}{end}"A", x', 2), "bob": ("Bob", 5), "eve": (f"E{end}ve", 6)}
    assert quarantined(home) == []


@pytest.mark.parametrize("block", [1, 7, 20, 1 << 20])
def test_a_row_is_the_same_wherever_a_block_of_the_file_ends(
    block: int, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.landing.lines._BLOCK_BYTES", block)
    landed = land(home, tmp_path / "a.csv", HEADER + 'ada,"A\nd\na"\nbob,"B\nob"\ncy,"c\n')
    assert landed == {"ada": ("A\nd\na", 2), "bob": ("B\nob", 5)}
    assert quarantined(home) == [(7, 'cy,"c')]


def test_a_quote_that_is_not_closed_takes_no_other_row_along(home: Home, tmp_path: Path) -> None:
    landed = land(home, tmp_path / "a.csv", HEADER + 'ada,"open\nbob,Bob\neve,"E\nve"\ncy,Cy\n')
    assert landed == {"bob": ("Bob", 3), "eve": ("E\nve", 4), "cy": ("Cy", 6)}
    assert quarantined(home) == [(2, 'ada,"open')]


def test_a_row_in_quotes_that_is_too_long_is_no_row(home: Home, tmp_path: Path) -> None:
    filling = "x" * 1000 + "\n"
    landed = land(home, tmp_path / "a.csv", HEADER + f'ada,"{filling * 70}"\nbob,Bob\n')
    assert landed == {"bob": ("Bob", 73)}
    assert len(quarantined(home)) == 71


@pytest.mark.parametrize(("mark", "other"), [("\t", ","), (";", ","), ("|", ";")])
def test_a_file_is_delimited_as_its_header_is(mark: str, other: str, home: Home, tmp_path: Path) -> None:
    text = f'customer_id{mark}name\nada{mark}A{other}B\nbob{mark}"B{mark}\nC"\ncy\n'
    assert land(home, tmp_path / "a.csv", text) == {"ada": (f"A{other}B", 2), "bob": (f"B{mark}\nC", 3)}
    assert quarantined(home) == [(5, "cy")]


def test_a_quarantined_row_of_several_lines_lands_once_it_is_valid(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "plans.csv"
    path.write_text('customer_id;plan_id;effective_at;note\nada;new;2026-09-01T00:00:00Z;"two\nlines; here"\n')
    assert land_files(home, [path], Kind.SUBSCRIPTIONS).quarantined == 1
    seeds = tmp_path / "seeds"
    copytree(SEEDS, seeds)
    plans = seeds / "plans.csv"
    plans.write_text(plans.read_text() + "new,1970-01-01T00:00:00Z,New,none,,,2,0.5,1,\n")
    assert land_files(home, [path], Kind.SUBSCRIPTIONS, seeds=seeds).accepted == 1
    assert [(row["customer_id"], row["file_row"]) for row in rows_of(home, "subscriptions")] == [("ada", 2)]


def test_two_stray_quotes_hide_no_row_between_them(home: Home, tmp_path: Path) -> None:
    text = HEADER + 'ada,"\nbob,Bob\neve,Eve\nzed,"\n'
    assert land(home, tmp_path / "a.csv", text) == {"bob": ("Bob", 3), "eve": ("Eve", 4)}
    assert [line for line, _ in quarantined(home)] == [2, 5]
