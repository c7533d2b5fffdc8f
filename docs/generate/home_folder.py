"""The part of the architecture page that lists the files of a home, from the docstring of pipeline/core/home.py."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from pipeline.core import home

PAGE = Path(__file__).resolve().parents[1] / "internals" / "architecture.md"
_BLOCK = re.compile(r"(<!-- generated: make reference -->\n```text\n).*?(```\n)", re.DOTALL)


def architecture_page() -> str:
    """The page as it is, with the present list of files. Raises ValueError where the page has no place for it."""
    text = PAGE.read_text(encoding="utf-8")
    listed = inspect.cleandoc(home.__doc__ or "").partition("\n\n")[2]
    page, count = _BLOCK.subn(lambda found: f"{found[1]}{listed}\n{found[2]}", text)
    if count != 1:
        raise ValueError(f"{PAGE.name} has {count} places for the files of a home")
    return page
