"""Members of a library's classes and modules that are others inside a block. docs/internals/private-api.md lists each use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced_members(members: Iterable[tuple[Any, str, Any]]) -> Iterator[None]:
    """Inside a block, each named member of an owner is another; afterwards it is what it was, also if it was inherited."""
    members = tuple(members)
    before = [(owner, name, vars(owner).get(name)) for owner, name, _ in members]
    for owner, name, replacement in members:
        setattr(owner, name, replacement)
    try:
        yield
    finally:
        for owner, name, member in before:
            if member is None:
                delattr(owner, name)  # it was inherited
            else:
                setattr(owner, name, member)
