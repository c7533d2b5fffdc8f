"""The command line of `make parity` and `make parity-servers`."""

from __future__ import annotations

import argparse
from collections.abc import Collection

from pipeline.warehouse.spark import missing_for_spark


def selected_names(program: str, description: str | None, known: Collection[str]) -> list[str]:
    """The names on the command line, default all. Exits if a name is unknown or Spark cannot run."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("names", nargs="*", help=f"any of {', '.join(known)}; default: all")
    names: list[str] = parser.parse_args().names or list(known)
    if set(names) - set(known):
        parser.error(f"unknown name; use {', '.join(known)}")
    missing = missing_for_spark()
    if missing is not None:
        parser.exit(1, f"Spark cannot run here: {missing}.\n")
    return names
