"""Kills a command, runs it again, and compares the home with that of an undisturbed run."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from pipeline.core.home import PROJECT_ROOT
from tests.http_servers import http_server
from tests.kills.commands import FIRST_MONTH, STARTS, Command, Start, placed, write_files
from tests.kills.durability import violations
from tests.kills.state import State, differences, leftovers, masked, state_of

KILLED = -9
_SETTINGS = {"BILLHOUSE_FIRST_BILLING_MONTH": FIRST_MONTH, "BILLHOUSE_ADJUSTMENT_LIMIT_SHARE": "10"}


class ForkServer:
    """Runs commands, each in a process of its own (tests.kills.fork_server). One at a time."""

    def __init__(
        self, output: Path, project: Path = PROJECT_ROOT, *, has_built: bool = False, has_only_feeds: bool = False
    ) -> None:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("BILLHOUSE_", "STRIPE_", "PYTEST_"))
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.kills.fork_server", *(["build"] * has_built), *(["feeds"] * has_only_feeds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=project,
            env=environment | {"PYTHONPATH": str(project)},
        )
        self.output = output
        self._answer()

    def run(self, home: Path, words: list[str], environment: dict[str, str] | None = None, **orders: Any) -> Run:
        """Run a command to its end, or to that which `orders` set it (see `fork_server.main` and `hooks.install`)."""
        self.send(home, words, environment, **orders)
        return self.wait()

    def send(self, home: Path, words: list[str], environment: dict[str, str] | None = None, **orders: Any) -> None:
        """Begin to run a command."""
        order = {"home": str(home), "words": words, "environment": _SETTINGS | (environment or {}), "output": str(self.output)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order | orders) + "\n")
        self._process.stdin.flush()

    def wait(self) -> Run:
        """Wait for the end of the command that was begun."""
        answer = self._answer()
        return Run(answer["status"], answer["seconds"], self.output.read_text(encoding="utf-8", errors="replace"))

    def ends_within(self, seconds: float) -> bool:
        """Whether the command that was begun is over by then."""
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@dataclass(frozen=True)
class Run:
    """How a command ended: its exit code, or the signal as a number below zero; what it printed."""

    code: int
    seconds: float
    output: str


@dataclass(frozen=True)
class Kill:
    """When a command is killed: at its N-th call that changes the file system, or some seconds after it began."""

    at: int = 0
    when: str = ""
    seconds: float = 0
    seconds_again: float = 0
    """When the next call is killed too, before one is let through; 0: it is not."""

    def orders(self) -> dict[str, Any]:
        return {"kill": {"at": self.at, "when": self.when}} if self.at else {"kill_after": self.seconds}


@dataclass
class Report:
    """The results of the kills."""

    kills: int = 0
    outlived: int = 0
    """Runs that ended before they were killed."""
    problems: dict[str, list[str]] = field(default_factory=dict)
    """Differences from an undisturbed run, and the kills after which they occurred."""

    def lines(self) -> list[str]:
        """Each problem, after how many kills, and the first of these."""
        return [f"{problem} [{len(kills)} kills; {kills[0]}]" for problem, kills in self.problems.items()]


@dataclass(frozen=True)
class Reference:
    """An undisturbed run."""

    state: State
    seconds: float
    calls: list[str]
    """The calls that change the file system, in order."""
    leftovers: list[str]
    violations: list[str]
    """What a power cut could have taken, after it all."""


class World:
    """Homes to start with, and one in which commands are killed. All have one path, since dbt parses again for another one."""

    def __init__(self, folder: Path, parsed_project: Path, receiver: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.files = folder / "files"
        self._receiver = receiver
        self._server = ForkServer(folder / "output", has_built=True)
        self._server_of_own_prices: ForkServer | None = None
        self._starts: dict[str, Path] = {}
        self._references: dict[str, Reference] = {}
        write_files(self.files)
        (folder / "starts").mkdir()
        shutil.copytree(parsed_project, self.home)
        self._keep("empty")

    def close(self) -> None:
        self._server.close()
        if self._server_of_own_prices is not None:
            self._server_of_own_prices.close()

    def begin(self, start: str) -> None:
        """Put the home that a command begins with in place."""
        if start not in self._starts:
            made = STARTS[start]
            self.begin(made.before)
            for words in made.commands:
                ran = self.run(words)
                assert ran.code == 0, (words, ran.output)
            if made.change is not None:
                made.change(self.home)
            self._keep(start)
        shutil.rmtree(self.home, ignore_errors=True)
        _copy(self._starts[start], self.home)

    def run(
        self, words: Sequence[str], environment: dict[str, str] | None = None, *, has_own_prices: bool = False, **orders: Any
    ) -> Run:
        """A command in the home, with the names of files and the like put in."""
        server = self._with_own_prices() if has_own_prices else self._server
        put = placed(tuple(words), self.home, self.files, self._receiver)
        values = placed(tuple((environment or {}).values()), self.home, self.files, self._receiver)
        return server.run(self.home, put, dict(zip(environment or {}, values, strict=True)), **orders)

    def call(self, command: Command, **orders: Any) -> Run:
        """A command in the home, as it is there."""
        return self.run(command.words, command.environment, has_own_prices=command.has_own_prices, **orders)

    def _with_own_prices(self) -> ForkServer:
        """Runs the commands of a copy of the project, of which the price book is a folder of the home."""
        if self._server_of_own_prices is None:
            project = self.folder / "project"
            project.mkdir()
            shutil.copytree(PROJECT_ROOT / "pipeline", project / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
            for name in ("tests", "models", "macros", "dbt_project.yml", "profiles.yml"):
                (project / name).symlink_to(PROJECT_ROOT / name)
            (project / "seeds").symlink_to(self.home / "price-book")
            self._server_of_own_prices = ForkServer(self.folder / "output", project)
        return self._server_of_own_prices

    def held(self, command: Command, at: int, go_on: Path, other: ForkServer, meanwhile: Command) -> tuple[Run, Run]:
        """Hold a command before its N-th call while another one runs to its end, or waits for what the first one holds."""
        words = placed(command.words, self.home, self.files, self._receiver)
        server = self._with_own_prices() if command.has_own_prices else self._server
        server.send(self.home, words, command.environment, hold={"at": at, "until": str(go_on)})
        held = go_on.with_name(go_on.name + ".held")
        until = time.monotonic() + 60
        while not held.exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert held.exists(), "the command does not come to that call"
        other.send(self.home, placed(meanwhile.words, self.home, self.files, self._receiver), meanwhile.environment)
        if not other.ends_within(5):
            go_on.touch()
        landed = other.wait()
        go_on.touch()
        return server.wait(), landed

    def reference(self, command: Command) -> Reference:
        """The command without a kill."""
        if command.name not in self._references:
            log = self.folder / "calls"
            self.begin(command.start)
            ran = self.call(command, log=str(log), snapshots=True)
            assert ran.code in command.codes, ran.output
            calls = [_shown(json.loads(line)) for line in log.read_text().splitlines()]
            found = violations(log, self.home)
            self._references[command.name] = Reference(state_of(self.home), ran.seconds, calls, leftovers(self.home), found)
            verified = self.run(["verify"])
            assert verified.code == 0, verified.output
            for name, start in STARTS.items():  # what others begin with need not be made again
                if name not in self._starts and start == Start(command.start, (command.words,)):
                    self._keep(name)
        return self._references[command.name]

    def kill(self, command: Command, kill: Kill, report: Report) -> None:
        """Kill the command, call it again, and report what is not as in the reference."""
        reference = self.reference(command)
        log = self.folder / "calls"
        self.begin(command.start)
        ran = self.call(command, log=str(log), **kill.orders())
        if ran.code != KILLED:
            report.outlived += 1
        else:
            report.kills += 1
        calls = log.read_text().splitlines() if log.exists() else []
        last = _shown(json.loads(calls[-1])) if calls else "the start"
        where = f"{kill.when} call {kill.at}, {last}" if kill.at else f"after {kill.seconds:.3f} s, call {len(calls)}, {last}"
        if kill.seconds_again:
            report.kills += self.call(command, kill_after=kill.seconds_again).code == KILLED
            where += f", and again after {kill.seconds_again:.3f} s"
        for problem in self._again(command, reference):
            report.problems.setdefault(masked(problem), []).append(f"killed {where}")

    def _again(self, command: Command, reference: Reference) -> Iterator[str]:
        again = self.call(command)
        if again.code not in (*command.codes, 0):
            yield f"called again, it ends with {again.code}: {again.output[-500:]}"
        yield from (f"leftover: {name}" for name in leftovers(self.home))
        yield from differences(state_of(self.home), reference.state)
        verified = self.run(["verify"])
        if verified.code != 0:
            yield f"verify: {verified.output[-500:]}"

    def _keep(self, start: str) -> None:
        target = self.folder / "starts" / start
        self.home.rename(target)
        self._starts[start] = target


def _shown(line: dict[str, Any]) -> str:
    return f"{line['call']} {' -> '.join(line['paths'])}"


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


@contextmanager
def receiving() -> Iterator[str]:
    """A receiver of webhooks that takes everything; yields its address."""

    def respond(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers.get("Content-Length", "0")))
        request.send_response(204)
        request.end_headers()

    with http_server(respond) as address:
        yield f"{address}/alerts"
