"""A PostgreSQL server of a test, on a socket in a folder of its own. It is stopped and removed at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

_SETTINGS = {
    "listen_addresses": "",
    "wal_level": "logical",
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_connections": "20",
    "autovacuum": "off",
    "max_prepared_transactions": "2",
}
_SECONDS = 60


def _programs() -> Path:
    """The folder of initdb and postgres; Debian's is not on the path."""
    folders = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), *map(Path, os.environ["PATH"].split(os.pathsep))]
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.fail("PostgreSQL is not installed: apt-get install postgresql")


def _account() -> int | None:
    """Who runs the server, which refuses to run as root: an account without rights, by its usual number."""
    return 65534 if os.geteuid() == 0 else None


@contextmanager
def postgresql_server() -> Iterator[str]:
    """Yields the connection string of a database that everybody may connect to as the user `billhouse`."""
    programs, account = _programs(), _account()
    folder = Path(tempfile.mkdtemp(prefix="billhouse-pg-"))
    try:
        if account is not None:
            shutil.chown(folder, account)
        data = folder / "data"
        initialize: list[str | Path] = [
            programs / "initdb",
            "-D",
            data,
            "-A",
            "trust",
            "-U",
            "billhouse",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]
        subprocess.run(initialize, user=account, check=True, capture_output=True, cwd=folder, timeout=_SECONDS)
        options = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        control: list[str | Path] = [programs / "pg_ctl", "-D", data, "-w", "-t", str(_SECONDS), "-l", folder / "log"]
        start: list[str | Path] = [*control, "-o", " ".join(map(_quoted, ["-k", str(folder), *options])), "start"]
        subprocess.run(start, user=account, check=True, capture_output=True, cwd=folder, timeout=_SECONDS)
        try:
            yield f"postgresql://billhouse:pg-secret-0123456789@/postgres?host={folder}"
        finally:
            stop: list[str | Path] = [*control, "-m", "immediate", "stop"]
            subprocess.run(stop, user=account, check=False, capture_output=True, cwd=folder, timeout=_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _quoted(word: str) -> str:
    return f"'{word}'"


def run_sql(dsn: str, *statements: str) -> list[Any]:
    """Run statements, each a transaction of its own; returns the rows of the last one."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []
