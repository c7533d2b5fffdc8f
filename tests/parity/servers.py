"""`make parity-servers`: the same build on a Thrift server and on a Spark Connect server, which it starts on this machine.

Each is started with the settings of docs/operate/spark.md, and builds a small home with every check and unit test, twice.
A Thrift server with another setting must be refused; a Spark Connect session sets its own. Ends with 1 where anything differs.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.home import PROJECT_ROOT, Home
from tests.parity.arguments import selected_names
from tests.parity.compare import compare_reports
from tests.parity.homes import Built, small
from tests.support import free_port

SECONDS_TO_START = 120
_OF_THIS_MACHINE = {
    "spark.master": "local[2]",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "4g",
    "spark.connect.grpc.binding.address": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.codegen.wholeStage": "false",
}
"""Where it runs, and settings for small data; they do not affect results."""


@dataclass(frozen=True)
class Server:
    """A kind of Spark server."""

    name: str
    main_class: str
    port_setting: str

    def environment(self, port: int) -> dict[str, str]:
        """The environment variables that docs/operate/spark.md sets for a build."""
        if self is CONNECT:
            return {"SPARK_REMOTE": f"sc://127.0.0.1:{port}"}
        return {"BILLHOUSE_SPARK_METHOD": "thrift", "BILLHOUSE_SPARK_HOST": "127.0.0.1", "BILLHOUSE_SPARK_PORT": str(port)}


THRIFT = Server("thrift", "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2", "spark.hive.server2.thrift.port")
CONNECT = Server("connect", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark.connect.grpc.binding.port")
SERVERS = {server.name: server for server in (THRIFT, CONNECT)}


def documented_settings() -> dict[str, str]:
    """The server settings in docs/operate/spark.md."""
    block = re.search(r"```ini\n(.*?)```", (PROJECT_ROOT / "docs" / "operate" / "spark.md").read_text(), re.DOTALL)
    assert block is not None
    return dict(line.split(maxsplit=1) for line in block[1].splitlines())


@contextmanager
def running_server(server: Server, folder: Path, settings: Mapping[str, str]) -> Iterator[int]:
    """Run a server with its catalog in this folder; yields the port."""
    import pyspark

    folder.mkdir(parents=True)
    port = free_port()
    properties = folder / "spark.conf"
    every = {**_OF_THIS_MACHINE, **settings, server.port_setting: port}
    properties.write_text("".join(f"{name} {value}\n" for name, value in every.items()))
    log = folder / "server.log"
    with log.open("wb") as output:
        running = subprocess.Popen(
            [
                str(Path(pyspark.__file__).parent / "bin" / "spark-submit"),
                *("--properties-file", str(properties), "--class", server.main_class, "spark-internal"),
            ],
            cwd=folder,
            env={**_environment(), "HIVE_SERVER2_THRIFT_BIND_HOST": "127.0.0.1"},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while not _is_listening(port):
            if running.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The {server.name} server did not start:\n{log.read_text()}")
            time.sleep(0.5)
        yield port
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)  # its state is not needed
        running.wait(timeout=60)


def build_by(server: Server, port: int, built: Built) -> subprocess.CompletedProcess[str]:
    """Build a home on a server, in a separate process."""
    arguments = ["--home", str(built.home.path), "--as-of", built.as_of.isoformat(), "--unit-tests"]
    return subprocess.run(
        [sys.executable, "-m", "pipeline.warehouse.spark", *arguments],
        env={**_environment(), **server.environment(port)},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def problems_of(server: Server, built: Built, folder: Path) -> list[str]:
    """The problems with one server; empty if all reports are equal to DuckDB's."""
    settings = documented_settings()
    found = _problems_with(
        server, built, folder / "documented", settings, builds=2
    )  # the second build replaces the tables of the first
    other = _problems_with(server, built, folder / "other", {**settings, "spark.sql.session.timeZone": "Asia/Tokyo"})
    if server is CONNECT:
        return found + other
    was_refused = len(other) == 1 and "spark.sql.session.timeZone = Asia/Tokyo" in other[0]
    return found if was_refused else [*found, "a wrong time zone was not refused", *other]


def _problems_with(server: Server, built: Built, folder: Path, settings: Mapping[str, str], builds: int = 1) -> list[str]:
    with running_server(server, folder, settings) as port:
        for _ in range(builds):
            ran = build_by(server, port, built)
            if ran.returncode != 0 or ran.stderr:
                return [ran.stderr]
            print(f"{server.name}: {ran.stdout.strip()}", flush=True)
    found = []
    for one in compare_reports(built.home, folder / "spark-warehouse" / "billing.db"):
        found += [f"{one.table}: {difference}" for difference in one.differences]
        found += [f"{one.table} has no rows, so its equality shows nothing"] * (one.rows == 0)
    return found


def _environment() -> dict[str, str]:
    """Our environment without the variables that select another server."""
    return {name: value for name, value in os.environ.items() if name != "SPARK_REMOTE" and not name.startswith("BILLHOUSE_")}


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> int:
    names = selected_names("tests.parity.servers", __doc__, SERVERS)
    with tempfile.TemporaryDirectory(prefix="billhouse-servers-") as scratch:
        folder = Path(scratch)
        built = small(Home.open(folder / "home"), folder)
        problems = {name: problems_of(SERVERS[name], built, folder / name) for name in names}
    for name, found in problems.items():
        print("\n  ".join([f"{name}: {'no difference' if not found else 'differs'}", *found]))
    return 1 if any(problems.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
