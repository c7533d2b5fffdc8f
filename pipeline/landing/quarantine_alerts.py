"""Alerts of a landing on the command line: files that were mostly refused, and files with rows in quarantine."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.errors import BillhouseError
from pipeline.core.failures import to_billhouse_error
from pipeline.core.home import Home
from pipeline.landing.result import LandedFile, LandingSummary
from pipeline.store.alert_log import OperationalAlert, raise_alert

_FILES = 5
"""Files that get an alert of their own in one landing; the others share one."""
_SHORT_ID = 8


def raise_quarantine_alerts(home: Home, summary: LandingSummary, mostly_refused: Sequence[LandedFile]) -> BillhouseError | None:
    """Record an alert for each new file with rows in quarantine, with the most frequent reason and an example.

    A file that landed before raises none. The landing has succeeded: an alert that cannot be recorded is returned, not raised.
    """
    files = summary.newly_quarantined
    try:
        for file in files[:_FILES]:
            text = file.refusal if file in mostly_refused else file.quarantine_text
            _raise(home, f"Rows in quarantine of {_named(file)}", text)
        if others := files[_FILES:]:
            rows = sum(file.quarantined for file in others)
            text = f"{rows:,} rows of these files went to quarantine: they are not billed. billhouse quarantine lists all."
            _raise(home, f"Rows in quarantine of {_named(others[0])} and {len(others) - 1:,} more files", text)
    except Exception as error:
        return to_billhouse_error(error)
    return None


def _raise(home: Home, subject: str, text: str) -> None:
    raise_alert(home, OperationalAlert("check_failed", subject, text))


def _named(file: LandedFile) -> str:
    """The name of a file, with a part of its id: files of the same name are often different ones."""
    return f"{file.file_name} ({file.file_id[:_SHORT_ID]})"
