"""The PEP 249 connection, and `connect` with the arguments of stdlib ``sqlite3``."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from dqlite import connection, exceptions
from dqlite._control import LEGACY_TRANSACTION_CONTROL, Control
from dqlite._options import BYTES_MAX, TLS, Options, Target, Types, options
from dqlite.dbapi.cursor import Cursor, check_cursor


class Connection(connection.Connection):
    """`dqlite.Connection` with the manners of stdlib ``sqlite3``.

    Rows are tuples unless `row_factory` says otherwise; ``with`` commits, or rolls back after an
    exception, and does not close.
    """

    Warning = exceptions.Warning
    Error = exceptions.Error
    InterfaceError = exceptions.InterfaceError
    DatabaseError = exceptions.DatabaseError
    DataError = exceptions.DataError
    OperationalError = exceptions.OperationalError
    IntegrityError = exceptions.IntegrityError
    InternalError = exceptions.InternalError
    ProgrammingError = exceptions.ProgrammingError
    NotSupportedError = exceptions.NotSupportedError

    def __init__(self, checked: Options, control: Control | None = None) -> None:
        """Made by `connect`."""
        super().__init__(checked, control)
        self.row_factory = None
        self.detect_types = 0
        """``PARSE_COLNAMES``, ``PARSE_DECLTYPES``, their sum, or 0."""
        self._text_factory: Callable[[bytes], Any] = str

    @property
    def text_factory(self) -> Callable[[bytes], Any]:
        """What is made of TEXT: ``str`` as it is; anything else is called with its UTF-8 bytes.

        It counts for the statements that are executed from then on.
        """
        return self._text_factory

    @text_factory.setter
    def text_factory(self, value: Callable[[bytes], Any]) -> None:
        given: Any = value
        if not callable(given):
            text = f"text_factory must be callable, not {type(given).__name__}"
            raise exceptions.ProgrammingError(text, outcome="not_sent")
        self._text_factory = value

    def cursor(self, factory: Callable[[Connection], Any] = Cursor, /) -> Cursor:
        """Return a new cursor, made by `factory`."""
        self._check_open()
        return check_cursor(factory(self))

    def commit(self) -> None:
        """Commit the open transaction; nothing happens without one or in autocommit mode."""
        self._check_open()
        super().commit()

    def rollback(self) -> None:
        """Roll the open transaction back; success also if its session is gone."""
        self._check_open()
        super().rollback()

    def close(self) -> None:
        """Drop the session; an open transaction is rolled back by that. Idempotent."""
        super().close()

    def __enter__(self) -> Connection:
        """Return the connection itself; nothing begins."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Commit, or roll back after an exception, which is never hidden; do not close."""
        if exc is None:
            self._leave()
            return
        try:
            self.rollback()
        except exceptions.Error as error:
            error.__context__ = exc

    def _ends_by_hand(self) -> bool:
        """Whether one is open, and not by a raw BEGIN in autocommit mode: as in ``sqlite3``."""
        return self.in_transaction and (self._control.manual or self._begun)

    def _check_open(self) -> None:
        if self.closed:
            text = "connection is closed"
            raise exceptions.InterfaceError(text)

    def _leave(self) -> None:
        try:
            self.commit()
        except exceptions.Error:
            if self.in_transaction:
                self.rollback()
            raise


def connect(  # noqa: PLR0917 - sqlite3's signature
    database: Target | None = None,
    timeout: float = 5.0,
    detect_types: int = 0,
    isolation_level: str | None = "IMMEDIATE",
    check_same_thread: bool = True,  # noqa: ARG001 - sqlite3's signature
    factory: type[Connection] = Connection,
    cached_statements: int = 128,
    uri: bool = False,  # noqa: ARG001 - sqlite3's signature
    *,
    autocommit: bool | int = LEGACY_TRANSACTION_CONTROL,
    statement_timeout: float | None = 60.0,
    tls: TLS | bool | None = None,
    connect_timeout: float | Any = ...,
    types: Types = "auto",
    reconnect: bool = True,
    name: str | None = None,
    max_rows: int | None = None,
    max_frame_bytes: int = BYTES_MAX,
    max_buffered_bytes: int = BYTES_MAX,
) -> Connection:
    """Find the leader, open the database, and return a `Connection`.

    `database` is where to connect, as in `dqlite.connect`; `timeout` is how long to wait for the
    write lock, `statement_timeout` the deadline of each call (None for none), `connect_timeout`
    that of the search for the leader; all in seconds.

    With `autocommit` at `LEGACY_TRANSACTION_CONTROL` INSERT, UPDATE, DELETE and REPLACE begin a
    transaction of mode `isolation_level` (None: they do not); with False every statement but
    PRAGMA, VACUUM and ATTACH does, as PEP 249 says; with True none. `detect_types` is as in
    ``sqlite3``, `cached_statements` the ``statement_cache_size`` of `dqlite.connect`.
    `check_same_thread` and `uri` are accepted and mean nothing here.
    """
    made = factory(
        options(
            database,
            database=None,
            timeout=statement_timeout,
            tls=tls,
            connect_timeout=connect_timeout,
            busy_timeout=timeout,
            types=types,
            reconnect=reconnect,
            name=name,
            statement_cache_size=cached_statements,
            max_rows=max_rows,
            max_frame_bytes=max_frame_bytes,
            max_buffered_bytes=max_buffered_bytes,
        ),
        Control(autocommit, isolation_level),
    )
    made.detect_types = detect_types
    made.open()
    return made
