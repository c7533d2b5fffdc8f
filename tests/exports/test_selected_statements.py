"""The statements of one customer or of one invoice: the same files as in the export of the whole month, and no others."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.core.files import move_into_place
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.exports import export_period, export_statements
from tests.exports.report_tables import SEPTEMBER, write_reports


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Customer c1 has two invoices in September: in dollars, compared with August, and in yen."""
    home = Home.open(tmp_path / "home")
    write_reports(home)
    with duckdb.connect(str(home.analysts_file)) as reports:
        reports.execute("use billing")
        reports.execute(
            "insert into invoices"
            " select * replace ('INV-2026-09-8' as invoice_id, 'c1' as customer_id, 'Ada' as customer_name) from invoices"
            " where invoice_id = 'INV-2026-09-9';"
            "insert into invoices select * replace ('INV-2026-08-1' as invoice_id, '2026-08' as period) from invoices"
            " where invoice_id = 'INV-2026-09-1';"
            "update invoice_lines set quantity = 86400 * 11 where line_id = 'INV-2026-09-1-b';"
            "insert into subscriptions values ('c1', 'pro', false, '2026-09-20T00:00:00Z', null);"
            "insert into customers values ('c1', 'de')"
        )
    return home


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_the_statements_of_a_customer_are_those_of_the_whole_export_and_no_others(home: Home) -> None:
    alone = export_statements(home, SEPTEMBER, customer_id="c1")
    written = files_of(alone.folder)
    assert [file.name for file in alone.files] == [
        "INV-2026-09-1.html",
        "INV-2026-09-1.pdf",
        "INV-2026-09-8.html",
        "INV-2026-09-8.pdf",
    ]
    assert list(written) == [file.name for file in alone.files]
    assert list(alone.folder.parent.iterdir()) == [alone.folder], "tables are of a whole month"
    assert {stat.S_IMODE(path.stat().st_mode) for path in alone.folder.iterdir()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (alone.folder, alone.folder.parent)} == {0o700}
    whole = files_of(export_period(home, SEPTEMBER).folder / "statements")
    assert {name: whole[name] for name in written} == written


def test_the_statement_of_an_invoice_replaces_its_files_and_leaves_all_others(home: Home) -> None:
    folder = export_period(home, SEPTEMBER).folder
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    page, pdf = (folder / "statements" / f"INV-2026-09-1.{suffix}" for suffix in ("html", "pdf"))
    page.write_text("old")
    pdf.unlink()
    (folder / "statements" / "INV-2026-09-8.html").write_text("of an earlier build")
    alone = export_statements(home, SEPTEMBER, invoice_id="INV-2026-09-1")
    assert alone.files == (page, pdf)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after.pop(folder / "statements" / "INV-2026-09-8.html") == b"of an earlier build"
    assert {**before, **after} == before and len(after) == len(before) - 1


def test_without_pdf_an_older_pdf_of_the_statement_is_removed(home: Home) -> None:
    export_statements(home, SEPTEMBER, customer_id="c1")
    export_statements(home, SEPTEMBER, customer_id="c2")
    alone = export_statements(home, SEPTEMBER, invoice_id="INV-2026-09-1", with_pdf=False)
    assert [file.name for file in alone.files] == ["INV-2026-09-1.html"]
    assert not alone.files[0].with_suffix(".pdf").exists()
    assert len(list(alone.folder.glob("*.pdf"))) == 2


def test_a_failed_export_leaves_the_files_as_they_were(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = export_statements(home, SEPTEMBER, customer_id="c1").folder
    before = files_of(folder)
    with duckdb.connect(str(home.analysts_file)) as reports:
        reports.execute("update billing.invoices set customer_name = 'Other'")
    monkeypatch.setattr("pipeline.exports.statements.write.PdfWriter.render", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_statements(home, SEPTEMBER, customer_id="c1")
    assert files_of(folder) == before


def test_a_statement_waits_while_an_export_of_the_whole_month_replaces_the_folder(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_period(home, SEPTEMBER, with_pdf=False)
    alone = Thread(target=export_statements, args=(home, SEPTEMBER), kwargs={"invoice_id": "INV-2026-09-2", "with_pdf": False})
    waited: list[bool] = []

    def move(written: Path, target: Path) -> None:
        """The old folder of statements is moved away, the new one not yet in its place."""
        if target.name == "statements" and not waited:
            assert not target.exists()
            alone.start()
            alone.join(3)
            waited.append(alone.is_alive())
        move_into_place(written, target)

    monkeypatch.setattr("pipeline.exports.export.move_into_place", move)
    whole = export_period(home, SEPTEMBER, with_pdf=False)
    alone.join(60)
    assert waited == [True] and not alone.is_alive()
    assert len(list((whole.folder / "statements").iterdir())) == whole.statements
    assert sorted(path.name for path in home.exports.iterdir()) == ["2026-09"]


@pytest.mark.parametrize(
    ("period", "ids", "message"),
    [
        (
            "2026-09",
            {"customer_id": "C2 "},
            "In 2026-09, customer 'C2 ' has no invoice. Did you mean 'c2'? `billhouse invoices 2026-09 --json`",
        ),
        ("2026-09", {"customer_id": "zoë 株式会"}, "Did you mean 'zoë'?"),  # a name
        ("2026-09", {"customer_id": "x"}, "In 2026-09, customer 'x' has no invoice. `billhouse invoices 2026-09 --json` lists"),
        (
            "2026-10",
            {"customer_id": "zoë"},
            "customer 'zoë' has no invoice. It has invoices in 2026-09: run `billhouse export 2026-09 --customer 'zoë'`.",
        ),
        ("2026-09", {"invoice_id": "INV-2026-08-1"}, "It is in 2026-08: run `billhouse export 2026-08 --invoice INV-2026-08-1`."),
        ("2026-09", {"invoice_id": "inv-2026-09-1"}, "there is no invoice 'inv-2026-09-1'. Did you mean 'INV-2026-09-1'?"),
        (
            "2026-09",
            {"customer_id": "\udcff"},
            "no customer has such an id: it is not UTF-8. `billhouse invoices",
        ),
        (
            "2026-09",
            {"invoice_id": "INV-\udcff"},
            "no invoice has such an id: it is not UTF-8. `billhouse invoices",
        ),
        ("2026-05", {"customer_id": "c1"}, "2026-05 has no invoices. Periods with invoices: 2026-08, 2026-09, 2026-10."),
    ],
)
def test_an_error_says_where_the_id_is_found(home: Home, period: str, ids: dict[str, Any], message: str) -> None:
    with pytest.raises(BillhouseError) as raised:
        export_statements(home, BillingPeriod.parse(period), **ids)
    assert message in str(raised.value)
    assert not home.exports.exists() or not list(home.exports.iterdir())


@pytest.mark.parametrize("ids", [{}, {"customer_id": "c1", "invoice_id": "INV-2026-09-1"}])
def test_one_of_the_two_ids_is_needed(home: Home, ids: dict[str, Any]) -> None:
    with pytest.raises(WrongUsageError, match="either --customer or --invoice"):
        export_statements(home, SEPTEMBER, **ids)


def test_the_command_writes_one_statement_and_refuses_both_options(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.warehouse.reports.files_landed_since_build", lambda _: 0)
    words = ["--home", str(home.path), "export", "2026-09", "--invoice", "INV-2026-09-2", "--json"]
    answered = CliRunner().invoke(app, words)
    assert answered.exit_code == 0, answered.output
    folder = home.exports / "2026-09" / "statements"
    assert json.loads(answered.stdout) == {
        "period": "2026-09",
        "folder": str(folder),
        "files": [str(folder / "INV-2026-09-2.html"), str(folder / "INV-2026-09-2.pdf")],
    }
    refused = CliRunner().invoke(app, [*words, "--customer", "c2"])
    assert isinstance(refused.exception, WrongUsageError)
