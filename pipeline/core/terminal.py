"""Safe output to a terminal: everything that is printed or logged passes through pipeline.core.plain_text.

`Console` is for our own output, `protected_output` for what other code prints (libraries, tracebacks, warnings),
`protect_logging` for Python's logging, including Dagster's.
"""

from __future__ import annotations

import io
import logging
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TextIO, cast

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.text import Text

from pipeline.core.errors import BillhouseError
from pipeline.core.failures import is_traceback_requested
from pipeline.core.plain_text import plain_line, plain_text, visible


def plain(text: object) -> str:
    """Text from outside as one line for a `Console`: rich markup in it is escaped."""
    return escape(plain_line(text))


class Console(rich.console.Console):
    """A rich console that escapes control characters and redacts secrets in all that it prints."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Render a string with markup; it is escaped first, so that its width is measured as shown."""
        return super().render_str(plain_text(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render anything, escaped. Rich's own control codes are separate segments and pass unchanged."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else visible(segment.text)
            yield segment if text == segment.text else Segment(text, segment.style)

    @property
    def file(self) -> IO[str]:
        """The output stream: never the protected stream, which would escape rich's colour codes."""
        written: IO[str] = super().file
        return written.rich_proxied_file if isinstance(written, _ProtectedStream) else written

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file


class _ProtectedStream:
    """A text stream that escapes what is written to it."""

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream
        """The attribute by which rich consoles find the stream for their colour codes."""

    def write(self, text: str) -> int:
        if not isinstance(text, str):  # by this error click finds out that the stream is not binary
            raise TypeError(f"write() needs a str, not {type(text).__name__}")
        self.rich_proxied_file.write(plain_text(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


@contextmanager
def protected_output() -> Iterator[None]:
    """Escape all that any code prints inside the block, and all that is logged from then on."""
    protect_logging()
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):  # an encoding that lacks a letter gets its escape
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = (cast(TextIO, _ProtectedStream(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _PlainRecord(logging.LogRecord):
    """A log record with escaped message and traceback."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        if self.exc_info and self.exc_info[0] is not None:
            self.exc_text = plain_text("".join(traceback.format_exception(*self.exc_info))).rstrip("\n")

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        return plain_text(super().getMessage())


def protect_logging() -> None:
    """Escape all that is logged from now on in this process. Errors of log handlers are ignored."""
    logging.setLogRecordFactory(_PlainRecord)
    logging.raiseExceptions = False


def show_failure(failure: BillhouseError, error: BaseException) -> None:
    """Print the failure on stderr, after the traceback of `error` where BILLHOUSE_TRACEBACK is set."""
    if is_traceback_requested():
        print("".join(traceback.format_exception(error)), file=sys.stderr, end="")
    Console(stderr=True).print(f"[red]error[/] {escape(str(failure))}", highlight=False, soft_wrap=True)
