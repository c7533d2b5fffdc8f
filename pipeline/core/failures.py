"""What failed, in words: turns what the system and the libraries raise into a message with a next step.

The command line, Dagster's runs and the alerts all use `failure_in_words`, so that a failure is called the same everywhere.
"""

from __future__ import annotations

import errno
import functools
import getpass
import importlib.metadata
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from pipeline.core.errors import BillhouseError

TRACEBACK_VARIABLE = "BILLHOUSE_TRACEBACK"
_ANOTHER_HOME = "name another home with --home DIR or BILLHOUSE_HOME"
_REPEAT = "Then call this again: what was finished is kept, and nothing is done twice."
_Function = TypeVar("_Function", bound=Callable[..., Any])

_SYSTEM_ERRORS = {
    errno.ENOSPC: ("The disk is full", f"Make room. {_REPEAT}"),
    errno.EDQUOT: ("The disk quota is used up", f"Make room, or have the quota raised. {_REPEAT}"),
    errno.EROFS: ("The file system is read-only", f"Make it writable, or {_ANOTHER_HOME}."),
    errno.EACCES: ("Access is denied", "Call this as the user who owns the files, or {another}."),
    errno.EPERM: ("The operation is not permitted", "Call this as the user who owns the files, or {another}."),
    errno.EIO: ("The disk cannot be read or written", f"See what the system's log says of it (dmesg). {_REPEAT}"),
    errno.EMFILE: ("Too many files are open", "Raise the limit (ulimit -n), then call this again."),
    errno.ENFILE: ("Too many files are open on this machine", "Close other programs, then call this again."),
    errno.EFBIG: ("A file would become larger than is allowed", f"Raise the limit (ulimit -f). {_REPEAT}"),
    errno.ENOMEM: ("There is not enough memory", "Close other programs, then call this again."),
    errno.EADDRINUSE: ("The port is taken", "Stop what serves there, or choose another port."),
    errno.ESTALE: ("The network drive that holds the files is gone", f"Mount it again, or {_ANOTHER_HOME} on a local disk."),
}
_IN_MESSAGES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EMFILE, errno.EFBIG)
_BY_TEXT = {os.strerror(code): code for code in _IN_MESSAGES}
"""How libraries that raise errors of their own name those of the system."""
_LOCKED = re.compile(r'Could not set lock on file "(?P<file>[^"]*)": (?P<holder>Conflicting lock is held in [^\n]*?\(PID \d+\))?')
_QUOTED_FILE = re.compile(r'file \\?"(?P<file>[^"\\]+)\\?"')


_DESCRIBERS: dict[str, Callable[[Exception], BillhouseError]] = {}


def describe_errors_of(library: str, describe: Callable[[Exception], BillhouseError]) -> None:
    """Register how the errors of a library are described. The package that uses the library calls this when it is imported."""
    _DESCRIBERS[library] = describe


def failure_in_words(error: BaseException) -> BillhouseError:
    """An error for people: itself if it is one already, else what is known of it and what to do, else how to report it."""
    return error if isinstance(error, BillhouseError) else known_failure(error) or _unforeseen(error)


def known_failure(error: BaseException) -> BillhouseError | None:
    """What is known of an error, or of what caused it: a full disk, a locked file, Stripe; None if nothing."""
    for cause in _chain(error):
        known = cause if isinstance(cause, BillhouseError) else _known(cause)
        if known is not None:
            return known
    return None


def system_failure(text: str) -> BillhouseError | None:
    """What a library's message says of the system (a full disk, a file that another program has locked); None if nothing."""
    if (locked := _LOCKED.search(text)) is not None:
        return _locked(locked["file"], locked["holder"] or "")
    for words, code in _BY_TEXT.items():
        if words in text:
            found = _QUOTED_FILE.search(text)
            return _system_error(code, found["file"] if found is not None else "")
    return None


def in_plain_words(function: _Function) -> _Function:
    """A decorator for what Dagster runs, generators included: it fails with the words that the command line would print.

    The causes are left out, since Dagster keeps what they say, unless BILLHOUSE_TRACEBACK is set.
    """

    def failing(error: Exception) -> Exception:
        if type(error).__module__.partition(".")[0] == "dagster":
            return error
        plain = failure_in_words(error)
        plain.__cause__ = error if wants_traceback() and error is not plain else None
        plain.__suppress_context__ = True
        return plain.with_traceback(error.__traceback__)

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generating(*args: Any, **more: Any) -> Iterator[Any]:
            try:
                yield from function(*args, **more)
            except Exception as error:
                raise failing(error)  # noqa: B904 - it says itself what its cause is

        return cast(_Function, generating)

    @functools.wraps(function)
    def calling(*args: Any, **more: Any) -> Any:
        try:
            return function(*args, **more)
        except Exception as error:
            raise failing(error)  # noqa: B904

    return cast(_Function, calling)


def wants_traceback() -> bool:
    """Whether BILLHOUSE_TRACEBACK asks for tracebacks."""
    from pipeline.core.settings import Settings

    try:
        return Settings.load().traceback
    except BillhouseError:  # another setting is wrong, which is what failed
        return False


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, then what caused it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _known(error: BaseException) -> BillhouseError | None:
    if isinstance(error, OSError) and error.errno in _SYSTEM_ERRORS:
        return _system_error(error.errno, str(error.filename or ""))
    if isinstance(error, MemoryError):
        return _system_error(errno.ENOMEM, "")
    library = type(error).__module__.partition(".")[0].lstrip("_")
    if library in ("duckdb", "sqlite3", "pyarrow", "dbt", "dbt_common") or isinstance(error, OSError):
        if (found := system_failure(str(error))) is not None:
            return found
        if library == "duckdb":
            return _duckdb_error(error)
        if library == "sqlite3":
            return _sqlite_error(error)
    if library in _DESCRIBERS and isinstance(error, Exception):
        return _DESCRIBERS[library](error)
    if library == "filelock":
        return BillhouseError(
            f"Another command has held the lock {getattr(error, 'lock_file', '')} for too long.",
            "Wait until it is done, then call this again.",
        )
    return None


def _system_error(code: int, file: str) -> BillhouseError:
    what, next_step = _SYSTEM_ERRORS[code]
    where = f" ({file})" if file else ""
    another = f"{_ANOTHER_HOME}; you are {_user()}"
    return BillhouseError(f"{what}{where}.", next_step.format(another=another))


def _locked(file: str, holder: str) -> BillhouseError:
    found = re.search(r"held in (.*) \(PID (\d+)\)", holder)
    by = f": {os.path.basename(found[1])}, process {found[2]}" if found is not None else ""  # noqa: PTH119 - no path of ours
    return BillhouseError(
        f"Another program has {file} open{by}.",
        "Close it there, then call this again. To query, open billhouse.duckdb read-only: no build waits for its readers.",
    )


def _duckdb_error(error: BaseException) -> BillhouseError | None:
    import duckdb

    if isinstance(error, duckdb.OutOfMemoryException):
        return BillhouseError(
            f"The memory that a build may take is used up: {_first_line(error)}",
            "Allow more with BILLHOUSE_MEMORY_LIMIT (for example 4GB), and see that the disk has room for .tmp/spill.",
        )
    if isinstance(error, duckdb.SerializationException | duckdb.FatalException | duckdb.InternalException):
        return BillhouseError(
            f"A database file is damaged: {_first_line(error)}",
            "Delete warehouse.duckdb and billhouse.duckdb, which are caches, and build again: billhouse build",
        )
    if isinstance(error, duckdb.IOException):
        return BillhouseError(
            f"A file cannot be read or written: {_first_line(error)}", "See that it is there and whole, then call this again."
        )
    return None


def _sqlite_error(error: BaseException) -> BillhouseError | None:
    text = str(error)
    if "is full" in text:
        return _system_error(errno.ENOSPC, "")
    if "readonly" in text:
        return _system_error(errno.EROFS, "")
    if "locked" in text:
        return BillhouseError("Another program holds a database of the home.", "Wait until it is done, then call this again.")
    return None


def _unforeseen(error: BaseException) -> BillhouseError:
    version = importlib.metadata.version("billhouse")
    return BillhouseError(
        f"Something unforeseen went wrong, {type(error).__name__}: {_first_line(error) or 'no more is known'}",
        "What was finished is kept, and calling this again is safe. If it happens again, call it with"
        f" {TRACEBACK_VARIABLE}=1 and report what it prints, with the command and the version ({version}, Python"
        f" {sys.version_info.major}.{sys.version_info.minor}).",
    )


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:500]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name in the system's list of users
        return f"user {os.getuid()}"
