"""A running `billhouse receive` in a process of its own, for measurements and hostile requests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.home import Home
from pipeline.feeds.receive.keys import add_key


@dataclass(frozen=True)
class Server:
    """A server that accepts requests."""

    home: Home
    host: str
    port: int
    key: str
    process: subprocess.Popen[str]

    def peak_megabytes(self) -> float:
        """The peak of its memory so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        (kilobytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
        return int(kilobytes) / 1024

    def processor_seconds(self) -> float:
        """The processor time that it has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rows(self) -> list[bytes]:
        """The rows in the inbox."""
        return [line for path in self.files() for line in path.read_bytes().splitlines()]

    def files(self) -> list[Path]:
        """The files in the inbox."""
        return sorted(self.home.inbox.rglob("*.jsonl"))


@contextmanager
def running_server(folder: Path, options: Sequence[str] = (), variables: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Serve a new home in a folder, which is removed first. At the end the server is stopped; it must end with 0."""
    shutil.rmtree(folder, ignore_errors=True)
    home = Home.open(folder)
    _, key = add_key(home, "benchmark", ["usage"])
    command = [sys.executable, "-m", "pipeline.cli.app", "--home", str(folder), "receive", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | dict(variables or {})) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            announced = process.stdout.readline()
            host, _, port = announced.split()[2].removeprefix("http://").removesuffix("/v1/NAME").rpartition(":")
            yield Server(home, host, int(port), key, process)
            process.send_signal(signal.SIGTERM)
            if process.wait(30) != 0:
                sys.exit(f"the server ended with {process.returncode}")
        finally:
            process.kill()


def write_result(path: Path, result: Mapping[str, object]) -> None:
    """Store a result as JSON, and print it."""
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
