"""A home for the tests of reports: five customers, a closed month, a late event, a row in quarantine, samples."""

from __future__ import annotations

from pathlib import Path

from pipeline.core.home import Home
from tests.support import billhouse, event, write_jsonl

AS_OF = "2026-09-05T00:00:00Z"
HOSTILE = """<img src=x onerror="document.title='owned'">'); drop table x; --"""
"""An id that would be markup, or end a literal of SQL."""
PRINTED = "printed-by-build.txt"
"""The file in the home with what the last build printed."""


def fill(home: Home, scratch: Path) -> None:
    """Land, build and close. `scratch` gets the landed files."""

    def run(*words: str | Path) -> str:
        outcome = billhouse(home.path, *words)
        assert outcome.code == 0, outcome.stderr
        return outcome.stdout

    records = [
        {"customer_id": customer, "plan_id": "pro", "effective_at": "2026-08-01T00:00:00Z"} for customer in ("ada", "carol")
    ]
    run("land", "--kind", "subscriptions", write_jsonl(scratch / "plans.jsonl", records))
    usage = []
    for number in range(30):
        usage.append(event("start", f"2026-08-10T10:{number:02d}:00Z", sandbox=f"a{number}", vcpu_count=8, memory_gb=16))
        if number % 3:
            usage.append(event("stop", f"2026-08-10T20:{number:02d}:00Z", sandbox=f"a{number}"))
    usage += [event("start", "2026-09-02T00:00:00Z", user="bob", sandbox="b", vcpu_count=2), {"event_id": "bad"}]
    # carol: 2 hours in August, 400 hours in September.
    for day, hour, count in (("2026-08-20", "02", 1), ("2026-09-03", "20", 20)):
        for number in range(count):
            box = f"c{number}-{day}"
            usage.append(event("start", f"{day}T00:00:00Z", user="carol", sandbox=box, vcpu_count=8, memory_gb=16))
            usage.append(event("stop", f"{day}T{hour}:00:00Z", user="carol", sandbox=box))
    usage.append(event("start", "2026-09-03T00:00:00Z", user=HOSTILE, sandbox="h", vcpu_count=1))
    usage.append(event("stop", "2026-09-03T01:00:00Z", user=HOSTILE, sandbox="h"))
    run("land", write_jsonl(scratch / "usage.jsonl", usage))
    readings = [
        {"timestamp": f"2026-09-02T{minute // 60:02d}:{minute % 60:02d}:00Z", "cpu_used_pct": 40, "mem_bytes": 2**28}
        for minute in range(24 * 60)
    ]
    samples = [{"sandbox_id": "b", **reading} for reading in readings]
    run("land", "--kind", "metrics", write_jsonl(scratch / "samples.jsonl", samples))
    run("build", "--as-of", AS_OF)
    run("close", "2026-08")
    run("land", write_jsonl(scratch / "late.jsonl", [event("start", "2026-08-20T00:00:00Z", sandbox="late", vcpu_count=1)]))
    printed = run("build", "--as-of", AS_OF)
    (home.path / PRINTED).write_text(printed, encoding="utf-8")
