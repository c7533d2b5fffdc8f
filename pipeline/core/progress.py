"""How long-running functions report their progress to the caller."""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[str, int, int], None]
"""Called before each item with its name, the number of items that are done, and the total number of items."""
