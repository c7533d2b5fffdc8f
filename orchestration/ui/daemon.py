"""Dagster's daemon for `billhouse ui`: `python -m orchestration.ui.daemon`, with the arguments of dagster-daemon."""

from __future__ import annotations

import sys

from dagster._daemon.cli import main as run_daemon

from orchestration.ui.parent_watch import stop_with_parent


def main() -> None:
    """Run until interrupted, or with `--stop-with-parent` until the parent ends."""
    stop_with_parent()
    sys.argv[0] = "dagster-daemon"
    run_daemon()


if __name__ == "__main__":
    main()
