"""SQL written by hand: text from outside, made safe."""

from __future__ import annotations


def quoted(text: object) -> str:
    """Text as an SQL literal."""
    return "'" + str(text).replace("'", "''") + "'"
