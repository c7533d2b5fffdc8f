"""Dagster's daemon for `billhouse ui`: `python -m orchestration.ui.daemon`, with the arguments of dagster-daemon."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

from orchestration.ui.parent_watch import stop_with_parent


def main() -> None:
    """Run until interrupted, or with `--stop-with-parent` until the parent ends."""
    stop_with_parent()
    sys.argv[0] = "dagster-daemon"
    (script,) = entry_points(group="console_scripts", name="dagster-daemon")
    script.load()()


if __name__ == "__main__":
    main()
