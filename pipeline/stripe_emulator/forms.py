"""Stripe's request encoding: forms whose keys are paths, e.g. `metadata[invoice]=x`, `expand[0]=customer`."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

_PART = re.compile(r"\[([^\]]*)\]")


def parse_form(encoded: str) -> dict[str, Any]:
    """'a[b]=1&c[0]=2' -> {'a': {'b': '1'}, 'c': ['2']}; values stay text."""
    root: dict[str, Any] = {}
    for key, value in parse_qsl(encoded, keep_blank_values=True):
        name, *_ = key.partition("[")
        _put(root, [name, *_PART.findall(key)], value)
    params: dict[str, Any] = _with_lists(root)
    return params


def _put(node: dict[str, Any], path: list[str], value: str) -> None:
    for part in path[:-1]:
        node = node.setdefault(part or str(len(node)), {})
    node[path[-1] or str(len(node))] = value


def _with_lists(node: Any) -> Any:
    """Convert dictionaries with the keys 0, 1, 2... to lists."""
    if not isinstance(node, dict):
        return node
    if node and all(key.isdigit() for key in node):
        return [_with_lists(node[key]) for key in sorted(node, key=int)]
    return {key: _with_lists(value) for key, value in node.items()}
