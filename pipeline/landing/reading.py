"""How the rows of a file are read: as they are, by a source, or from inside a document."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.landing.documents import WHOLE
from pipeline.landing.sources.source_files import Source


@dataclass(frozen=True)
class Reading:
    """How files are read."""

    source: Source | None
    rows_at: str

    @classmethod
    def of(cls, source: Source | None, rows_at: str | None = None) -> Reading:
        """`rows_at`: the JSON path of the rows in a document; by default the source's."""
        return cls(source, rows_at or (source.rows_at if source is not None else WHOLE))

    @property
    def shown(self) -> str:
        """A text that is hashed with a file: a file that is read in another way has other rows."""
        source = f"source {self.source.name} {self.source.digest}\n" if self.source is not None else ""
        return source + (f"rows at {self.rows_at}\n" if self.rows_at != WHOLE else "")
