"""`Connection` and `connect` for asyncio and trio."""

from __future__ import annotations

import warnings
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Sequence,
)
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, Final, cast

from dqlite import _native, _script
from dqlite._options import BYTES_MAX, TLS, Options, Target, Timeout, Types, options
from dqlite._parameters import Params
from dqlite._rerun import UNSET
from dqlite.aio import _loop
from dqlite.aio._beside import Beside, check_control, refuse_released
from dqlite.aio._core import Core
from dqlite.aio._rerun import run_transaction
from dqlite.aio.cursor import Cursor, Execution, gathered
from dqlite.aio.statement import PreparedStatement
from dqlite.aio.transaction import Transaction
from dqlite.rows import RowFactory, Shape, record_row, shape_of
from dqlite.transaction import Mode

if TYPE_CHECKING:
    from dqlite import bulk

_LINE: Final = _native.Projection("result", "tuple")
_CHANGED: Final = _native.Projection("all", "tuple", "raw")


class Connection(Beside):
    """A connection to whichever node leads, for the tasks of one event loop, or one run of trio.

    Calls run one after the other in the order in which they were made; parallel work needs a pool.
    A session that is lost outside a transaction is replaced at the next call. Reads are tried again
    then; a write that may have happened raises OutcomeUnknownError and is never sent twice.

    Parameters: ``fetch(sql, 1, 2)``, ``fetch(sql, [1, 2])`` and ``fetch(sql, {"id": 1})``.
    `timeout` is in seconds for the call as a whole; None for no deadline; the connection's own if
    not given. Any call may raise what `dqlite.exceptions` lists under Error.
    """

    def __init__(
        self,
        core: Core,
        *,
        row_factory: RowFactory | None = record_row,
        on_lost: Callable[[Core], None] | None = None,
    ) -> None:
        """Made by `connect` and by the pool."""
        super().__init__(core)
        self._on_lost = on_lost
        self._submit = core.lane.submit
        self.row_factory = row_factory

    @property
    def row_factory(self) -> RowFactory | None:
        """What it makes of a row; see `dqlite.rows`. None makes tuples."""
        return self._factory

    @row_factory.setter
    def row_factory(self, value: RowFactory | None) -> None:
        shape, types = shape_of(value), self._core.options.types
        self._factory = value
        self._made = None if shape else value
        self._all = _native.Projection("all" if shape else "result", shape or "tuple", types)
        self._first = _native.Projection("first" if shape else "result", shape or "tuple", types)
        self._cell = _native.Projection("value", types=types)
        self._result = _native.Projection("stream", shape or "tuple", types)

    def with_row_factory(self, row_factory: RowFactory | None) -> Connection:
        """Set what it makes of rows, and return this connection."""
        self.row_factory = row_factory
        return self

    async def fetch(self, sql: str, *args: Any, timeout: Timeout = ...) -> list[Any]:
        """Return all rows::

        rows = await conn.fetch("SELECT id, name FROM users WHERE age > ?", 30)
        """
        future = self._submit(self._all, sql, args, timeout)
        if future is None:
            rows = await self._core.perform(self._all, sql, args, timeout)
        else:
            try:
                rows = await future
            except BaseException as error:  # noqa: BLE001 - goes on or raises
                rows = await self._core.recover(error, future, self._all, sql, args, timeout)
        return rows if self._made is None else list(gathered(rows, self._made))

    fetchall = execute_fetchall = fetch

    async def fetchrow(self, sql: str, *args: Any, timeout: Timeout = ...) -> Any:
        """Return the first row, or None if there is none."""
        row = await self._perform(self._first, sql, args, timeout)
        return row if self._made is None else next(iter(gathered(row, self._made)), None)

    async def fetchval(self, sql: str, *args: Any, column: int = 0, timeout: Timeout = ...) -> Any:
        """Return one cell of the first row, or None if there is no row."""
        cell = self._cell
        if column:
            cell = _native.Projection("value", types=self._core.options.types, column=column)
        future = self._submit(cell, sql, args, timeout)
        if future is None:
            return await self._core.perform(cell, sql, args, timeout)
        try:
            return await future
        except BaseException as error:  # noqa: BLE001 - goes on or raises
            return await self._core.recover(error, future, cell, sql, args, timeout)

    async def fetchmany(
        self,
        sql: str,
        sets: Iterable[Params] | AsyncIterable[Params],
        *,
        timeout: Timeout = ...,
    ) -> list[Any]:
        """Run a statement once for each set of parameters and return all rows of its RETURNING.

        All or nothing, as `executemany`.
        """
        rows: Any = await self._core.perform_many(self._all, sql, sets, timeout)
        if isinstance(rows, int):
            self._total_changes += rows
            return []
        made: list[Any] = rows if self._made is None else list(gathered(rows, self._made))
        self._total_changes += len(made)
        return made

    async def _perform(
        self, projection: _native.Projection, sql: str, args: tuple[Any, ...], timeout: Timeout
    ) -> Any:
        future = self._submit(projection, sql, args, timeout)
        if future is None:
            return await self._core.perform(projection, sql, args, timeout)
        try:
            return await future
        except BaseException as error:  # noqa: BLE001 - goes on or raises
            return await self._core.recover(error, future, projection, sql, args, timeout)

    def execute(self, sql: str, *args: Any, timeout: Timeout = ...) -> Execution:
        """Run one statement; ``await`` gives its `Cursor`, ``async with`` closes that, too::

        cursor = await conn.execute("INSERT INTO users(name) VALUES (?)", "ann")
        print(cursor.lastrowid)

        Nothing is sent before.
        """
        return Execution(self._execute(sql, args, timeout))

    async def _execute(self, sql: str, args: tuple[Any, ...], timeout: Timeout) -> Cursor:
        cursor = Cursor(self, self._made)
        await self.run_into(cursor, sql, args, timeout)
        return cursor

    async def run_into(
        self, cursor: Cursor, sql: str, args: tuple[Any, ...], timeout: Timeout
    ) -> None:
        """Run one statement and hand the answer to a cursor. For cursors."""
        projection = cursor.projection or self._result
        answer = await self._perform(projection, sql, args, timeout)
        self.count_changes(answer)
        cursor.receive(answer, self._core.session)

    def stream_of(self, shape: Shape) -> _native.Projection:
        """Return what asks for rows of a shape as they come. For cursors."""
        return _native.Projection("stream", shape, self._core.options.types)

    def cursor(self, sql: str | None = None, *args: Any, prefetch: int | None = None) -> Cursor:
        """Return a cursor; with SQL it runs when the first row is asked for::

        async for row in conn.cursor("SELECT * FROM log WHERE id > ?", 7):
            ...

        So many rows as `prefetch` says (1,000) are read ahead of the reader at least.
        """
        cursor = Cursor(self, self._made)
        return cursor if sql is None else cursor.defer(sql, args, prefetch)

    def prepare(self, sql: str) -> PreparedStatement:
        """Return a statement that can be run again and again; ProgrammingError if it is none."""
        return PreparedStatement(self, sql)

    @property
    def loop(self) -> _loop.Loop | None:
        """The event loop it belongs to, once it has been used."""
        return None if self._lent is None else self._lent.loop

    async def executemany(
        self,
        sql: str,
        sets: Iterable[Params] | AsyncIterable[Params],
        *,
        timeout: Timeout = ...,
    ) -> int:
        """Run a statement once for each set of parameters; return the sum of rows changed.

        INSERT, REPLACE, UPDATE or DELETE; the sets are taken from `sets` as the server gets along
        with them. All or nothing: outside a transaction it makes one. The first error ends it, with
        `.index` the number of the set.
        """
        changed: Any = await self._core.perform_many(_CHANGED, sql, sets, timeout)
        count = changed if isinstance(changed, int) else len(changed)
        self._total_changes += count
        return count

    async def executescript(self, script: str, /, *, timeout: Timeout = ...) -> Cursor:
        """Run the statements of a script, as `dqlite.Connection.executescript` does."""
        for index, (line, sql) in enumerate(_script.statements(script)):
            with _script.placed(index, line):
                self.count_changes(await self._perform(_LINE, sql, (), timeout))
        return self.cursor()

    async def bulk_load(
        self,
        table: str,
        source: bulk.AsyncSource,
        *,
        columns: Sequence[str] | None = None,
        progress: bulk.Progress | None = None,
        atomic: bool = False,
        timeout: Timeout = ...,
    ) -> int:
        """Insert many rows, as `dqlite.Connection.bulk_load` does; return how many::

        await conn.bulk_load("orders", polars_frame)

        Rows may also come from an asynchronous iterable.
        """
        from dqlite import bulk  # noqa: PLC0415 - few programs want it

        strict = self._core.options.types == "strict"

        def plan(rows: bulk.Source, before: int = 0) -> bulk.Plan:
            return bulk.Plan(table, rows, columns, strict=strict, progress=progress, before=before)

        if isinstance(source, AsyncIterable):
            return await bulk.bulk_load_awaited(self, plan, source, atomic=atomic, timeout=timeout)
        return await bulk.bulk_load_async(self, plan(source), atomic=atomic, timeout=timeout)

    def transaction(
        self,
        mode: Mode = "immediate",
        *,
        readonly: bool = False,
        savepoint_name: str | None = None,
        force_rollback: bool = False,
        timeout: Timeout = ...,
    ) -> Transaction:
        """Return a block that commits at its end and rolls back after an exception.

        `mode` is that of BEGIN: ``"immediate"`` takes the write lock at once, ``"deferred"`` with
        the first write. Inside another block it is a savepoint, called `savepoint_name` if that is
        given. With `readonly` it is deferred, and a write in it a ProgrammingError.
        """
        return Transaction(
            self._core,
            "deferred" if readonly else mode,
            readonly=readonly,
            savepoint_name=savepoint_name,
            force_rollback=force_rollback,
            timeout=timeout,
        )

    async def run_transaction(
        self,
        fn: Callable[..., Awaitable[Any]],
        /,
        *args: Any,
        mode: Mode = "immediate",
        attempts: int = 8,
        timeout: float = 30.0,
        token: str | bytes | None = None,
        if_applied: Any = UNSET,
    ) -> Any:
        """Run ``await fn(connection, *args)`` inside a transaction and return its result.

        It may run several times, so its effects must be in the database only: it runs again after
        BUSY, a lost leader or a lost session, at most `attempts` times within `timeout` seconds.
        With a `token` that is unique for the intended effect (`dqlite.new_token` makes one), it
        also runs again when the answer to COMMIT was lost, and takes effect exactly once; without,
        that is an AmbiguousCommitError. If somebody else used the token before:
        AlreadyAppliedError, or `if_applied` where that is given.
        """
        return await run_transaction(
            self,
            lambda: fn(self, *args),
            mode=mode,
            attempts=attempts,
            timeout=timeout,
            token=token,
            if_applied=if_applied,
        )

    async def close(self) -> None:
        """Drop the session; an open transaction is rolled back by that. Idempotent."""
        if self._lent is not None:
            self._lent.close()

    def terminate(self) -> None:
        """Do what `close` does, without a loop."""
        if self._lent is not None:
            self._lent.close()

    def give_back(self) -> Core | None:
        """Part from what the pool lent; afterwards any use is an InterfaceError. For the pool."""
        core, self._lent = self._lent, None
        if core is not None:
            core.unwatch()
        self._submit = refuse_released
        return core

    async def __aenter__(self) -> Connection:
        """Return the connection itself."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.close()

    def __repr__(self) -> str:
        """Name the database and the node."""
        if self.is_closed():
            return "<dqlite.aio.Connection closed>"
        return f"<dqlite.aio.Connection {self.name!r} at {self.address}>"

    def __reduce__(self) -> Any:
        """Refuse: a socket cannot be pickled."""
        text = "cannot pickle 'Connection': it owns a socket"
        raise TypeError(text)

    def __del__(self) -> None:
        """Warn if nobody closed it."""
        core = getattr(self, "_lent", None)
        if core is None or core.closed:
            return
        if core.session is not None and core.session.foreign:  # a copy by fork
            core.close()
        else:
            core.discard(self._on_lost)
            warnings.warn(
                f"{core.options.name!r} was garbage-collected open; use close() or 'async with'",
                ResourceWarning,
                source=self,
                stacklevel=1,
            )


class Connecting:
    """A connection on its way: ``await`` it or enter it with ``async with``."""

    __slots__ = ("_connection", "_work")

    def __init__(self, work: Coroutine[Any, Any, Connection]) -> None:
        """Made by `connect`."""
        self._work = work
        self._connection: Connection | None = None

    def __await__(self) -> Generator[Any, Any, Connection]:
        """Connect."""
        return self._work.__await__()

    async def __aenter__(self) -> Connection:
        """Connect; closed at the end of the block."""
        self._connection = await self._work
        return self._connection

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()


def connect(
    target: Target | None = None,
    /,
    *,
    hosts: Sequence[str] | None = None,
    database: str | None = None,
    timeout: Timeout = ...,
    tls: TLS | bool | None = None,
    connect_timeout: float | EllipsisType = ...,
    busy_timeout: float = 5.0,
    autocommit: bool = True,
    isolation_level: str | None = "IMMEDIATE",
    row_factory: RowFactory | None = record_row,
    types: Types = "auto",
    reconnect: bool = True,
    on_connect: Callable[[Connection], object] | None = None,
    name: str | None = None,
    statement_cache_size: int = 128,
    max_rows: int | None = None,
    max_frame_bytes: int = BYTES_MAX,
    max_buffered_bytes: int = BYTES_MAX,
) -> Connecting:
    """Find the leader, open the database, and return a `Connection`::

        conn = await dqlite.aio.connect("dqlite://h1:9001,h2:9001/app")
        async with dqlite.aio.connect(["h1:9001", "h2:9001"], database="app") as conn: ...

    `target` is a URL, ``host:port``, a list of these, a `Node` or a `Client`; without it `hosts`,
    else the environment (``DQLITE_URL``, ``DQLITE_HOSTS``), else ``localhost:9001``. `timeout` is
    the deadline of each call (default: the URL's, else 60), `connect_timeout` that of the leader
    search including dial and OPEN (10); `busy_timeout` says how long to try again when the write
    lock is taken; all in seconds. `autocommit` and `isolation_level` are what they are here, any
    other a NotSupportedError: see `dqlite.aio.dbapi.connect`. `row_factory` is what is made of
    rows. With `reconnect` off the connection ends with its first session. `on_connect` is called
    with each new session, as a connection of its own, before anything else is sent, and awaited if
    it is a coroutine function: the place for ``PRAGMA foreign_keys = ON``.

    A statement that succeeds a second time is kept prepared in the session, up to
    `statement_cache_size` of them. A result of more than `max_rows` rows is a DataError, a message
    of more than `max_frame_bytes` a ProtocolError, and ends the session; an unread result of more
    than `max_buffered_bytes` that is in the way of another statement is an OperationalError. A
    cluster without a leader is a NoLeaderError, a bad argument a ProgrammingError.
    """
    check_control(autocommit, isolation_level)
    checked = options(
        hosts if target is None else target,
        database=database,
        timeout=timeout,
        tls=tls,
        connect_timeout=connect_timeout,
        busy_timeout=busy_timeout,
        types=types,
        reconnect=reconnect,
        name=name,
        statement_cache_size=statement_cache_size,
        max_rows=max_rows,
        max_frame_bytes=max_frame_bytes,
        max_buffered_bytes=max_buffered_bytes,
    )
    return Connecting(_connect(checked, row_factory, on_connect))


async def _connect(
    checked: Options,
    row_factory: RowFactory | None,
    on_connect: Callable[[Connection], object] | None,
) -> Connection:
    async def greet(core: Core) -> None:
        guest = Connection(core, row_factory=row_factory)
        try:
            result = on_connect(guest) if on_connect is not None else None
            if isinstance(result, Awaitable):
                await cast("Awaitable[Any]", result)
        finally:
            guest.give_back()

    core = Core(checked)
    if on_connect is not None:
        core.on_connect = greet
    await core.open()
    return Connection(core, row_factory=row_factory)
