"""A warm interpreter that forks one process per command, and kills it on request.

Started as `python -m tests.kills.fork_server`; requests and responses are lines of JSON on standard input and output.
Everything that a command imports is imported here once, so that a kill at a random instant hits the command and not its imports.
With the argument `build` it also builds once: the caches that dbt fills in its first build take half of it.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

LONGEST_COMMAND_SECONDS = 900
"""A command that takes longer has stopped working; it is ended, and fails its test."""
_HEAVY = (
    *("dbt.cli.main", "dbt.adapters.duckdb", "dbt.adapters.duckdb.impl", "dbt.compilation"),
    *("pandas", "pyarrow.dataset", "pyarrow.compute"),
)


def main() -> None:
    """Run requests until the input ends: {"home", "words", "environment", "kill_after", "output", and those of `hooks.install`}.

    `kill_after`: seconds, after which the process and its children are killed. Answers {"status", "seconds"}; a status below zero
    is the signal that ended the process.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import_everything()
    if sys.argv[1:] == ["build"]:
        build_once()
    answers.write(json.dumps({"ready": os.getpid()}) + "\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(_run(json.loads(line))) + "\n")
        answers.flush()


def import_everything() -> None:
    import pipeline

    names = [found.name for found in pkgutil.walk_packages(pipeline.__path__, "pipeline.") if not found.name.endswith("__main__")]
    for name in (*_HEAVY, *names):
        with contextlib.suppress(ImportError):  # Spark may not be installed
            importlib.import_module(name)


def build_once() -> None:
    """Build a small home, which is removed.

    No connection to DuckDB is left: its threads would be missing in a forked process, which would wait for them.
    """
    from tests.support import billhouse, event, write_jsonl

    with tempfile.TemporaryDirectory() as folder:
        started = write_jsonl(Path(folder) / "events.jsonl", [event("start", "2026-09-01T10:00:00Z")])
        for words in (("land", started), ("build",)):
            outcome = billhouse(Path(folder) / "home", *words)
            assert outcome.code == 0, outcome.stderr
    gc.collect()


def _run(order: dict[str, Any]) -> dict[str, Any]:
    started_at = time.monotonic()
    process = os.fork()
    if process == 0:
        try:
            _command(order)
        finally:
            os._exit(70)
    after = order.get("kill_after")
    if after is not None:
        _wait_until(process, started_at + after)
    _, status = os.waitpid(process, 0)
    with contextlib.suppress(ProcessLookupError):  # a child of its own that outlives it would go on writing
        os.killpg(process, signal.SIGKILL)
    return {"status": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - started_at}


def _wait_until(process: int, instant: float) -> None:
    while time.monotonic() < instant:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(min(0.002, max(0.0, instant - time.monotonic())))
    os.kill(process, signal.SIGKILL)


def _command(order: dict[str, Any]) -> None:
    """In the forked process: the command line, as a shell would call it."""
    os.setsid()
    signal.alarm(LONGEST_COMMAND_SECONDS)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed()
    os.environ.update(order["environment"])
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, source in ((0, nothing), (1, output), (2, output)):
        os.dup2(source, descriptor)
    from tests.kills.hooks import install

    install(Path(order["home"]), order)
    os._exit(run_command_line(["--home", order["home"], *order["words"]]))


def run_command_line(words: list[str]) -> int:
    """In a forked process: run `billhouse` with these words to the end of a process, and return its exit code."""
    from pipeline.cli.app import main as command_line

    sys.argv = ["billhouse", *words]
    code: Any = 0
    try:
        command_line()
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code if isinstance(code, int) else 0 if code is None else 1


if __name__ == "__main__":
    main()
