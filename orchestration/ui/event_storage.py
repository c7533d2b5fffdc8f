"""Dagster's event log in SQLite, with connections that stay open.

Dagster's own class opens and closes a connection for each of the hundreds of events of a run, three times over: 9 ms of a core an
event, where the same costs 1 ms over a connection that is there. With PostgreSQL (docs/operate/operations.md) it is not needed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sql import create_engine
from dagster._serdes import ConfigurableClassData
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

_SHARDS_KEPT_OPEN = 8
_BUSY_TIMEOUT_SECONDS = 60


class PatientSqliteEventLogStorage(SqliteEventLogStorage):
    """One engine a database (each run has one), of which those used last stay open."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._engines_lock = Lock()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> PatientSqliteEventLogStorage:
        """As dagster.yaml names it."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock, self._engine(shard).connect() as connection, connection.begin():
            yield connection

    def _engine(self, shard: str) -> Engine:
        with self._engines_lock:
            engine = self._engines.pop(shard, None) or self._opened(shard)
            self._engines[shard] = engine
            while len(self._engines) > _SHARDS_KEPT_OPEN:
                self._engines.popitem(last=False)[1].dispose()
        return engine

    def _opened(self, shard: str) -> Engine:
        engine = create_engine(
            self.conn_string_for_shard(shard),
            poolclass=QueuePool,
            connect_args={"timeout": _BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )
        # What a power cut could take is the log's last moments: never the ledger's.
        event.listen(engine, "connect", lambda connection, _: connection.execute("pragma synchronous = normal"))
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        return engine

    def dispose(self) -> None:
        """Close what is open."""
        super().dispose()
        with self._engines_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()
