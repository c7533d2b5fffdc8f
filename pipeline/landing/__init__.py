"""Landing: files in, raw Parquet out; nothing lost, nothing twice. Billing rules, section 3."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.landing.land import land_files, retry_quarantined
    from pipeline.landing.record_kinds import Kind
    from pipeline.landing.result import LandedFile, LandingSummary

__all__ = ["Kind", "LandedFile", "LandingSummary", "land_files", "retry_quarantined"]
_MODULES = {
    "Kind": "record_kinds",
    "LandedFile": "result",
    "LandingSummary": "result",
    "retry_quarantined": "land",
    "land_files": "land",
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use: the command line needs the kinds of records long before DuckDB and pyarrow."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
