"""Converts errors of the operating system and of libraries into a BillhouseError: a message and what to do next.

The command line, Dagster runs and alerts all use `to_billhouse_error`, so that an error has the same message everywhere.
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
_OTHER_HOME = "choose another home with --home DIR or BILLHOUSE_HOME"
_RUN_AGAIN = "Then run this command again: completed steps are not repeated."
_Function = TypeVar("_Function", bound=Callable[..., Any])

_SYSTEM_ERRORS = {
    errno.ENOSPC: ("The disk is full", f"Make room. {_RUN_AGAIN}"),
    errno.EDQUOT: ("The disk quota is used up", f"Make room, or have the quota raised. {_RUN_AGAIN}"),
    errno.EROFS: ("The file system is read-only", f"Make it writable, or {_OTHER_HOME}."),
    errno.EACCES: ("Access is denied", "Run this command as the user who owns the files (you are {user}), or {other_home}."),
    errno.EPERM: (
        "The operation is not permitted",
        "Run this command as the user who owns the files (you are {user}), or {other_home}.",
    ),
    errno.EIO: ("The disk cannot be read or written", f"Check the system log (dmesg). {_RUN_AGAIN}"),
    errno.EMFILE: ("Too many files are open", "Raise the limit (ulimit -n), then run this command again."),
    errno.ENFILE: ("Too many files are open on this machine", "Close other programs, then run this command again."),
    errno.EFBIG: ("A file would exceed the maximum file size", f"Raise the limit (ulimit -f). {_RUN_AGAIN}"),
    errno.ENOMEM: ("There is not enough memory", "Close other programs, then run this command again."),
    errno.EADDRINUSE: ("The port is taken", "Stop the program that uses it, or choose another port."),
    errno.ESTALE: ("The network drive that holds the files is gone", f"Mount it again, or {_OTHER_HOME} on a local disk."),
}
_IN_MESSAGES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EMFILE, errno.EFBIG)
_CODE_BY_TEXT = {os.strerror(code): code for code in _IN_MESSAGES}
"""Libraries that raise errors of their own types include the operating system's text in the message."""
_LOCKED = re.compile(r'Could not set lock on file "(?P<file>[^"]*)": (?P<holder>Conflicting lock is held in [^\n]*?\(PID \d+\))?')
_QUOTED_FILE = re.compile(r'file \\?"(?P<file>[^"\\]+)\\?"')


_CONVERTERS: dict[str, Callable[[Exception], BillhouseError]] = {}


def register_error_converter(library: str, convert: Callable[[Exception], BillhouseError]) -> None:
    """Register the conversion of a library's errors. The package that uses the library calls this when it is imported."""
    _CONVERTERS[library] = convert


def to_billhouse_error(error: BaseException) -> BillhouseError:
    """The error as a BillhouseError. An unknown error becomes a message that says how to report it."""
    return error if isinstance(error, BillhouseError) else to_known_error(error) or _unexpected_error(error)


def to_known_error(error: BaseException) -> BillhouseError | None:
    """The first known error among an error and its causes (a full disk, a locked file, Stripe); None if none is known."""
    for cause in _chain(error):
        known = cause if isinstance(cause, BillhouseError) else _convert(cause)
        if known is not None:
            return known
    return None


def find_system_error(text: str) -> BillhouseError | None:
    """The operating system's error in a library's message (a full disk, a locked file); None if there is none."""
    if (locked := _LOCKED.search(text)) is not None:
        return _locked(locked["file"], locked["holder"] or "")
    for system_text, code in _CODE_BY_TEXT.items():
        if system_text in text:
            found = _QUOTED_FILE.search(text)
            return _system_error(code, found["file"] if found is not None else "")
    return None


def convert_errors(function: _Function) -> _Function:
    """Decorator for functions and generators that Dagster runs: exceptions become the errors that the command line prints.

    Dagster's own exceptions pass unchanged. The cause is removed, since Dagster stores its text, unless BILLHOUSE_TRACEBACK is
    set.
    """

    def converted(error: Exception) -> Exception:
        if type(error).__module__.partition(".")[0] == "dagster":
            return error
        shown = to_billhouse_error(error)
        shown.__cause__ = error if is_traceback_requested() and error is not shown else None
        shown.__suppress_context__ = True
        return shown.with_traceback(error.__traceback__)

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*args: Any, **more: Any) -> Iterator[Any]:
            try:
                yield from function(*args, **more)
            except Exception as error:
                raise converted(error)  # noqa: B904 - its cause is set

        return cast(_Function, generator)

    @functools.wraps(function)
    def call(*args: Any, **more: Any) -> Any:
        try:
            return function(*args, **more)
        except Exception as error:
            raise converted(error)  # noqa: B904

    return cast(_Function, call)


def is_traceback_requested() -> bool:
    """Whether BILLHOUSE_TRACEBACK is set."""
    from pipeline.core.settings import Settings

    try:
        return Settings.load().traceback
    except BillhouseError:  # another setting is invalid; that is the error to show
        return False


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes, the error first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _convert(error: BaseException) -> BillhouseError | None:
    if isinstance(error, OSError) and error.errno in _SYSTEM_ERRORS:
        return _system_error(error.errno, str(error.filename or ""))
    if isinstance(error, MemoryError):
        return _system_error(errno.ENOMEM, "")
    library = type(error).__module__.partition(".")[0].lstrip("_")
    if library in ("duckdb", "sqlite3", "pyarrow", "dbt", "dbt_common") or isinstance(error, OSError):
        if (found := find_system_error(str(error))) is not None:
            return found
        if library == "duckdb":
            return _duckdb_error(error)
        if library == "sqlite3":
            return _sqlite_error(error)
    if library in _CONVERTERS and isinstance(error, Exception):
        return _CONVERTERS[library](error)
    return None


def _system_error(code: int, file: str) -> BillhouseError:
    what, next_step = _SYSTEM_ERRORS[code]
    where = f" ({file})" if file else ""
    return BillhouseError(f"{what}{where}.", next_step.format(user=_user(), other_home=_OTHER_HOME))


def _locked(file: str, holder: str) -> BillhouseError:
    found = re.search(r"held in (.*) \(PID (\d+)\)", holder)
    by = f": {os.path.basename(found[1])}, process {found[2]}" if found is not None else ""  # noqa: PTH119 - a path from a message
    return BillhouseError(
        f"Another program has {file} open{by}.",
        "Close it there, then run this command again. For queries, open billhouse.duckdb read-only, which blocks no build.",
    )


def _duckdb_error(error: BaseException) -> BillhouseError | None:
    import duckdb

    if isinstance(error, duckdb.OutOfMemoryException):
        return BillhouseError(
            f"The build reached its memory limit: {_first_line(error)}",
            "Raise it with BILLHOUSE_MEMORY_LIMIT (for example 4GB), and check that the disk has room for .tmp/spill.",
        )
    if isinstance(error, duckdb.SerializationException | duckdb.FatalException | duckdb.InternalException):
        return BillhouseError(
            f"A database file is damaged: {_first_line(error)}",
            "Delete warehouse.duckdb and billhouse.duckdb, which are caches, and rebuild them: billhouse build",
        )
    if isinstance(error, duckdb.IOException):
        return BillhouseError(
            f"A file cannot be read or written: {_first_line(error)}",
            "Check that it exists and is complete, then run this command again.",
        )
    return None


def _sqlite_error(error: BaseException) -> BillhouseError | None:
    text = str(error)
    if "is full" in text:
        return _system_error(errno.ENOSPC, "")
    if "readonly" in text:
        return _system_error(errno.EROFS, "")
    if "locked" in text:
        return BillhouseError(
            "Another program has locked a database of the home.",
            "Wait until it is done, then run this command again.",
        )
    return None


def _unexpected_error(error: BaseException) -> BillhouseError:
    version = importlib.metadata.version("billhouse")
    return BillhouseError(
        f"Unexpected error, {type(error).__name__}: {_first_line(error) or 'no message'}",
        f"Run this command again, which is safe. If the error occurs again, run it with {TRACEBACK_VARIABLE}=1 and report the"
        f" output, the command and the version ({version}, Python {sys.version_info.major}.{sys.version_info.minor}).",
    )


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:500]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the user has no name in the system's user database
        return f"user {os.getuid()}"
