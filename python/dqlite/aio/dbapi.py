"""PEP 249 for asyncio: `dqlite.aio.Connection` under the transaction control of `dqlite.dbapi`.

::

    conn = await dqlite.aio.dbapi.connect("dqlite://h1:9001/app")
    cursor = conn.cursor()
    await cursor.execute("INSERT INTO users(name) VALUES (?)", ("ann",))
    await conn.commit()
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final

from dqlite import _native, _script, exceptions
from dqlite._control import Control, SessionMode
from dqlite._cursor import Gathered, Rows
from dqlite._lexed import lexed
from dqlite._options import BYTES_MAX, TLS, Target, Types, options
from dqlite._parameters import Params, one_set
from dqlite.aio._core import Core
from dqlite.aio._many import perform_many
from dqlite.aio.connection import Connection as Native
from dqlite.dbapi._adapt import adapted
from dqlite.rows import RowFactory

_RUN: Final = _native.Projection("result")


class Connection:
    """A connection whose statements begin transactions by themselves; rows are tuples.

    For the tasks of one event loop, which take turns by statement.
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

    def __init__(self, core: Core, control: Control) -> None:
        """Made by `connect`."""
        self._core = core
        self._native = Native(core)
        self._control = control
        self.row_factory: RowFactory | None = None
        """What new cursors make of a row; None for tuples. See `dqlite.rows`."""

    @property
    def native(self) -> Native:
        """The same connection, and transaction, with the verbs of `dqlite.aio`.

        ``(await conn.native.execute(sql)).fetch_arrow()`` is the way to Arrow.
        """
        return self._native

    @property
    def closed(self) -> bool:
        """Whether `close` was called, or the session is gone and reconnect is off."""
        core = self._core
        lost = core.session is not None and core.session.closed
        return core.closed or (lost and not core.options.reconnect)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, going by what the server answered."""
        return self._core.in_transaction

    @property
    def autocommit(self) -> bool | int:
        """As `dqlite.dbapi.connect` says; no transaction may be open when it is changed."""
        return self._control.autocommit

    @autocommit.setter
    def autocommit(self, value: bool | int) -> None:
        if self._core.in_transaction and value != self._control.autocommit:
            text = "commit or roll back before autocommit is changed"
            raise exceptions.ProgrammingError(text, outcome="not_sent")
        self._control.autocommit = value

    @property
    def session_mode(self) -> SessionMode:
        """How transactions begin under ``autocommit=False``."""
        return self._control.session_mode

    @session_mode.setter
    def session_mode(self, value: SessionMode) -> None:
        self._control.session_mode = value

    def cursor(self) -> Cursor:
        """Return a new cursor."""
        self._check_open()
        return Cursor(self)

    async def execute(self, sql: str, params: Params = (), /) -> Cursor:
        """Run one statement on a new cursor and return that."""
        return await self.cursor().execute(sql, params)

    async def executemany(self, sql: str, sets: Iterable[Params], /) -> Cursor:
        """Run a statement once for each set of parameters, on a new cursor."""
        return await self.cursor().executemany(sql, sets)

    async def executescript(self, script: str, /) -> Cursor:
        """Run the statements of a script one after the other, on a new cursor."""
        return await self.cursor().executescript(script)

    async def commit(self) -> None:
        """Commit the open transaction; nothing happens without one."""
        self._check_open()
        if self._control.manual and self._core.in_transaction:
            await self._core.perform(_RUN, "COMMIT", ())

    async def rollback(self) -> None:
        """Roll the open transaction back; success also if its session is gone."""
        self._check_open()
        if self._control.manual and self._core.in_transaction:
            await self._core.perform(_RUN, "ROLLBACK", ())

    async def ping(self) -> bool:
        """Whether the node of this connection still answers and leads."""
        try:
            return bool(await self._native.fetchval("SELECT 1") == 1)
        except (exceptions.OperationalError, exceptions.ProtocolError):
            return False

    async def close(self) -> None:
        """Drop the session; an open transaction is rolled back by that. Idempotent."""
        await self._native.close()

    def terminate(self) -> None:
        """Do what `close` does, without a loop."""
        self._native.terminate()

    # What cursors stand on.

    async def run(self, sql: str, params: Params) -> _native.Result | None:
        """Run one statement. For cursors."""
        await self._imply(sql)
        projection = self._core.projections.shaped("tuple")
        done: _native.Result | None = await self._core.perform(
            projection, sql, one_set(adapted(params))
        )
        return done

    async def run_each(self, sql: str, sets: Iterable[Params]) -> Gathered:
        """Run one statement with each set of parameters, all or nothing. For cursors."""
        await self._imply(sql)
        gathered, projection = Gathered(), self._core.projections.shaped("tuple")
        gathered.add(await perform_many(self._core, projection, sql, map(adapted, sets), ...))
        return gathered

    async def run_script(self, script: str) -> None:
        """Run the statements of a script. For cursors."""
        split, legacy = _script.statements(script), _script.is_legacy(self._control.autocommit)
        if legacy:
            await self.commit()
        for index, (line, sql) in enumerate(split):
            with _script.placed(index, line):
                if not legacy:
                    await self._imply(sql)
                await self._core.perform(_RUN, sql, ())

    def _check_open(self) -> None:
        if self._core.closed:
            text = "connection is closed"
            raise exceptions.InterfaceError(text)

    async def _imply(self, sql: str) -> None:
        if not self._control.manual:
            return
        verb, writes = lexed(sql)
        if self._core.in_transaction:
            self._control.check(verb, writes=writes)
        elif (begin := self._control.begin_before(verb, writes=writes)) is not None:
            await self._core.perform(_RUN, begin, ())


class Cursor(Rows):
    """The PEP 249 cursor with awaitable methods."""

    def __init__(self, connection: Connection) -> None:
        """Made by `Connection.cursor`."""
        super().__init__()
        self._connection = connection
        self.row_factory: RowFactory | None = connection.row_factory
        """What it makes of a row: the connection's at first."""

    @property
    def connection(self) -> Connection:
        """The connection it was made by."""
        return self._connection

    def _take(self, result: _native.Result | Gathered | None) -> None:
        super()._take(result)
        factory = self.row_factory
        if factory is not None:
            self._rows = (factory(self, row) for row in self._place.rows)

    async def execute(self, sql: str, params: Params = (), /) -> Cursor:
        """Run one statement, forget the rows of the one before, and return this cursor."""
        self._check()
        self._take(None)
        self._take(await self._connection.run(sql, params))
        return self

    async def executemany(self, sql: str, sets: Iterable[Params], /) -> Cursor:
        """Run a statement once for each set of parameters; all or nothing."""
        self._check()
        self._take(None)
        self._take(await self._connection.run_each(sql, sets))
        return self

    async def executescript(self, script: str, /) -> Cursor:
        """Run the statements of a script one after the other; their rows are dropped."""
        self._check()
        self._take(None)
        await self._connection.run_script(script)
        return self

    async def fetchone(self) -> Any:
        """Return the next row, or None."""
        return self._one()

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return up to `size` rows (default `arraysize`); an empty list at the end."""
        return self._many(size)

    async def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        return self._all()

    async def close(self) -> None:
        """Let go of the rows; idempotent."""
        self._close()

    async def setinputsizes(  # pyright: ignore[reportIncompatibleMethodOverride] - SQLAlchemy's
        self, *sizes: Any
    ) -> None:
        """Do nothing: PEP 249 asks for the method."""

    def __aiter__(self) -> Cursor:
        """Iterate over the rows that are left."""
        return self

    async def __anext__(self) -> Any:
        """Return the next row."""
        row = self._one()
        if row is None:
            raise StopAsyncIteration
        return row

    async def __aenter__(self) -> Cursor:
        """Return the cursor itself."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close it."""
        self._close()


async def connect(
    database: Target | None = None,
    *,
    autocommit: bool | int = False,
    isolation_level: str | None = "IMMEDIATE",
    statement_timeout: float | None = 60.0,
    tls: TLS | bool | None = None,
    connect_timeout: float | Any = ...,
    busy_timeout: float = 5.0,
    types: Types = "auto",
    reconnect: bool = True,
    name: str | None = None,
    cached_statements: int = 128,
    max_rows: int | None = None,
    max_frame_bytes: int = BYTES_MAX,
    max_buffered_bytes: int = BYTES_MAX,
) -> Connection:
    """Find the leader, open the database, and return a `Connection`.

    Arguments are those of `dqlite.dbapi.connect`; `busy_timeout` is how long to wait for the write
    lock, in seconds.
    """
    checked = options(
        database,
        database=None,
        timeout=statement_timeout,
        tls=tls,
        connect_timeout=connect_timeout,
        busy_timeout=busy_timeout,
        types=types,
        reconnect=reconnect,
        name=name,
        statement_cache_size=cached_statements,
        max_rows=max_rows,
        max_frame_bytes=max_frame_bytes,
        max_buffered_bytes=max_buffered_bytes,
    )
    core, control = Core(checked), Control(autocommit, isolation_level)
    await core.open()
    return Connection(core, control)
