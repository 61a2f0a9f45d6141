"""PEP 249 over a `Node`: `dqlite.dbapi` with the manners of dqlitepy.

Statements stand by themselves until `Connection.begin`; ``with`` commits or rolls back, and closes.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

import dqlite
from dqlite import dbapi
from dqlite._control import LEGACY_TRANSACTION_CONTROL, Control
from dqlite._options import options
from dqlite.dbapi import (
    BINARY,
    DATETIME,
    NUMBER,
    ROWID,
    STRING,
    Binary,
    Cursor,
    DatabaseError,
    DataError,
    Date,
    DateFromTicks,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    Time,
    TimeFromTicks,
    Timestamp,
    TimestampFromTicks,
    Warning,  # noqa: A004 - PEP 249 demands the name
)

apilevel: Final = "2.0"
threadsafety: Final = 1
paramstyle: Final = "qmark"


class Connection(dbapi.Connection):
    """A connection that starts at a node and follows the leader."""

    def __init__(self, node: dqlite.Node, database: str = "db.sqlite") -> None:
        """Connect to a database; it is created if it does not exist."""
        super().__init__(
            options(
                node,
                database=database,
                timeout=...,
                connect_timeout=...,
                busy_timeout=5.0,
                types="auto",
                reconnect=True,
                name=None,
            ),
            Control(LEGACY_TRANSACTION_CONTROL, None),
        )
        self.node = node
        """The node it was made for."""
        self.open()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Commit, or roll back after an exception; then close."""
        try:
            super().__exit__(exc_type, exc, tb)
        finally:
            self.close()


class OwningConnection(Connection):
    """A connection whose node ends with it."""

    def close(self) -> None:
        """Close the connection and stop the node; idempotent."""
        super().close()
        self.node.close()


def connect(node: dqlite.Node, database: str = "db.sqlite") -> Connection:
    """Return a connection to a database of a running node's cluster."""
    return Connection(node, database)


__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Binary",
    "Connection",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "OwningConnection",
    "ProgrammingError",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "Warning",
    "apilevel",
    "connect",
    "paramstyle",
    "threadsafety",
]
