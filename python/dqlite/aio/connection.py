"""`Connection` and `connect` for asyncio."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterable, Callable, Coroutine, Generator, Iterable
from types import EllipsisType, TracebackType
from typing import Any, Final

from dqlite import _native, exceptions
from dqlite._options import Options, Target, Timeout, Types, options
from dqlite._parameters import Params, one_set
from dqlite.aio._core import Core
from dqlite.aio.cursor import Execution
from dqlite.aio.transaction import Transaction
from dqlite.transaction import Mode

_RUN: Final = _native.Projection("result")


class Connection:
    """A connection to whichever node leads, for the tasks of one event loop.

    Calls run one after the other in the order in which they were made; parallel work needs a pool.
    A session that is lost outside a transaction is replaced at the next call. Reads are tried again
    then; a write that may have happened raises OutcomeUnknownError and is never sent twice.

    Parameters: ``fetch(sql, 1, 2)``, ``fetch(sql, [1, 2])`` and ``fetch(sql, {"id": 1})``.
    `timeout` is in seconds for the call as a whole; None for no deadline; the connection's own if
    not given. Any call may raise what `dqlite.exceptions` lists under Error.
    """

    def __init__(self, core: Core, *, on_lost: Callable[[Core], None] | None = None) -> None:
        """Made by `connect` and by the pool."""
        self._lent: Core | None = core
        self._on_lost = on_lost

    @property
    def _core(self) -> Core:
        if self._lent is None:
            text = "connection was released to its pool"
            raise exceptions.InterfaceError(text)
        return self._lent

    @property
    def database(self) -> str:
        """The name of the database."""
        return self._core.options.config.database

    @property
    def name(self) -> str:
        """The name given to `connect`, else that of the database."""
        return self._core.options.name

    @property
    def address(self) -> str | None:
        """The node of the current session, or None."""
        return self._core.address

    @property
    def session_number(self) -> int:
        """1 for the first session with a server, one more after each reconnect."""
        return self._core.session_number

    def is_closed(self) -> bool:
        """Whether `close` or `terminate` was called, or the pool has it back."""
        return self._lent is None or self._lent.closed

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open, going by what the server answered."""
        return self._core.in_transaction

    async def fetch(self, sql: str, *args: Any, timeout: Timeout = ...) -> list[_native.Record]:
        """Return all rows::

        rows = await conn.fetch("SELECT id, name FROM users WHERE age > ?", 30)
        """
        core = self._core
        rows: list[_native.Record] = await core.perform(core.projections.all, sql, args, timeout)
        return rows

    async def fetchrow(self, sql: str, *args: Any, timeout: Timeout = ...) -> _native.Record | None:
        """Return the first row, or None if there is none."""
        core = self._core
        row: _native.Record | None = await core.perform(core.projections.first, sql, args, timeout)
        return row

    async def fetchval(self, sql: str, *args: Any, column: int = 0, timeout: Timeout = ...) -> Any:
        """Return one cell of the first row, or None if there is no row."""
        core = self._core
        return await core.perform(core.projections.cell(column), sql, args, timeout)

    async def fetchall(self, sql: str, *args: Any, timeout: Timeout = ...) -> list[_native.Record]:
        """Do what `fetch` does."""
        return await self.fetch(sql, *args, timeout=timeout)

    def execute(self, sql: str, *args: Any, timeout: Timeout = ...) -> Execution:
        """Run one statement; ``await`` gives its `Cursor`, ``async with`` closes that, too::

        cursor = await conn.execute("INSERT INTO users(name) VALUES (?)", "ann")
        print(cursor.lastrowid)

        Nothing is sent before.
        """
        return Execution(self._execute(sql, args, timeout))

    async def _execute(
        self, sql: str, args: tuple[Any, ...], timeout: Timeout
    ) -> _native.Result | None:
        core, result = self._core, self._core.projections.result
        done: _native.Result | None = await core.perform(result, sql, args, timeout)
        return done

    async def executemany(
        self,
        sql: str,
        sets: Iterable[Params] | AsyncIterable[Params],
        *,
        timeout: Timeout = ...,
    ) -> int:
        """Run a statement once for each set of parameters; return the sum of rows changed.

        All or nothing: outside a transaction it makes one. The first error ends it, with `.index`
        the number of the set. `timeout` is that of each statement.
        """
        async with self.transaction(timeout=timeout):
            return await self._execute_each(sql, sets, timeout)

    async def _execute_each(
        self, sql: str, sets: Iterable[Params] | AsyncIterable[Params], timeout: Timeout
    ) -> int:
        core, changed, index = self._core, 0, 0
        try:
            if isinstance(sets, AsyncIterable):
                async for params in sets:
                    done = await core.perform(_RUN, sql, one_set(params), timeout)
                    changed += max(done.rowcount, 0)
                    index += 1
            else:
                for params in sets:
                    done = await core.perform(_RUN, sql, one_set(params), timeout)
                    changed += max(done.rowcount, 0)
                    index += 1
        except exceptions.Error as error:
            error.index = index
            raise
        return changed

    def transaction(
        self,
        mode: Mode = "immediate",
        *,
        force_rollback: bool = False,
        timeout: Timeout = ...,
    ) -> Transaction:
        """Return a block that commits at its end and rolls back after an exception.

        `mode` is that of BEGIN: ``"immediate"`` takes the write lock at once, ``"deferred"`` with
        the first write. Inside another block it is a savepoint.
        """
        return Transaction(self._core, mode, force_rollback=force_rollback, timeout=timeout)

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
    database: str | None = None,
    timeout: Timeout = ...,
    connect_timeout: float | EllipsisType = ...,
    busy_timeout: float = 5.0,
    types: Types = "auto",
    reconnect: bool = True,
    name: str | None = None,
) -> Connecting:
    """Find the leader, open the database, and return a `Connection`::

        conn = await dqlite.aio.connect("dqlite://h1:9001,h2:9001/app")
        async with dqlite.aio.connect(["h1:9001", "h2:9001"], database="app") as conn: ...

    `target` is a URL, ``host:port``, a list of these, a `Node` or a `Client`; without it the
    environment (``DQLITE_URL``, ``DQLITE_HOSTS``), else ``localhost:9001``. `timeout` is the
    deadline of each call (default: the URL's, else 60), `connect_timeout` that of the leader search
    including dial and OPEN (10); `busy_timeout` says how long to try again when the write lock is
    taken; all in seconds. With `reconnect` off the connection ends with its first session. A
    cluster without a leader is a NoLeaderError, a bad argument a ProgrammingError.
    """
    checked = options(
        target,
        database=database,
        timeout=timeout,
        connect_timeout=connect_timeout,
        busy_timeout=busy_timeout,
        types=types,
        reconnect=reconnect,
        name=name,
    )
    return Connecting(_connect(checked))


async def _connect(checked: Options) -> Connection:
    core = Core(checked)
    await core.open()
    return Connection(core)
