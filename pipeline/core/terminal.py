"""The terminal as an output: everything that is printed or logged goes through here, and pipeline.core.plain_text.

`Console` for what we show, `protected_output` for what anything else prints (libraries, tracebacks, warnings), `protect_logging`
for Python's logging, Dagster's included.
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

from pipeline.core.plain_text import plain_line, plain_text, visible


def plain(text: object) -> str:
    """Text from outside, as one line for a `Console`: square brackets in it are no markup."""
    return escape(plain_line(text))


class Console(rich.console.Console):
    """A console of rich that shows no character which acts on a terminal, and no secret, whatever it is given to print."""

    def render_str(self, text: str, **options: Any) -> Text:
        """A string with markup, made safe before its width is measured."""
        return super().render_str(plain_text(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is shown, made safe; rich's own control codes are segments of their own, and pass."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else visible(segment.text)
            yield segment if text == segment.text else Segment(text, segment.style)

    @property
    def file(self) -> IO[str]:
        """Where it is written to: not to the protected stream, which would escape rich's colours."""
        written: IO[str] = super().file
        return written.rich_proxied_file if isinstance(written, _ProtectedStream) else written

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file


class _ProtectedStream:
    """A text stream that makes safe what is written to it."""

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream
        """Under the name by which consoles of rich find the stream to write their colours to."""

    def write(self, text: str) -> int:
        self.rich_proxied_file.write(plain_text(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


@contextmanager
def protected_output() -> Iterator[None]:
    """Make safe what is printed within the block, by whatever code, and what is logged from then on."""
    protect_logging()
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a letter is shown its code
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = (cast(TextIO, _ProtectedStream(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _PlainRecord(logging.LogRecord):
    """A record whose message, and traceback, are safe to show."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        if self.exc_info and self.exc_info[0] is not None:
            self.exc_text = plain_text("".join(traceback.format_exception(*self.exc_info))).rstrip("\n")

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        return plain_text(super().getMessage())


def protect_logging() -> None:
    """Make safe what is logged from now on in this process. A log that cannot be written is no error of the program."""
    logging.setLogRecordFactory(_PlainRecord)
    logging.raiseExceptions = False
