"""Measures `billhouse receive` with wrk: requests and events a second, latency, memory, files; every 202 must be in the inbox.

python -m benchmarks.receive [--seconds 15] [--connections 256] [--folder /tmp/billhouse-receive]

wrk (Debian's package of that name) posts usage events on two threads, on the same machine. Each event has an id of its own. The
results are written to benchmarks/results/receive.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.receiving import Server, running_server, write_result

RESULT = Path(__file__).parent / "results" / "receive.json"
BATCHES = (1, 10, 100)
_SCRIPT = """
local thread = 0
function setup(it) thread = thread + 1; it:set("number", thread) end
function init(arguments)
  batch = tonumber(arguments[1])
  headers = {["Authorization"] = "Bearer " .. arguments[2], ["Content-Type"] = "application/x-ndjson"}
  count = 0
end
function request()
  local rows = {}
  for _ = 1, batch do
    count = count + 1
    rows[#rows + 1] = string.format(
      '{"event_id":"evt-%d-%d-%d","sandbox_id":"sbx-%d","user_id":"customer-%d","timestamp":"2026-01-05T10:00:00Z",'
      .. '"event_type":"sandbox_started","resources":{"vcpu_count":2,"memory_gb":4.5,"storage_gb":10}}\\n',
      batch, number, count, count % 5000, count % 300)
  end
  return wrk.format("POST", "/v1/usage", headers, table.concat(rows))
end
function done(summary, latency)
  io.write(string.format('RESULT {"requests":%d,"seconds":%.3f,"p50":%.1f,"p99":%.1f,"errors":%d,"refused":%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout, summary.errors.status))
end
"""


def main() -> None:
    """Measure each size of batch on a new home."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/billhouse-receive"))  # noqa: S108 - a benchmark's own
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing. Install Debian's package wrk.")
    measured = [measure(batch, arguments) for batch in BATCHES]
    shutil.rmtree(arguments.folder)
    write_result(RESULT, {"load_average_at_the_end": os.getloadavg()[0], "measured": measured})


def measure(batch: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Post batches for some seconds. Exits if a row that was answered with 202 is not in the inbox once."""
    # One sender does the work of many: its rate is not limited.
    variables = {"BILLHOUSE_RECEIVE_REQUESTS_PER_SECOND": "1000000", "BILLHOUSE_RECEIVE_MIN_FREE_MB": "100"}
    with running_server(arguments.folder, variables=variables) as server:
        before = server.processor_seconds()
        result = run_wrk(server, batch, arguments)
        processor = server.processor_seconds() - before
        peak = server.peak_megabytes()
    rows = [json.loads(row)["event_id"] for row in server.rows()]
    answered = (result["requests"] - result["refused"]) * batch
    if len(rows) < answered or len(set(rows)) != len(rows):
        sys.exit(f"{answered} rows were answered with 202, and {len(set(rows))} are in the inbox")
    return {
        "batch": batch,
        "connections": arguments.connections,
        "requests_per_second": round(result["requests"] / result["seconds"]),
        "events_per_second": round(answered / result["seconds"]),
        "milliseconds_p50": result["p50"],
        "milliseconds_p99": result["p99"],
        "refused": result["refused"],
        "errors": result["errors"],
        "files": len(server.files()),
        "peak_megabytes": round(peak),
        "requests_per_processor_second": round(result["requests"] / processor),
        "events_per_processor_second": round(answered / processor),
        "seconds": round(result["seconds"], 1),
    }


def run_wrk(server: Server, batch: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """What wrk measured."""
    script = arguments.folder / "post.lua"
    script.write_text(_SCRIPT, encoding="utf-8")
    load = ["-t", "2", "-c", str(arguments.connections), "-d", f"{arguments.seconds}s", "--timeout", "10s", "-s", str(script)]
    command = ["wrk", *load, f"http://{server.host}:{server.port}", "--", str(batch), server.key]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    (line,) = (line for line in printed.splitlines() if line.startswith("RESULT "))
    result: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    return result


if __name__ == "__main__":
    main()
