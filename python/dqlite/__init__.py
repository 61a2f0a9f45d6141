"""Replicated SQLite: a supervised node, a cluster client, connections for threads and asyncio.

::

    import dqlite

    with dqlite.Node("127.0.0.1:9001", "data/n1") as node, node.connect("app") as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, text)")
        conn.execute("INSERT INTO t(text) VALUES (?)", ["hello"])
        print(conn.fetchval("SELECT count(*) FROM t"))

With asyncio: `dqlite.aio.connect` and `dqlite.create_pool`. The module is one of PEP 249 whose
transactions are explicit; `dqlite.dbapi` begins them as stdlib ``sqlite3`` does. For captures of
the protocol: `dqlite.wire`. Everything raised is a `dqlite.Error`; its `outcome` says whether what
was asked may have happened.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from dqlite._native import Record, __version__
from dqlite._options import TLS
from dqlite.client import Client, LeaderAddress, NodeInfo, NodeMetadata, Role
from dqlite.connection import Connection, connect
from dqlite.cursor import Cursor
from dqlite.exceptions import (
    AdapterLookupError,
    AlreadyAppliedError,
    AmbiguousCommitError,
    BusyError,
    ClusterError,
    ClusterPolicyError,
    ConnectionFailedError,
    ConnectionLostError,
    DatabaseError,
    DataError,
    EngineNotFoundError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    LeadershipLostError,
    NodeAlreadyRunningError,
    NodeConfigError,
    NodeError,
    NodeNotRunningError,
    NodeStartError,
    NodeStopError,
    NoLeaderError,
    NotLeaderError,
    NotSupportedError,
    OperationalError,
    Outcome,
    OutcomeUnknownError,
    PoisonStatementError,
    PoolTimeoutError,
    ProgrammingError,
    ProtocolError,
    StatementTimeoutError,
    Warning,  # noqa: A004 - PEP 249 demands the name
)
from dqlite.node import Node
from dqlite.statement import PreparedStatement
from dqlite.transaction import Transaction

if TYPE_CHECKING:
    from dqlite import aio as aio
    from dqlite import codes as codes
    from dqlite import wire as wire
    from dqlite._about import diagnostics as diagnostics
    from dqlite._about import engine_info as engine_info
    from dqlite._rerun import new_token
    from dqlite.aio import Pool as Pool
    from dqlite.aio import create_pool as create_pool
    from dqlite.dbapi import (
        BINARY,
        DATETIME,
        NUMBER,
        ROWID,
        STRING,
        Binary,
        Date,
        DateFromTicks,
        Time,
        TimeFromTicks,
        Timestamp,
        TimestampFromTicks,
    )
    from dqlite.dbapi import sqlite_version as sqlite_version
    from dqlite.dbapi import sqlite_version_info as sqlite_version_info
    from dqlite.pool import ConnectionPool as ConnectionPool

Row = Record

apilevel: Final = "2.0"
threadsafety: Final = 2
paramstyle: Final = "qmark"

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "TLS",
    "AdapterLookupError",
    "AlreadyAppliedError",
    "AmbiguousCommitError",
    "Binary",
    "BusyError",
    "Client",
    "ClusterError",
    "ClusterPolicyError",
    "Connection",
    "ConnectionFailedError",
    "ConnectionLostError",
    "ConnectionPool",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "EngineNotFoundError",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "LeaderAddress",
    "LeadershipLostError",
    "NoLeaderError",
    "Node",
    "NodeAlreadyRunningError",
    "NodeConfigError",
    "NodeError",
    "NodeInfo",
    "NodeMetadata",
    "NodeNotRunningError",
    "NodeStartError",
    "NodeStopError",
    "NotLeaderError",
    "NotSupportedError",
    "OperationalError",
    "Outcome",
    "OutcomeUnknownError",
    "PoisonStatementError",
    "Pool",
    "PoolTimeoutError",
    "PreparedStatement",
    "ProgrammingError",
    "ProtocolError",
    "Record",
    "Role",
    "Row",
    "StatementTimeoutError",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "Transaction",
    "Warning",
    "__version__",
    "aio",
    "apilevel",
    "codes",
    "connect",
    "create_pool",
    "diagnostics",
    "engine_info",
    "new_token",
    "paramstyle",
    "sqlite_version",
    "sqlite_version_info",
    "threadsafety",
    "wire",
]

_PEP_249 = {
    *("BINARY", "DATETIME", "NUMBER", "ROWID", "STRING", "Binary", "Date", "DateFromTicks"),
    *("Time", "TimeFromTicks", "Timestamp", "TimestampFromTicks"),
    *("sqlite_version", "sqlite_version_info"),
}
_LAZY = {
    "ConnectionPool": "dqlite.pool",
    "Pool": "dqlite.aio",
    "create_pool": "dqlite.aio",
    "diagnostics": "dqlite._about",
    "engine_info": "dqlite._about",
    "new_token": "dqlite._rerun",
}


def __getattr__(name: str) -> Any:
    """Import asyncio's side, and what is for tools, when it is asked for."""
    if name in {"aio", "codes", "wire"}:
        return import_module(f"dqlite.{name}")
    if name in _PEP_249:
        return getattr(import_module("dqlite.dbapi"), name)
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    text = f"module 'dqlite' has no attribute {name!r}"
    raise AttributeError(text)
