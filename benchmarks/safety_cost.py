"""The cost of safety: landing, close and publish of this checkout compared with another one, as ratios within one run.

python -m benchmarks.safety_cost --against PATH [--repetitions 5] [--rows 1000000] [--files 100] [--customers 2000]
    [--invoices 500]

PATH is a checkout of the commit to compare with: mkdir PATH && git archive COMMIT | tar -x -C PATH. Both run with this Python and
its packages, alternating, each step in its own process and home: land one large file, land many small ones, close a month,
publish a part of it to the local Stripe emulator. Seconds exclude start-up; processor seconds vary less when other programs run.
A ratio is the median of the repetitions' ratios, with the smallest and the largest; compare a commit with itself to see their
variation.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.landing import generate

HERE = Path(__file__).resolve().parent.parent
PERIOD = "2026-09"
STEPS = ("land-one-file", "land-many-files", "close", "publish")
_ENVIRONMENT = {"BILLHOUSE_FIRST_BILLING_MONTH": "2026-01", "PYTHONDONTWRITEBYTECODE": ""}
_OUTSIDE = ("STRIPE_API_KEY", "BILLHOUSE_STRIPE_URL", "BILLHOUSE_HOME")

# Only functions that every commit since 5971494 has, so that the other checkout needs no benchmark.
_STEP = """
import json, os, sys, time
from pathlib import Path
import pipeline
from pipeline.core.home import Home
from pipeline.landing import land_files
from pipeline.ledger.close import close_period
from pipeline.core.periods import BillingPeriod
from pipeline.stripe.client import local_emulator
from pipeline.stripe.publish import publish_period

assert Path(pipeline.__file__).is_relative_to(Path.cwd()), pipeline.__file__
os.umask(0o077)
step, home, period, count, *files = sys.argv[1:]
home, period, count = Home.open(home), BillingPeriod.parse(period), int(count)

def land():
    landed = land_files(home, [Path(file) for file in files])
    return sum(file.accepted for file in landed.files)

def close():
    close_period(home, period)
    return count

def publish():
    with local_emulator(home) as connection:
        return publish_period(home, period, client=connection).counts["published"]

run = {"land": land, "close": close, "publish": publish}[step]
os.sync()
started, before = time.perf_counter(), os.times()
done = run()
seconds, after = time.perf_counter() - started, os.times()
assert done == count, (done, count)
print(json.dumps({"seconds": seconds, "cpu": sum(after[:4]) - sum(before[:4])}))
"""


@dataclass(frozen=True)
class Input:
    """The input of both checkouts."""

    large: Path
    rows: int
    small: list[Path]
    rows_of_small: int
    usage: Path
    plans: Path
    customers: int
    invoices: int


@dataclass(frozen=True)
class Side:
    """A checkout and its initial homes."""

    name: str
    checkout: Path
    homes: Path

    @property
    def built(self) -> Path:
        return self.homes / "built"

    @property
    def closed(self) -> Path:
        return self.homes / "closed"

    def billhouse(self, home: Path, *words: object) -> str:
        """Run the command line of the checkout."""
        return self._run("-m", "pipeline.cli.app", "--home", home, *words)

    def measure(self, step: str, home: Path, count: int, files: Sequence[Path] = ()) -> dict[str, float]:
        """Wall and processor seconds of one step. Removes the home."""
        measured: dict[str, float] = json.loads(self._run("-c", _STEP, step, home, PERIOD, count, *files).splitlines()[-1])
        shutil.rmtree(home)
        return measured

    def _run(self, *words: object) -> str:
        variables = {name: value for name, value in os.environ.items() if name not in _OUTSIDE}
        command = [sys.executable, *map(str, words)]
        environment = variables | _ENVIRONMENT | {"PYTHONPATH": str(self.checkout)}
        ran = subprocess.run(command, cwd=self.checkout, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own programs
        if ran.returncode:
            sys.exit(f"{self.name}: {' '.join(command)[:200]} failed\n{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}")
        return ran.stdout


def main() -> None:
    """Measure, and print a row per step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, required=True, metavar="PATH", help="the checkout to compare with")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1_000_000, help="in the one large file")
    parser.add_argument("--files", type=int, default=100, help="small ones, of 1,000 rows each")
    parser.add_argument("--customers", type=int, default=2000, help="in the month that is closed")
    parser.add_argument("--invoices", type=int, default=500, help="that are published of it")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), metavar="STEP", help=", ".join(STEPS))
    parser.add_argument("--folder", type=Path, help="where files and homes are made; a temporary folder by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        given = make_input(Path(folder), arguments)
        base = Side("base", arguments.against.resolve(), Path(folder) / "base")
        ours = Side("this", HERE, Path(folder) / "this")
        if {"close", "publish"} & set(arguments.steps):
            for side in (base, ours):
                prepare(side, given)
        table(compare(base, ours, given, Path(folder) / "home", arguments.steps, arguments.repetitions))


def make_input(folder: Path, arguments: argparse.Namespace) -> Input:
    """Write files of heartbeats, and a month of customers with one sandbox each for some hours, a third on Pro."""
    large = folder / "large.jsonl"
    generate(large, arguments.rows, 0)
    small = [folder / f"small-{number}.jsonl" for number in range(arguments.files)]
    for number, file in enumerate(small, 1):
        generate(file, 1000, number)
    usage, plans = folder / "usage.jsonl", folder / "plans.csv"
    with usage.open("w") as events, plans.open("w") as subscriptions:
        subscriptions.write("customer_id,plan_id,effective_at\n")
        for number in range(arguments.customers):
            event = {"sandbox_id": f"box-{number}", "user_id": f"customer-{number}"}
            day = f"{PERIOD}-{number % 28 + 1:02}"
            start = {
                "event_id": f"start-{number}",
                "timestamp": f"{day}T10:00:00Z",
                "event_type": "sandbox_started",
                "vcpu_count": 40,
            }
            stop = {"event_id": f"stop-{number}", "timestamp": f"{day}T15:00:00Z", "event_type": "sandbox_stopped"}
            events.writelines(json.dumps(event | what) + "\n" for what in (start, stop))
            subscriptions.write(f"customer-{number},pro,{PERIOD}-01T00:00:00Z\n")
    return Input(large, arguments.rows, small, 1000 * arguments.files, usage, plans, arguments.customers, arguments.invoices)


def prepare(side: Side, given: Input) -> None:
    """Prepare a built home, and a closed copy with some invoices approved."""
    side.billhouse(side.built, "land", given.usage)
    side.billhouse(side.built, "land", "--kind", "subscriptions", given.plans)
    side.billhouse(side.built, "build", "--as-of", "2026-10-05T00:00:00Z")
    shutil.copytree(side.built, side.closed)
    side.billhouse(side.closed, "close", PERIOD)
    waiting = json.loads(side.billhouse(side.closed, "approve", PERIOD, "--json"))["waiting"]
    side.billhouse(side.closed, "approve", PERIOD, *waiting[: given.invoices])


def compare(
    base: Side, ours: Side, given: Input, home: Path, steps: Sequence[str], repetitions: int
) -> dict[str, dict[str, list[dict[str, float]]]]:
    """The measurements of each step and side; the order of the sides alternates."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {step: {"base": [], "this": []} for step in steps}
    for number in range(repetitions):
        for step in steps:
            for side in (base, ours) if number % 2 == 0 else (ours, base):
                measured = _measure(side, step, given, home)
                found[step][side.name].append(measured)
                shown = f"{measured['seconds']:.2f} s, {measured['cpu']:.2f} s of processors"
                print(f"repetition {number + 1} of {repetitions}: {step}, {side.name}: {shown}", file=sys.stderr, flush=True)
    return found


def _measure(side: Side, step: str, given: Input, home: Path) -> dict[str, float]:
    match step:
        case "land-one-file":
            return side.measure("land", home, given.rows, [given.large])
        case "land-many-files":
            return side.measure("land", home, given.rows_of_small, given.small)
        case "close":
            shutil.copytree(side.built, home)
            return side.measure("close", home, given.customers)
        case _:
            shutil.copytree(side.closed, home)
            return side.measure("publish", home, given.invoices)


def table(found: dict[str, dict[str, list[dict[str, float]]]]) -> None:
    """Print the medians, and the median, smallest and largest ratio."""
    print("| step | base, s | this, s | ratio (least to most) | processor: base, s | this, s | ratio (least to most) |")
    print("| --- | --: | --: | --: | --: | --: | --: |")
    for step, sides in found.items():
        cells = [step]
        for what in ("seconds", "cpu"):
            base, ours = ([run[what] for run in sides[name]] for name in ("base", "this"))
            ratios = [one / other for one, other in zip(ours, base, strict=True)]
            cells += [f"{statistics.median(base):.2f}", f"{statistics.median(ours):.2f}"]
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
