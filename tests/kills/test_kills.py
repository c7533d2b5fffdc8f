"""A command may be killed at any instant: called again, it leaves what an untouched run leaves, and nothing else.

Here with a few kills; `make soak-kills KILLS=1000` has that many, over every command.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.kills.commands import COMMANDS, Command
from tests.kills.harness import ForkServer, Kill, Report, World, receiving
from tests.kills.state import differences, leftovers, state_of

KILLS = int(os.environ.get("BILLHOUSE_SOAK_KILLS", "0"))
SEED = os.environ.get("BILLHOUSE_SOAK_SEED", "1")
_IN_THE_SUITE = {
    "land": 4,
    "land --again": 2,
    "quarantine --settle": 2,
    "compact": 2,
    "collect": 2,
    "check-prices --fix": 1,
    "close": 1,
    "approve": 2,
    "publish": 2,
    "sync-stripe": 2,
    "export": 2,
}
"""How many kills of which commands."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Iterator[World]:
    """Homes for the commands to begin with, made as they are asked for."""
    with receiving() as receiver:
        made = World(tmp_path_factory.mktemp("kills"), parsed_project, receiver)
        try:
            yield made
        finally:
            made.close()


def kills_of(command: Command) -> int:
    """How many kills a command gets: fewer where one takes long."""
    if not KILLS:
        return _IN_THE_SUITE.get(command.name, 0)
    weights: dict[str, float] = {name: each.seconds**-0.8 for name, each in COMMANDS.items()}
    share = weights[command.name] / sum(weights.values())
    return max(1, round(KILLS * share))


def chosen_kills(number: int, calls: list[str], seconds: float, random: Random) -> Iterator[Kill]:
    """Half of them at calls that change the file system, all of these where they suffice; then without end at random instants.

    Of the random ones every fourth is followed by another. In the suite all are at calls, so that its result is reproducible.
    """
    at_calls = [Kill(at=at, when=when) for at, call in enumerate(calls, 1) for when in moments_of(call)]
    yield from random.sample(at_calls, min(len(at_calls), max(1, number // 2 if KILLS else number)))
    while True:
        again = random.uniform(0, seconds) if random.random() < 0.25 else 0
        yield Kill(seconds=random.uniform(0, seconds), seconds_again=again)


def moments_of(call: str) -> tuple[str, ...]:
    """When a process can be killed at a call: what is written can also be cut off."""
    return ("before", "halfway", "after") if call.startswith("write") else ("before", "after")


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if kills_of(command)])
def test_a_command_that_is_killed_at_any_instant_is_completed_by_the_next_call(world: World, name: str) -> None:
    command, report = COMMANDS[name], Report()
    reference = world.reference(command)
    assert reference.leftovers == [], "of an untouched run"
    wanted = kills_of(command)
    for kill in chosen_kills(wanted, reference.calls, reference.seconds, Random(f"{SEED} {name}")):
        if report.kills >= wanted or report.outlived > 3 * wanted:
            break
        world.kill(command, kill, report)
    print(f"{name}: {report.kills} kills, {len(report.problems)} problems; {report.outlived} runs ended before their kill")
    assert report.kills >= wanted
    assert report.lines() == []


@pytest.mark.skipif(bool(KILLS), reason="one of the suite")
@pytest.mark.parametrize("name", ["sync-stripe", "publish", "export"])
def test_a_command_at_work_loses_nothing_to_one_that_lands_meanwhile(world: World, name: str, tmp_path: Path) -> None:
    command, land = COMMANDS[name], COMMANDS["land voids"]
    reference = world.reference(command)
    renames = [at for at, call in enumerate(reference.calls, 1) if call.startswith(("replace", "rename"))]
    other = ForkServer(tmp_path / "output")
    try:
        world.begin(command.start)
        assert world.call(command).code == 0
        assert world.call(land).code == 0
        expected = state_of(world.home)
        for at in renames[:: max(1, len(renames) // 2)]:
            world.begin(command.start)
            go_on = tmp_path / f"go-on-{at}"
            ran, landed = world.held(command, at, go_on, other, land)
            assert (ran.code, ran.output) == (0, ran.output), f"held before call {at}, {reference.calls[at - 1]}"
            assert landed.code == 0, landed.output
            assert leftovers(world.home) == []
            assert differences(state_of(world.home), expected) == []
    finally:
        other.close()


@pytest.mark.skipif(bool(KILLS), reason="one of the suite")
@pytest.mark.parametrize(
    "name",
    [
        "land",
        "land --again",
        "quarantine --settle",
        "compact",
        "close",
        "approve",
        "publish",
        "sync-stripe",
        "credit-note",
        "check-prices --accept",
    ],
)
def test_a_power_cut_finds_everything_synced_before_it_is_renamed_and_its_folder_after(world: World, name: str) -> None:
    assert world.reference(COMMANDS[name]).violations == []
