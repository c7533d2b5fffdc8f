"""Random input files with few ids, and the rows that they leave in a home."""

from __future__ import annotations

import random
from pathlib import Path

from pipeline.core.home import Home
from pipeline.landing.index_updates import KEYS
from pipeline.landing.record_kinds import Kind
from tests.landing.raw import Row, event_line, landed_files, quarantined, rows_of, write_lines


def state_of(home: Home) -> dict[str, list[Row]]:
    collections = {name: sorted(rows_of(home, name), key=str) for name in KEYS if name != "landed_files"}
    files = [{name: value for name, value in row.items() if name != "landed_at"} for row in landed_files(home)]
    return collections | {"quarantine": quarantined(home), "landed_files": files}


def random_files(folder: Path, seed: int) -> list[tuple[Path, Kind]]:
    """Files with repeated and conflicting ids, sandboxes with several users, voided ids, and corrected records."""
    draw = random.Random(seed)
    folder.mkdir()
    files: list[tuple[Path, Kind]] = []
    for number in range(6):
        kind = draw.choice([Kind.USAGE, Kind.USAGE, Kind.USAGE, Kind.VOIDS, Kind.CUSTOMERS, Kind.METRICS])
        lines = []
        for _ in range(draw.randrange(1, 12)):
            day = draw.randrange(1, 3)
            match kind:
                case Kind.USAGE:
                    event_id = f"evt-{draw.randrange(30)}"
                    sandbox, user = f"box-{draw.randrange(6)}", draw.choice(["ada", "ada", "ada", "bob"])
                    at = f"2026-01-0{day}T1{draw.randrange(2)}:00:00Z"
                    lines.append(event_line(event_id, sandbox_id=sandbox, user_id=user, timestamp=at))
                case Kind.VOIDS:
                    void = draw.randrange(30)
                    lines.append(f'{{"event_id": "evt-{void}", "voided_at": "2026-01-05T00:00:00Z", "reason": "test"}}')
                case Kind.CUSTOMERS:
                    currency = draw.choice(['"USD"', '"EUR"', "null"])
                    lines.append(f'{{"customer_id": "c{draw.randrange(4)}", "name": "n{day}", "currency": {currency}}}')
                case _:
                    at = f"2026-01-0{day}T10:0{draw.randrange(5)}:00Z"
                    sample = f'"cpu_used_pct": {draw.randrange(3)}, "mem_bytes": 1'
                    lines.append(f'{{"sandbox_id": "box-{draw.randrange(3)}", "timestamp": "{at}", {sample}}}')
        files.append((write_lines(folder / f"{number}.jsonl", lines), kind))
    return files
