"""Runs `billhouse` for a shell in processes forked from one that has imported everything and built once.

A fresh process takes 12 s of a build to import dbt and to fill its caches; the server, `python -m tests.command_server SOCKET`,
does both once. It puts a program in the place of `billhouse`, which hands it the arguments, folder, environment and streams of
each call, and exits with the status of the forked process: for a shell it is the command.
"""

from __future__ import annotations

import array
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CLIENT = """#!{python} -IS
import array, json, os, socket, sys
order = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    streams = array.array("i", [0, 1, 2])
    server.sendmsg([len(order).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
    server.sendall(order)
    status = server.recv(1)
os._exit(status[0] if status else 70)
"""
"""The program `billhouse`. It closes none of the streams before the forked process has ended."""


@contextmanager
def command_server(project: Path, program: Path) -> Iterator[None]:
    """Serve calls of `program`, which is written, until the block ends. `project`: the folder whose `pipeline` runs."""
    with tempfile.TemporaryDirectory(prefix="billhouse-") as folder:  # the address of a socket is at most 107 bytes long
        address = str(Path(folder) / "socket")
        program.write_text(CLIENT.format(python=sys.executable, address=address))
        program.chmod(0o755)
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.command_server", address],
            cwd=project,
            env=os.environ | {"PYTHONPATH": str(project)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield
        finally:
            server.terminate()
            server.wait()


def main(address: str) -> None:
    """Serve until the process is terminated."""
    from tests.kills.fork_server import build_once, import_everything

    import_everything()
    build_once()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no call leaves a zombie
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        print("ready", flush=True)
        while True:
            call, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _serve(call)
            call.close()


def _serve(call: socket.socket) -> None:
    """In the forked process: run one command as its shell has called it, answer its exit code, and end."""
    code = 70
    try:
        streams = array.array("i")
        size, (ancillary, *_), _, _ = call.recvmsg(8, socket.CMSG_LEN(3 * streams.itemsize))
        streams.frombytes(ancillary[2])
        with call.makefile("rb") as stream:
            words, folder, environment = json.loads(stream.read(int.from_bytes(size, "big")))
        for descriptor, source in enumerate(streams):
            os.dup2(source, descriptor)
            os.close(source)
        code = _run(words, folder, environment)
    finally:
        with suppress(OSError):
            call.sendall(bytes([code]))
        os._exit(code)


def _stream(descriptor: int, mode: str, **options: Any) -> Any:
    """A standard stream as Python opens it; the server's own were opened for other files."""
    return open(descriptor, mode, encoding="utf-8", closefd=False, **options)


def _run(words: list[str], folder: str, environment: dict[str, str]) -> int:
    from tests.kills.fork_server import LONGEST_COMMAND_SECONDS, run_command_line

    signal.alarm(LONGEST_COMMAND_SECONDS)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.stdin = _stream(0, "r")
    sys.stdout = _stream(1, "w")
    sys.stderr = _stream(2, "w", errors="backslashreplace")
    return run_command_line(words)


if __name__ == "__main__":
    main(sys.argv[1])
