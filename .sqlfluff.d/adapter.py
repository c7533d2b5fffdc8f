"""What sqlfluff sees instead of dbt's adapter: a dispatched macro reads as a function call, which is all that style needs."""

from __future__ import annotations

from collections.abc import Callable


def dispatch(name: str) -> Callable[..., str]:
    """The macro's name as a function of its arguments."""
    return lambda *arguments: f"{name}({', '.join(map(str, arguments))})"
