"""PEP 249 for asyncio, with the published API of dqlite-dbapi."""

from __future__ import annotations

import logging
from typing import Any, Final

from dqlite._native import Record as Row
from dqliteclient import DEFAULT_CLOSE_TIMEOUT_SECONDS, DEFAULT_TIMEOUT_SECONDS, DialFunc
from dqliteclient._validate import DEFAULT_MAX_CONTINUATION_FRAMES, DEFAULT_MAX_TOTAL_ROWS
from dqlitedbapi._module import (
    LEGACY_TRANSACTION_CONTROL,
    MAX_CONTINUATION_FRAMES_UPPER_BOUND,
    PARSE_COLNAMES,
    PARSE_DECLTYPES,
    __version__,
    apilevel,
    complete_statement,
    enable_callback_tracebacks,
    paramstyle,
    register_converter,
    sqlite_version,
    sqlite_version_info,
    threadsafety,
)
from dqlitedbapi._sql import SESSION_MODES, validate_session_mode
from dqlitedbapi.aio.connection import AsyncConnection
from dqlitedbapi.aio.cursor import AsyncCursor
from dqlitedbapi.exceptions import (
    CLUSTER_POLICY_REJECTION_PREFIX,
    FAILED_TO_CONNECT_PREFIX,
    AdapterLookupError,
    AmbiguousCommitError,
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
from dqlitedbapi.types import (
    BINARY,
    DATETIME,
    NUMBER,
    ROWID,
    STRING,
    UNKNOWN,
    Binary,
    Date,
    DateFromTicks,
    DescriptionTuple,
    PrepareProtocol,
    Time,
    TimeFromTicks,
    Timestamp,
    TimestampFromTicks,
    register_adapter,
    unregister_adapter,
)

__dqlite_face__: Final = True

__all__ = [
    "BINARY",
    "CLUSTER_POLICY_REJECTION_PREFIX",
    "DATETIME",
    "FAILED_TO_CONNECT_PREFIX",
    "LEGACY_TRANSACTION_CONTROL",
    "MAX_CONTINUATION_FRAMES_UPPER_BOUND",
    "NUMBER",
    "PARSE_COLNAMES",
    "PARSE_DECLTYPES",
    "ROWID",
    "SESSION_MODES",
    "STRING",
    "UNKNOWN",
    "AdapterLookupError",
    "AmbiguousCommitError",
    "AsyncConnection",
    "AsyncCursor",
    "Binary",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "DescriptionTuple",
    "DialFunc",
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
    "Warning",
    "__version__",
    "aconnect",
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
    "validate_session_mode",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())


def connect(
    address: str,
    *,
    database: str = "default",
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
    max_total_rows: int | None = DEFAULT_MAX_TOTAL_ROWS,
    max_continuation_frames: int | None = DEFAULT_MAX_CONTINUATION_FRAMES,
    max_message_size: int | None = None,
    trust_server_heartbeat: bool = False,
    close_timeout: float = DEFAULT_CLOSE_TIMEOUT_SECONDS,
    dial_timeout: float | None = None,
    attempt_timeout: float | None = None,
    dial_func: DialFunc | None = None,
    busy_timeout: float = 5.0,
    session_mode: str | None = None,
    **stdlib_kwargs: Any,
) -> AsyncConnection:
    """Return a connection that dials at its first use.

    `address` is ``host:port`` of any node. Times are in seconds: `timeout` bounds each call, the
    shorter of `dial_timeout` and `attempt_timeout` the search for the leader. Of stdlib
    ``sqlite3``, `isolation_level` and `autocommit` are accepted. Bad arguments are a
    ProgrammingError.
    """
    connection = AsyncConnection(
        address,
        database=database,
        timeout=timeout,
        max_total_rows=max_total_rows,
        max_continuation_frames=max_continuation_frames,
        max_message_size=max_message_size,
        trust_server_heartbeat=trust_server_heartbeat,
        close_timeout=close_timeout,
        dial_timeout=dial_timeout,
        attempt_timeout=attempt_timeout,
        dial_func=dial_func,
        busy_timeout=busy_timeout,
        session_mode=session_mode,
    )
    connection.apply_stdlib(stdlib_kwargs)
    return connection


async def aconnect(address: str, **kwargs: Any) -> AsyncConnection:
    """Do `connect`, and dial."""
    connection = connect(address, **kwargs)
    await connection.connect()
    return connection
