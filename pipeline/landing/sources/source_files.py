"""Source files: one SQL select each, with a header of comments. Built in: sources/ of the project; a user's: <home>/sources/."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import BillhouseError, InputFileError, Problem, WrongUsageError
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.landing.quarantine import QuarantinedFile
from pipeline.landing.record_kinds import Kind

BUILT_IN = PROJECT_ROOT / "sources"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_HEADER = re.compile(r"--\s*(description|kind|rows|reads):\s*(.*?)\s*")
_ROWS_AT = re.compile(r"\$(?:\.(?:[A-Za-z_][A-Za-z0-9_]*|\"[^\"]+\"))*")
_MAX_BYTES = 1 << 18


@dataclass(frozen=True)
class Source:
    """A select from the rows of a file, and what it gives."""

    name: str
    kind: Kind
    description: str
    reads: str
    """What it reads, in a few words."""
    rows_at: str
    """The JSON path of the rows in a document; `$`: a file has a row on each line, or is an array of them."""
    sql: str
    path: Path
    is_built_in: bool

    @property
    def digest(self) -> str:
        """SHA-256 of its text: a changed source selects other rows."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def replaces_built_in(self) -> bool:
        """Whether it is a user's own, with the name of a built-in one."""
        return not self.is_built_in and (BUILT_IN / self.path.name).exists()


def find_source(home: Home, name: str) -> Source:
    """The source of this name; a user's own before a built-in one. Raises WrongUsageError if there is none."""
    for folder in (home.sources, BUILT_IN):
        path = folder / f"{name}.sql"
        if _NAME.fullmatch(name) and path.is_file():
            return read_source(path)
    known = ", ".join(sorted(_paths(home)))
    raise WrongUsageError(
        f"There is no source '{name}'. Known sources: {known}.", f"Choose one, or write {home.sources / 'NAME.sql'}."
    )


def source_of(home: Home, file: QuarantinedFile) -> Source | None:
    """The source that a landed file was read with, as it is now. Raises InputFileError if it is gone or of another kind."""
    if file.source_name is None:
        return None
    try:
        source = find_source(home, file.source_name)
    except WrongUsageError as error:
        raise InputFileError(
            file.file_name, f"landed with source '{file.source_name}', which is gone.", error.next_step
        ) from error
    if source.kind is not file.kind:
        raise InputFileError(
            file.file_name,
            f"landed as {file.kind}, and source '{source.name}' gives {source.kind} now.",
            "Land the file again with a source of the first kind.",
        )
    return source


def all_sources(home: Home) -> tuple[list[Source], list[Problem]]:
    """All sources by name, a user's own instead of a built-in one with the same name; and the files that are none."""
    sources, problems = [], []
    for _, path in sorted(_paths(home).items()):
        try:
            sources.append(read_source(path))
        except BillhouseError as error:
            problems.append(Problem(str(path), None, error.message, error.next_step))
    return sources, problems


def _paths(home: Home) -> dict[str, Path]:
    return {path.stem: path for folder in (BUILT_IN, home.sources) for path in sorted(folder.glob("*.sql"))}


def read_source(path: Path) -> Source:
    """Read a source file. Raises BillhouseError if its name or header is invalid."""
    reference = "See docs/reference/sources.md."
    if not _NAME.fullmatch(path.stem) or path.stem in set(Kind):
        raise BillhouseError(
            f"{path}: a source cannot be named '{path.stem}'.",
            "Use lower-case letters, digits, - and _, and not the name of a kind of record.",
        )
    try:
        text = path.read_bytes()[: _MAX_BYTES + 1].decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BillhouseError(f"{path} cannot be read: {error}.", "Write it as UTF-8 text.") from error
    if len(text) > _MAX_BYTES:
        raise BillhouseError(f"{path} has more than {_MAX_BYTES:,} bytes.", "Shorten it.")
    header: dict[str, str] = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("--"):
            break
        if (found := _HEADER.fullmatch(line.strip())) is not None:
            if found[1] in header:
                raise BillhouseError(f"{path}: the header has '{found[1]}' twice.", reference)
            header[found[1]] = found[2]
    if header.get("kind") not in set(Kind):
        wrong = f"has the unknown kind '{header['kind']}'" if "kind" in header else "has no kind"
        raise BillhouseError(
            f"{path}: the header {wrong}.", f"Begin the file with a comment '-- kind: usage', or another of: {', '.join(Kind)}."
        )
    rows_at = check_rows_at(header.get("rows", "$"), f"{path}: rows:")
    return Source(
        path.stem,
        Kind(header["kind"]),
        header.get("description", ""),
        header.get("reads", ""),
        rows_at,
        text,
        path,
        path.parent == BUILT_IN,
    )


def check_rows_at(path: str, where: str) -> str:
    """The JSON path of rows in a document. Raises WrongUsageError if it is not one; `where` is named in the message."""
    if not _ROWS_AT.fullmatch(path):
        raise WrongUsageError(
            f"{where} '{path}' is not the path of a list in a JSON document.",
            "Write $ for the document, or keys as in $.data.events.",
        )
    return path
