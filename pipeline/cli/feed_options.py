"""Options that the commands of feeds share: what the rows are, and which folder of the inbox they wait in."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.core.errors import WrongUsageError
from pipeline.core.home import Home
from pipeline.landing.record_kinds import Kind

KindOption = Annotated[Kind | None, typer.Option("--kind", help="The kind of the rows.  [default: usage]", show_default=False)]
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="NAME",
        help="The source that landing reads the rows with: see billhouse sources.",
        show_default=False,
    ),
]


def refuse_kind_with_source(kind: Kind | None, source: str | None) -> None:
    """Raises WrongUsageError if both are given."""
    if source and kind is not None:
        raise WrongUsageError("--kind cannot be combined with --source.", "The source says of which kind its rows are.")


def inbox_folder(home: Home, kind: Kind | None, source: str | None) -> str:
    """The folder of the inbox for a kind (by default usage) or a source. Raises WrongUsageError if there is no such source."""
    from pipeline.landing.sources.source_files import find_source

    return find_source(home, source).name if source else str(kind or Kind.USAGE)
