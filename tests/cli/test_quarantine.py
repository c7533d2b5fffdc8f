"""`billhouse quarantine`: which rows did not land, and why."""

from __future__ import annotations

from pathlib import Path

from tests.support import billhouse, event, write_jsonl


def test_the_quarantine_is_shown_by_reason_and_row_by_row_until_it_is_judged_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert billhouse(home, "quarantine").stdout == "No rows wait in quarantine.\n"
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
    assert billhouse(home, "quarantine", "--reason", "unheard_of").stdout == "No such rows wait in quarantine.\n"


def test_rows_are_settled_with_who_and_why_and_listed_with_a_flag(tmp_path: Path) -> None:
    home = tmp_path / "home"
    rows = [event("start", "2026-09-01T10:00:00Z", vcpu_count=count) for count in (-1, -2, 1)]
    assert billhouse(home, "land", write_jsonl(tmp_path / "bad.jsonl", rows)).code == 1
    choice = ("quarantine", "--file", "bad.jsonl", "--row", "2")
    assert [row["file_row"] for row in billhouse(home, *choice, "--json").json["rows"]] == [2]

    without_reason = billhouse(home, *choice, "--settle")
    assert without_reason.code == 2 and "--why TEXT" in without_reason.stderr
    assert billhouse(home, *choice, "--why", "no decision").code == 2
    assert billhouse(home, *choice, "--settle", "--settled", "--why", "both").code == 2
    assert billhouse(home, "quarantine", "--row", "2").code == 2
    for wrong in (("--limit", "20"), ("--limit", "1"), ("--reason", "")):
        refused = billhouse(home, *choice, "--settle", "--why", "sent again", *wrong)
        assert refused.code == 2 and wrong[0] in refused.stderr, wrong
    for empty in ("--file", "--reason"):
        for mode in ((), ("--settle", "--why", "all of them"), ("--settled",)):
            refused = billhouse(home, "quarantine", empty, "", *mode)
            assert refused.code == 2 and f"{empty} is empty" in refused.stderr
    settled = billhouse(home, *choice, "--settle", "--by", "ann", "--why", "sent in \u001b[31mb.jsonl")
    assert settled.code == 2, "a reason that a terminal cannot show"
    settled = billhouse(home, *choice, "--settle", "--by", "ann", "--why", "sent in b.jsonl")
    assert settled.code == 0 and "Settled 1 rows, by ann: bad_number 1." in settled.stdout
    assert "bad.jsonl" in settled.stdout and "lines 2" in settled.stdout
    again = billhouse(home, *choice, "--settle", "--why", "once more", "--json").json
    assert (again["rows"], again["already_settled"]) == (0, 1)

    assert [row["rows"] for row in billhouse(home, "quarantine", "--json").json["reasons"]] == [1]
    assert [row["rows"] for row in billhouse(home, "quarantine", "--settled", "--json").json["reasons"]] == [1]
    shown = billhouse(home, "quarantine", "--settled", "--file", "bad.jsonl").stdout
    assert "line 2" in shown and "settled by ann at 2" in shown and "sent in b.jsonl" in shown and "line 1" not in shown
    assert "1 in quarantine + 1 in quarantine, settled" in billhouse(home, "status").stdout
    assert billhouse(home, *choice).stdout == "No such rows wait in quarantine.\n"
    assert billhouse(home, "verify").code == 0
