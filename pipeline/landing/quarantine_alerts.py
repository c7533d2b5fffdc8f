"""Alerts of a landing on the command line: files with rows in quarantine."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.errors import BillhouseError
from pipeline.core.failures import to_billhouse_error
from pipeline.core.home import Home
from pipeline.landing.result import LandedFile, LandingSummary
from pipeline.store.alert_log import OperationalAlert, raise_each_once

_MOST_SENT = 5
"""Of one landing, so many alerts are sent; those of other files are recorded only."""


def raise_quarantine_alerts(home: Home, summary: LandingSummary, mostly_refused: Sequence[LandedFile]) -> BillhouseError | None:
    """Record an alert for each file with rows in quarantine that has none yet, with the most frequent reason and an example.

    So a landing that was killed raises it when it is repeated. The landing has succeeded: an alert that cannot be recorded is
    returned, not raised.
    """
    quarantined = [file for file in summary.files if file.quarantined]
    files = sorted(quarantined, key=lambda file: file.quarantined, reverse=True)
    if not files:
        return None
    alerts = [
        OperationalAlert(
            "check_failed",
            # Files of the same name are often different ones.
            f"Rows in quarantine of {file.file_name} ({file.file_id[:8]})",
            file.refusal if file in mostly_refused else file.quarantine_text,
        )
        for file in files
    ]
    try:
        raise_each_once(home, alerts, most_sent=_MOST_SENT)
    except Exception as error:
        return to_billhouse_error(error)
    return None
