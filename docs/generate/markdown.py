"""Markdown from texts in the code."""

from __future__ import annotations

import re


def with_links(text: str) -> str:
    """The text of a page in docs/reference/, with links where it names another page as docs/<folder>/<page>.md."""
    return re.sub(r"(?<![\w/(])docs/([\w/-]+\.md)", r"[\1](../\1)", text)
