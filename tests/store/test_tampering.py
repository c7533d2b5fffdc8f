"""Every change to a file of raw/ or ledger/ is detected with a head that was recorded earlier."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.periods import BillingPeriod
from pipeline.landing.record_kinds import Kind
from pipeline.ledger.approvals import approve
from pipeline.ledger.verify import LedgerChangedError, require_verified_ledger
from pipeline.ledger.verify_landed_files import landed_file_problems
from pipeline.pricebook.edits import accept_price_book
from pipeline.store.alert_log import OperationalAlert, raise_alert
from pipeline.store.append import append_files, finish_interrupted
from pipeline.store.credit_notes import SCHEMA as CREDIT_NOTE
from pipeline.store.credit_notes import write_credit_note
from pipeline.store.integrity import adopt_files, integrity_problems, read_store_state
from pipeline.store.manifest import manifest_head, read_manifest
from pipeline.store.raw import landed_file_rows
from pipeline.stripe.mirror import sync_stripe
from pipeline.stripe.publish import publish_period
from tests.landing.raw import event_line, write_lines
from tests.support import billhouse, copy_home, remake_manifest

KINDS = {
    *("raw/usage_events", "raw/subscriptions", "raw/customers", "raw/credit_grants", "raw/voids", "raw/sandbox_metrics"),
    *("raw/running_listings", "raw/quarantine", "raw/retried_rows", "raw/landed_files"),
    *("raw/stripe/customers", "raw/stripe/invoices", "raw/stripe/invoice_lines", "raw/stripe/events", "raw/stripe/syncs"),
    *("ledger/closes", "ledger/approvals", "ledger/publications", "ledger/outbox", "ledger/credit_notes"),
    *("ledger/alerts", "ledger/accepted_terms"),
}
"""The collections that have files in the home; of a close every file is tested."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    """A home with files in every collection, with a month that was closed and published."""
    folder = tmp_path_factory.mktemp("tampering")
    home = copy_home(parsed_project, folder / "home")

    def run(*words: object) -> None:
        outcome = billhouse(home.path, *words)
        assert outcome.code == 0, outcome.stderr

    events = [
        event_line("first", timestamp="2026-08-03T10:00:00Z", user_id="ada", vcpu_count=4),
        event_line("last", timestamp="2026-08-03T12:00:00Z", user_id="ada", event_type="sandbox_stopped"),
    ]
    aug = "2026-08-04T00:00:00Z"
    late = [event_line("late", timestamp=aug).replace(f'"{aug}"', "1785801600"), event_line("other", timestamp=aug)]
    for name, kind, rows in (
        ("usage", Kind.USAGE, events),
        ("late", Kind.USAGE, late),
        ("plans", Kind.SUBSCRIPTIONS, [{"customer_id": "ada", "plan_id": "pro", "effective_at": "2026-08-01T00:00:00Z"}]),
        ("people", Kind.CUSTOMERS, [{"customer_id": "ada", "name": "Ada"}]),
        ("grants", Kind.CREDIT_GRANTS, [grant("G1"), grant("G2")]),
        ("voids", Kind.VOIDS, [{"event_id": "other", "voided_at": "2026-08-02T00:00:00Z", "reason": "a test"}]),
        ("samples", Kind.METRICS, [{"sandbox_id": "x", "timestamp": "2026-08-03T11:00:00Z", "cpu_used_pct": 1, "mem_bytes": 2}]),
        ("running", Kind.RUNNING, [{"listed_at": "2026-08-03T11:00:00Z", "sandbox_ids": ["x"]}]),
    ):
        path = write_lines(folder / f"{name}.jsonl", [row if isinstance(row, str) else json.dumps(row) for row in rows])
        run("land", "--kind", str(kind), path)
    run("land", "--again", "--timestamps", "seconds", "late.jsonl")
    run("build", "--as-of", "2026-09-05T00:00:00Z")
    run("close", "2026-08")
    approve(home, BillingPeriod.parse("2026-08"), everything=True, by="ada")
    assert publish_period(home, BillingPeriod.parse("2026-08")).problems == []
    sync_stripe(home)
    raise_alert(home, OperationalAlert("drift", "Stripe", "differs"))
    accept_price_book(home, PROJECT_ROOT / "seeds", "ada")
    line = dict.fromkeys(CREDIT_NOTE.names) | {"invoice_id": "INV", "issued_at": datetime(2026, 1, 1, tzinfo=UTC)}
    write_credit_note(home, [line])
    return home


def grant(grant_id: str) -> dict[str, object]:
    return {"grant_id": grant_id, "customer_id": "ada", "amount": 1, "granted_at": "2026-08-01T00:00:00Z"}


def files_by_kind(home: Home) -> dict[str, list[Path]]:
    kinds: dict[str, list[Path]] = {}
    for path in read_manifest(home).files:
        depth = 3 if path.startswith("raw/stripe/") else 2
        kinds.setdefault("/".join(path.split("/")[:depth]), []).append(home.path / path)
    return kinds


def is_detected(home: Home, head: str) -> bool:
    return any(integrity_problems(home, read_store_state(home), head=head))


def edited(path: Path) -> bytes:
    """Other valid content for a file: a Parquet file without its first row, a text with one more line."""
    if path.suffix != ".parquet":
        return path.read_bytes() + b"\n"
    table = pq.read_table(path)
    sink = pa.BufferOutputStream()
    pq.write_table(table.slice(1), sink)
    return bytes(sink.getvalue().to_pybytes())


def tampers(home: Home) -> Iterator[str]:
    """Make one change after another, each undone before the next; yields a description of each."""
    random = Random(17)
    for kind, paths in sorted(files_by_kind(home).items()):
        for path in paths if kind == "ledger/closes" else paths[:1]:
            shown, content = path.relative_to(home.path), path.read_bytes()
            path.chmod(0o600)
            for _ in range(3 if content else 0):
                at = random.randrange(len(content))
                path.write_bytes(content[:at] + bytes([content[at] ^ (1 << random.randrange(8))]) + content[at + 1 :])
                yield f"{shown}: bit {at} flipped"
            path.write_bytes(edited(path.with_name(path.name)) if not content else _edited_from(path, content))
            yield f"{shown}: edited"
            path.write_bytes(b"")
            yield f"{shown}: emptied"
            path.unlink()
            yield f"{shown}: deleted"
            path.write_bytes(content)
            added = path.with_name(f"more{path.suffix}")
            added.write_bytes(content)
            yield f"{shown}: added"
            added.unlink()
            other = next((each for each in paths if each.read_bytes() != content), None)
            if other is not None:
                others = other.read_bytes()
                other.chmod(0o600)
                path.write_bytes(others)
                other.write_bytes(content)
                yield f"{shown}: swapped with {other.name}"
                other.write_bytes(others)
            path.write_bytes(content)
    for empty in sorted([*home.raw.rglob("_schema.parquet"), *home.ledger.rglob("_schema.parquet")]):
        content = empty.read_bytes()
        table = pq.read_table(empty)
        pq.write_table(pa.Table.from_pylist([dict.fromkeys(table.column_names)], schema=table.schema), empty)
        yield f"{empty.relative_to(home.path)}: a row added"
        empty.write_bytes(content)


def _edited_from(path: Path, content: bytes) -> bytes:
    path.write_bytes(content)
    return edited(path)


def test_every_change_to_a_file_of_any_kind_is_noticed_and_nothing_in_a_home_that_nobody_touched(whole: Home) -> None:
    head = manifest_head(whole)
    assert KINDS - files_by_kind(whole).keys() == set()
    assert not is_detected(whole, head)
    done, undetected = 0, []
    for what in tampers(whole):
        done += 1
        if not is_detected(whole, head):
            undetected.append(what)
    assert undetected == []
    assert done > 250
    assert not is_detected(whole, head), "all changes were undone"
    assert billhouse(whole.path, "verify", "--head", head).code == 0


def test_edited_removed_and_swapped_manifest_lines_are_detected(whole: Home) -> None:
    head, content = manifest_head(whole), whole.manifest.read_bytes()
    lines = content.splitlines(keepends=True)
    tampered = {
        "without the last": lines[:-1],
        "without the first": lines[1:],
        "without one in the middle": [*lines[:3], *lines[4:]],
        "two exchanged": [*lines[:2], lines[3], lines[2], *lines[4:]],
        "one edited": [*lines[:2], lines[2].replace(b'"command": "', b'"command": "x'), *lines[3:]],
        "none left": [],
    }
    undetected = []
    for what, left in tampered.items():
        whole.manifest.write_bytes(b"".join(left))
        if not is_detected(whole, head):
            undetected.append(what)
    whole.manifest.unlink()
    if not is_detected(whole, head):
        undetected.append("deleted")
    whole.manifest.write_bytes(content)
    assert undetected == [] and not is_detected(whole, head)


@pytest.fixture
def copy(whole: Home, tmp_path: Path) -> Home:
    shutil.copytree(whole.raw, tmp_path / "copy" / "raw")
    shutil.copytree(whole.ledger, tmp_path / "copy" / "ledger")
    return Home.open(tmp_path / "copy")


def test_a_forgery_with_all_hashes_remade_is_noticed_by_the_head(copy: Home) -> None:
    """Ten times the vCPUs, with a matching manifest and chain."""
    head = manifest_head(copy)
    (path, *_) = files_by_kind(copy)["raw/usage_events"]
    events = pq.read_table(path)
    place = events.schema.get_field_index("vcpu_count")
    tenfold = pc.multiply(events["vcpu_count"], 10).cast(events.schema.field("vcpu_count").type)
    path.chmod(0o600)
    pq.write_table(events.set_column(place, events.schema.field(place), tenfold), path)
    remake_manifest(copy)
    assert not any(integrity_problems(copy, read_store_state(copy))), "the home itself is consistent"
    assert is_detected(copy, head)
    verified = billhouse(copy.path, "verify", "--head", head)
    assert verified.code == 1 and f"does not contain the head {head}" in verified.stdout
    assert "was closed after the head" in verified.stdout, "a close froze a head, too"


@pytest.mark.parametrize("change", ["without a landing", "with fewer rows"])
def test_a_landing_that_a_forged_merge_leaves_out_is_noticed(copy: Home, change: str) -> None:
    """As if the rows of landed files were merged: the line of the manifest is as `billhouse compact` writes it."""
    rows, paths = landed_file_rows(copy), list(copy.raw.glob("landed_files/0*"))
    if change == "without a landing":
        forged = rows.slice(1)
    else:
        first = rows.to_pylist()[0]
        forged = pa.concat_tables([pa.Table.from_pylist([first | {"accepted_rows": 0}], schema=rows.schema), rows.slice(1)])
    with append_files(copy, "compact") as files:
        pq.write_table(forged, files.file(copy.raw / "landed_files" / "merged-0.parquet"))
        for path in paths:
            files.replace(path)
    assert not any(integrity_problems(copy, read_store_state(copy))), "the manifest is consistent"
    found = [str(problem) for problem in landed_file_problems(copy)]
    assert any("2026-08 was closed with" in problem for problem in found)
    assert any("lacks landing number 1" in problem for problem in found) == (change == "without a landing")
    with pytest.raises(LedgerChangedError, match="raw/landed_files"):
        require_verified_ledger(copy)


def test_a_copy_in_the_scratch_folder_does_not_hide_a_forged_file(copy: Home) -> None:
    """As if a killed command had not renamed its last file yet; the forged file is the one that is read."""
    head = manifest_head(copy)
    path = copy.path / list(read_manifest(copy).files)[-1]
    planted = copy.scratch / f"committed-{head[:32]}" / f"000001-{path.name}"
    planted.parent.mkdir(parents=True)
    planted.write_bytes(path.read_bytes())
    path.chmod(0o600)
    path.write_bytes(b"evil")
    assert is_detected(copy, head)
    finish_interrupted(copy)
    assert is_detected(copy, head), "existing files are not replaced"


def test_an_alert_that_cannot_be_recorded_does_not_hide_a_changed_ledger(copy: Home) -> None:
    for path in files_by_kind(copy)["ledger/alerts"]:
        path.chmod(0o600)
        path.write_bytes(b"")
    with pytest.raises(LedgerChangedError, match="ledger/alerts") as refused:
        require_verified_ledger(copy)
    assert "The alert could not be recorded" in refused.value.next_step


def test_a_home_that_was_put_back_to_an_earlier_state_is_noticed_by_the_head(copy: Home, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    shutil.copytree(copy.path, earlier)
    with append_files(copy, "approve") as files:
        files.file(copy.approvals / "later.parquet").write_bytes(b"")
    head = manifest_head(copy)
    assert billhouse(earlier, "verify").code == 0, "without a head it is consistent"
    assert billhouse(earlier, "verify", "--head", head).code == 1
    assert not is_detected(copy, manifest_head(Home(earlier))), "an earlier head is valid for later states"


def test_files_of_a_home_without_manifest_are_reported_until_they_are_adopted(copy: Home) -> None:
    copy.manifest.unlink()
    (problem,) = integrity_problems(copy, read_store_state(copy))
    assert "is missing" in problem.reason
    assert "--adopt" in problem.next_step
    adopted = billhouse(copy.path, "verify", "--adopt")
    assert adopted.code == 1 and "was closed after the head" in adopted.stdout, "the close recorded its head"
    assert list(integrity_problems(copy, read_store_state(copy))) == [] and adopt_files(copy) == 0
