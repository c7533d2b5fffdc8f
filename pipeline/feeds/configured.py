"""The feeds of a home: feeds.toml names commands that fetch rows into the inbox, and runs of all of them.

    [feeds.orders]
    command = "consume kafka"
    servers = "kafka:9092"
    topic = "orders"

Each feed runs in a process of its own, `billhouse consume kafka --servers kafka:9092 --topic orders --name orders --json`: the
command checks its options, and a feed that fails or hangs stops no other. docs/operate/queues.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.core.failures import to_billhouse_error
from pipeline.core.home import Home
from pipeline.feeds.environment import environment_of_feed
from pipeline.feeds.position import is_source_name
from pipeline.store.alert_log import OperationalAlert, raise_alert

COMMANDS = (
    "collect",
    "collect-sql postgresql",
    "collect-sql clickhouse",
    "poll-metrics",
    "poll-running",
    "consume kafka",
    "consume redis-streams",
    "consume sqs",
    "consume nats",
)
FEED_SECONDS = 900
"""A feed that takes longer in a run of all feeds is ended. The next one goes on from its last position."""
_RUN_SECONDS = 600
"""After so long, a queue that never gets empty ends by itself."""
_RESERVED = ("name", "json", "home", "follow", "run-seconds")


@dataclass(frozen=True)
class Feed:
    """A configured feed."""

    name: str
    command: str
    options: tuple[str, ...]
    is_service: bool
    """Whether a service follows it: a run of all feeds leaves it out."""

    @property
    def words(self) -> list[str]:
        """The command's words, after `billhouse`."""
        return [*self.command.split(), *self.options, "--name", self.name]

    @property
    def is_queue(self) -> bool:
        return self.command.startswith("consume ")


@dataclass(frozen=True)
class FeedRun:
    """How a run of a feed ended."""

    feed: str
    seconds: float
    rows: int = 0
    files: int = 0
    problem: str = ""
    """Why it failed, or what was lost; empty for a good run."""
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "seconds": round(self.seconds, 2), "warnings": list(self.warnings)}


def read_feeds(home: Home) -> list[Feed]:
    """The feeds of feeds.toml in order; none if there is no such file. Raises BillhouseError for an invalid file."""
    path = home.feeds
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BillhouseError(f"{path} cannot be read: {error}.", "See docs/operate/queues.md for an example.") from None
    feeds = tables.pop("feeds", {})
    if tables or not isinstance(feeds, dict) or not all(isinstance(options, dict) for options in feeds.values()):
        raise BillhouseError(f"{path} must have tables [feeds.NAME] only.", "See docs/operate/queues.md for an example.")
    return [_feed(f"{path}, feed '{name}'", name, dict(options)) for name, options in feeds.items()]


def find_feed(home: Home, name: str) -> Feed:
    """The feed of this name. Raises WrongUsageError if there is none."""
    feeds = {feed.name: feed for feed in read_feeds(home)}
    if name not in feeds:
        known = ", ".join(feeds) or "none"
        raise WrongUsageError(f"There is no feed '{name}' in {home.feeds}; configured: {known}.", "Add a table [feeds.NAME].")
    return feeds[name]


def run_feeds(home: Home, feeds: Sequence[Feed], *, timeout_seconds: float = FEED_SECONDS) -> list[FeedRun]:
    """Run feeds one after the other. A failed one is an alert, and the others run."""
    runs = []
    for feed in feeds:
        run = _run(home, feed, timeout_seconds)
        if run.problem:
            raise_alert(home, OperationalAlert("check_failed", f"Feed {feed.name}", run.problem))
        runs.append(run)
    return runs


def command_line(home: Home, words: Sequence[str]) -> list[str]:
    """The arguments of a process that runs `billhouse` with these words in this home."""
    return [sys.executable, "-m", "pipeline.cli.app", "--home", str(home.path), *words]


def _feed(where: str, name: str, options: dict[str, Any]) -> Feed:
    command, is_service = options.pop("command", None), options.pop("service", False)
    if not is_source_name(name):
        raise BillhouseError(f"{where}: invalid name.", "Use lower-case letters, digits, dots, dashes and underscores.")
    if command not in COMMANDS:
        raise BillhouseError(f"{where}: unknown command {command!r}.", f"Use one of: {', '.join(COMMANDS)}.")
    if not isinstance(is_service, bool):
        raise BillhouseError(f"{where}: service is {is_service!r}.", "Write true or false.")
    words: list[str] = []
    for option, value in options.items():
        if option in _RESERVED:
            raise BillhouseError(f"{where}: '{option}' cannot be set here.", "Leave it out.")
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, bool):
                words += [f"--{option}"] if one else []
            elif isinstance(one, str | int | float):
                words += [f"--{option}", str(one)]
            else:
                raise BillhouseError(f"{where}: {option} is no text or number.", "Write it as on the command line.")
    return Feed(name, command, tuple(words), is_service)


def _run(home: Home, feed: Feed, timeout_seconds: float) -> FeedRun:
    started = time.monotonic()
    bounded = ["--run-seconds", str(min(_RUN_SECONDS, timeout_seconds))] if feed.is_queue else []
    arguments = command_line(home, [*feed.words, *bounded, "--json"])
    try:
        ended = subprocess.run(  # noqa: S603 - the words are those of the home's owner
            arguments,
            env=environment_of_feed(raises_alerts=False),  # `run_feeds` raises them
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        problem = (
            f"It was ended after {timeout_seconds:g} seconds. The next run goes on after the rows that were written; a list"
            " that is paged by offset and poll-metrics begin again, and landing drops what comes twice."
        )
        return FeedRun(feed.name, time.monotonic() - started, problem=problem)
    except OSError as error:
        return FeedRun(feed.name, time.monotonic() - started, problem=str(to_billhouse_error(error)))
    seconds = time.monotonic() - started
    try:
        printed = json.loads(ended.stdout)
    except ValueError:
        last = ended.stderr.strip().splitlines()[-1:] or ["no message"]
        return FeedRun(feed.name, seconds, problem=f"It ended with exit code {ended.returncode}: {last[0]}")
    if "error" in printed:
        return FeedRun(feed.name, seconds, problem=f"{printed['error']} {printed.get('next_step', '')}".strip())
    problems = [*printed.get("lost", []), *printed.get("refused", [])]
    if ended.returncode and not problems:
        problems = [f"It ended with exit code {ended.returncode}."]
    return FeedRun(
        feed.name, seconds, printed["rows"], len(printed["files"]), " ".join(problems), tuple(printed.get("warnings", []))
    )
