"""PEP 249, with the habits of stdlib ``sqlite3``::

    import dqlite.dbapi as sqlite3

    conn = sqlite3.connect("dqlite://h1:9001,h2:9001/app")
    with conn:
        conn.execute("INSERT INTO users(name) VALUES (?)", ("ann",))

Rows are tuples, writes begin a transaction, ``with`` commits or rolls back and does not close.
`threadsafety` 2: threads may share the module and connections. `sqlite_version` is the floor that
the supported engines guarantee; a connection's `server_version` asks.
"""

from __future__ import annotations

import datetime as dt
import time
from typing import Final

from dqlite import _native
from dqlite._control import LEGACY_TRANSACTION_CONTROL
from dqlite._lexed import readable
from dqlite._native import Record as Row
from dqlite.dbapi._adapt import (
    PARSE_COLNAMES,
    PARSE_DECLTYPES,
    PrepareProtocol,
    adapt,
    register_adapter,
    register_converter,
    unregister_adapter,
)
from dqlite.dbapi.connection import Connection, connect
from dqlite.dbapi.cursor import Cursor
from dqlite.exceptions import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    Warning,  # noqa: A004 - PEP 249 demands the name
)

apilevel: Final = "2.0"
threadsafety: Final = 2
paramstyle: Final = "qmark"
sqlite_version: Final = "3.40.0"
sqlite_version_info: Final = (3, 40, 0)

Binary = memoryview
Date = dt.date
Time = dt.time
Timestamp = dt.datetime


class TypeObject:
    """Equal to the type codes of `Cursor.description` that it stands for."""

    def __init__(self, *tags: int) -> None:
        """Stand for these wire tags."""
        self._tags = frozenset(tags)

    def __eq__(self, other: object) -> bool:
        """Compare with a type code or with another type object."""
        if isinstance(other, TypeObject):
            return self._tags == other._tags
        return other in self._tags

    def __hash__(self) -> int:
        """Hash the tags."""
        return hash(self._tags)


STRING: Final = TypeObject(3)
BINARY: Final = TypeObject(4)
NUMBER: Final = TypeObject(1, 2, 11)
DATETIME: Final = TypeObject(9, 10)
ROWID: Final = TypeObject(1)


def DateFromTicks(ticks: float) -> dt.date:  # noqa: N802 - PEP 249 demands the name
    """Return the local date, `ticks` seconds after 1970."""
    return Date(*time.localtime(ticks)[:3])


def TimeFromTicks(ticks: float) -> dt.time:  # noqa: N802 - PEP 249 demands the name
    """Return the local time of day, `ticks` seconds after 1970."""
    return Time(*time.localtime(ticks)[3:6])


def TimestampFromTicks(ticks: float) -> dt.datetime:  # noqa: N802 - PEP 249 demands the name
    """Return the local date and time, `ticks` seconds after 1970."""
    return Timestamp(*time.localtime(ticks)[:6])


def complete_statement(statement: str) -> bool:
    """Whether the text ends with a finished statement."""
    with readable():
        return _native.is_complete(statement)


def enable_callback_tracebacks(enable: bool, /) -> None:
    """Do nothing: no function of the caller runs inside SQLite."""


__all__ = [
    "BINARY",
    "DATETIME",
    "LEGACY_TRANSACTION_CONTROL",
    "NUMBER",
    "PARSE_COLNAMES",
    "PARSE_DECLTYPES",
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
    "PrepareProtocol",
    "ProgrammingError",
    "Row",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "TypeObject",
    "Warning",
    "adapt",
    "apilevel",
    "complete_statement",
    "connect",
    "enable_callback_tracebacks",
    "paramstyle",
    "register_adapter",
    "register_converter",
    "sqlite_version",
    "sqlite_version_info",
    "threadsafety",
    "unregister_adapter",
]
