"""The company that issues the invoices, as a statement names it."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.core.plain_text import plain_line
from pipeline.core.settings import Settings


@dataclass(frozen=True)
class Issuer:
    """The company that issues the invoices. What is empty is not shown."""

    name: str = ""
    address_lines: tuple[str, ...] = ()
    tax_id: str = ""

    @classmethod
    def from_settings(cls, settings: Settings) -> Issuer:
        """The issuer that BILLHOUSE_ISSUER_... name."""
        lines = (plain_line(line.strip()) for line in settings.issuer_address.split(";"))
        return cls(
            plain_line(settings.issuer_name.strip()),
            tuple(line for line in lines if line),
            plain_line(settings.issuer_tax_id.strip()),
        )
