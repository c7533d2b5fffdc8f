"""Rows of usage by outcome, of all landed files together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from pipeline.core.sql import parquet_list

_RETRIED = "coalesce(sum(coalesce(superseded_rows, received_rows)) filter (kind = 'usage' and retried_file_id is not null), 0)"
"""SQL: rows that left the quarantine; a row that a source reads as several is received as several when it lands."""


@dataclass(frozen=True)
class LandingTotals:
    """Rows of kind usage, and files of all kinds."""

    rows: int = 0
    """Rows of landed_files, retries included."""
    files: int = 0
    """Landed files, without retries."""
    received: int = 0
    accepted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    """Rows that are in quarantine now: a retried row was received once, and has left the quarantine."""
    last_landed_at: str = ""
    """In ISO format, UTC; empty if nothing has landed."""

    @classmethod
    def of(cls, connection: duckdb.DuckDBPyConnection, landed: Sequence[Path], *, after: int = 0) -> LandingTotals:
        """The totals of the rows after a sequence in some files of raw/landed_files. A row that is in two files counts once."""
        if not landed:
            return cls()
        ((rows, files, received, accepted, duplicates, quarantined, last),) = connection.execute(
            f"""
            select
                count(*), count(*) filter (retried_file_id is null),
                (coalesce(sum(received_rows) filter (kind = 'usage'), 0) - {_RETRIED})::bigint,
                coalesce(sum(accepted_rows) filter (kind = 'usage'), 0)::bigint,
                coalesce(sum(duplicate_rows) filter (kind = 'usage'), 0)::bigint,
                (coalesce(sum(quarantined_rows) filter (kind = 'usage'), 0) - {_RETRIED})::bigint,
                strftime(max(landed_at) at time zone 'UTC', '%Y-%m-%dT%H:%M:%S.%f+00:00')
            from (
                select distinct * from (
                    -- Files of earlier versions lack the column.
                    select null::bigint as superseded_rows where false
                    union all by name
                    from {parquet_list(landed)}
                )
            )
            where landed_sequence > $1""",
            [after],
        ).fetchall()
        return cls(rows, files, received, accepted, duplicates, quarantined, last or "")

    def plus(self, other: LandingTotals) -> LandingTotals:
        """The totals of both."""
        return LandingTotals(
            self.rows + other.rows,
            self.files + other.files,
            self.received + other.received,
            self.accepted + other.accepted,
            self.duplicates + other.duplicates,
            self.quarantined + other.quarantined,
            max(self.last_landed_at, other.last_landed_at, key=_instant),
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() if text else float("-inf")
