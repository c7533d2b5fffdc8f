"""`billhouse land` raises one alert for each new file with rows in quarantine."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from pipeline.core.home import Home
from pipeline.landing import land_files
from pipeline.store.alert_log import alert_states
from tests.landing.raw import event_line, rows_of, write_lines
from tests.support import billhouse


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def write(path: Path, bad: int, good: int = 3) -> Path:
    bad_lines = [event_line(f"{path.stem}-{number}", timestamp=["never", path.stem]) for number in range(bad)]
    return write_lines(path, [*bad_lines, *(event_line(f"{path.stem}-good-{number}") for number in range(good))])


def alerts(home: Home) -> list[dict[str, Any]]:
    return sorted(alert_states(home), key=lambda alert: str(alert["subject"]))


def test_rows_in_quarantine_raise_an_alert_with_the_commonest_reason_and_an_example(home: Home, tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "a.jsonl",
        [
            *(event_line(f"e{number}") for number in range(9)),
            "{",
            event_line("x", timestamp="no"),
            event_line("y", timestamp="no"),
        ],
    )
    assert billhouse(home.path, "land", path).code == 0
    (alert,) = alerts(home)
    file_id = rows_of(home)[0]["file_id"]
    assert (alert["kind"], alert["subject"]) == ("check_failed", f"Rows in quarantine of a.jsonl ({file_id[:8]})")
    assert alert["text"].startswith("a.jsonl: 3 of 12 rows went to quarantine: they are not billed.")
    assert "The most frequent reason is bad_timestamp, line 11: timestamp is 'no'" in alert["text"]
    assert "billhouse_unsent_alerts 0.0" in home.health.read_text()  # no channel is configured


def test_a_file_alerts_once_also_on_another_day_or_checked_again(home: Home, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", bad=1)
    for words in (["land", path], ["land", path], ["land", "--again"]):
        assert billhouse(home.path, *words).code == 0
        with patch("pipeline.store.alert_log.datetime", now=lambda _: datetime(2030, 1, 1, tzinfo=UTC)):
            assert "warning" not in billhouse(home.path, "land", path).stderr
    assert len(alerts(home)) == 1


def test_a_landing_that_was_killed_before_its_alert_raises_it_when_it_is_repeated(home: Home, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", bad=1)
    land_files(home, [path])
    assert alerts(home) == []
    assert billhouse(home.path, "land", path).code == 0
    (alert,) = alerts(home)
    assert alert["text"].startswith("a.jsonl: 1 of 4 rows went to quarantine")


def test_a_file_that_is_mostly_refused_raises_one_alert(home: Home, tmp_path: Path) -> None:
    assert billhouse(home.path, "land", write(tmp_path / "a.jsonl", bad=9, good=1)).code == 1
    (alert,) = alerts(home)
    assert alert["text"].startswith("a.jsonl: 9 of 10 rows are in quarantine.")


def test_files_of_one_name_alert_each_and_of_many_files_five_are_sent(home: Home, tmp_path: Path) -> None:
    for folder in ("monday", "tuesday"):
        (tmp_path / folder).mkdir()
        lines = [event_line(f"{folder}-good"), event_line(f"{folder}-bad", timestamp="no")]
        assert billhouse(home.path, "land", write_lines(tmp_path / folder / "usage.jsonl", lines)).code == 0
    assert len(alerts(home)) == 2
    paths = [write(tmp_path / f"f{number}.jsonl", bad=number + 1, good=20) for number in range(8)]
    assert billhouse(home.path, "land", *paths).code == 0
    raised = [alert for alert in alerts(home) if "usage.jsonl" not in alert["subject"]]
    assert [alert["state"] for alert in raised] == ["suppressed"] * 3 + ["kept"] * 5  # f0 to f2 have the fewest rows
    assert [alert["subject"][:31] for alert in raised if "3 more alerts" in alert["text"]] == ["Rows in quarantine of f3.jsonl "]
    before = alerts(home)
    assert billhouse(home.path, "land", *reversed(paths)).code == 0
    assert alerts(home) == before


def test_an_alert_waits_for_the_channels_that_are_configured(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLHOUSE_ALERT_SLACK_URL", "https://hooks.invalid/x")
    assert billhouse(home.path, "land", write(tmp_path / "a.jsonl", bad=1)).code == 0
    assert [(alert["channel"], alert["state"]) for alert in alerts(home)] == [("slack", "pending")]
    assert "billhouse_unsent_alerts 1.0" in home.health.read_text()


def test_a_dry_run_and_a_landing_without_quarantine_raise_none(home: Home, tmp_path: Path) -> None:
    assert billhouse(home.path, "land", "--dry-run", write(tmp_path / "a.jsonl", bad=2)).code == 0
    assert billhouse(home.path, "land", write(tmp_path / "b.jsonl", bad=0)).code == 0
    assert alerts(home) == []


def test_a_landing_succeeds_where_the_alert_cannot_be_recorded(home: Home, tmp_path: Path) -> None:
    with patch("pipeline.landing.quarantine_alerts.raise_each_once", side_effect=OSError(28, "No space left on device")):
        outcome = billhouse(home.path, "land", "--json", write(tmp_path / "a.jsonl", bad=1))
    assert (outcome.code, json.loads(outcome.stdout)["accepted"]) == (0, 3)
    assert "The alert could not be recorded." in outcome.stderr
    assert len(outcome.stderr.strip().splitlines()) == 1
