"""`billhouse quarantine`: which rows did not land, and why."""

from __future__ import annotations

from pathlib import Path

from tests.support import billhouse, event, write_jsonl


def test_the_quarantine_is_shown_by_reason_and_row_by_row_until_it_is_judged_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert billhouse(home, "quarantine").stdout == "No rows are in quarantine.\n"
    rows = [
        event("start", "2026-09-01T10:00:00Z", vcpu_count=-1),
        event("start", "2026-09-01T10:00:00Z", vcpu_count=-2),
        event("start", "2026-09-01T10:00:00Z", vcpu_count=1),
        {**event("stop", "2026-09-01T11:00:00Z"), "user_id": None},
    ]
    assert billhouse(home, "land", write_jsonl(tmp_path / "bad\x1b[31m.jsonl", rows)).code == 1
    assert billhouse(home, "land", "--kind", "customers", write_jsonl(tmp_path / "c.jsonl", [{"name": "no id"}])).code == 1

    found = billhouse(home, "quarantine", "--json").json["reasons"]
    assert [(row["kind"], row["reason"], row["rows"], row["files"]) for row in found] == [
        ("usage", "bad_number", 2, 1),
        ("customers", "missing_field", 1, 1),
        ("usage", "missing_field", 1, 1),
    ]
    assert "line 1: vcpu_count is '-1'" in found[0]["example"]
    shown = billhouse(home, "quarantine").stdout
    assert "bad_number" in shown and "billhouse land --again" in shown and "\x1b[31m" not in shown

    one_by_one = billhouse(home, "quarantine", "--reason", "bad_number", "--json").json["rows"]
    assert [(row["file_row"], row["reason"]) for row in one_by_one] == [(1, "bad_number"), (2, "bad_number")]
    assert '"vcpu_count": -2' in one_by_one[1]["raw_row"]
    assert [row["kind"] for row in billhouse(home, "quarantine", "--file", "c.jsonl", "--json").json["rows"]] == ["customers"]
    limited = billhouse(home, "quarantine", "--reason", "bad_number", "--limit", "1").stdout
    assert '"vcpu_count": -1' in limited and '"vcpu_count": -2' not in limited and "--limit shows more" in limited
    assert billhouse(home, "quarantine", "--reason", "unheard_of").stdout == "No such rows are in quarantine.\n"
