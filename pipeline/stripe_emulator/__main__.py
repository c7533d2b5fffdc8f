"""python -m pipeline.stripe_emulator --database FILE [--port N]: print the address and serve until interrupted."""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

from pipeline.core.failures import to_billhouse_error
from pipeline.stripe_emulator.server import running_emulator


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="The local Stripe emulator, on loopback.")
    parser.add_argument("--database", type=Path, required=True, help="SQLite file for its state")
    parser.add_argument("--port", type=int, default=12111)
    parser.add_argument("--requests-per-second", type=int, help="answer 429 beyond this; no limit by default")
    arguments = parser.parse_args()
    try:
        with running_emulator(arguments.database, arguments.port, arguments.requests_per_second) as address:
            print(f"Stripe emulator at {address} (Ctrl-C stops it)", flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        print("stopped")
    except Exception as error:
        parser.exit(1, f"{to_billhouse_error(error)}\n")


if __name__ == "__main__":
    main()
