"""`Pool` and `create_pool`: connections that are kept open and lent."""

from __future__ import annotations

import warnings
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Generator,
    Iterable,
)
from contextlib import asynccontextmanager
from types import EllipsisType, TracebackType
from typing import Any, Final

from dqlite import _native
from dqlite._options import TLS, Options, Target, Timeout, Types, options
from dqlite._parameters import Params
from dqlite._pooling import Limits
from dqlite._rerun import UNSET
from dqlite.aio._hooks import Hook, Hooks
from dqlite.aio._lender import Lender
from dqlite.aio.connection import Connection
from dqlite.aio.cursor import Cursor, gathered
from dqlite.rows import RowFactory, record_row, shape_of
from dqlite.transaction import Mode

CHECK_TIMEOUT_S: Final = 2.0


class Pool:
    """Up to `max_size` connections, lent one at a time::

        pool = await dqlite.create_pool("dqlite://h1:9001,h2:9001/app", max_size=20)
        async with pool.acquire() as conn, conn.transaction():
            await conn.execute("INSERT INTO log(text) VALUES (?)", "hello")
        print(await pool.fetchval("SELECT count(*) FROM log"))
        await pool.close()

    Waiters are served in the order of asking. When a leader is lost, the idle sessions with it are
    dropped and replaced when they are needed, so nobody is lent a dead one.
    """

    def __init__(
        self,
        lender: Lender,
        acquire_timeout: float | None,
        row_factory: RowFactory | None = record_row,
    ) -> None:
        """Made by `create_pool`; opened by ``await`` or ``async with``."""
        self._lender = lender
        self._acquire_timeout = acquire_timeout
        self._row_factory = row_factory
        shape, types = shape_of(row_factory), lender.options.types
        self._made = None if shape else row_factory
        self._all = _native.Projection("all" if shape else "result", shape or "tuple", types)
        self._first = _native.Projection("first" if shape else "result", shape or "tuple", types)
        self._cell = _native.Projection("value", types=types)
        self._result = _native.Projection("result", shape or "tuple", types)

    def acquire(self, *, timeout: Timeout = ...) -> Acquisition:
        """Borrow a connection: ``async with pool.acquire() as conn``, or ``await`` and `release`.

        PoolTimeoutError if none becomes free within `timeout` seconds (default: the pool's).
        """
        seconds = self._acquire_timeout if timeout is ... else timeout
        return Acquisition(self._lender, seconds, self._row_factory)

    connection = acquire

    async def release(self, connection: Connection) -> None:
        """Give a borrowed connection back; an open transaction in it is rolled back."""
        core = connection.give_back()
        if core is not None:
            self._lender.take_back(core)

    async def fetch(self, sql: str, *args: Any, timeout: Timeout = ...) -> list[Any]:
        """Do `Connection.fetch` on a connection of the pool."""
        rows = await self._lender.run((self._all, sql, args, timeout), self._acquire_timeout)
        return rows if self._made is None else list(gathered(rows, self._made))

    async def fetchrow(self, sql: str, *args: Any, timeout: Timeout = ...) -> Any:
        """Do `Connection.fetchrow` on a connection of the pool."""
        row = await self._lender.run((self._first, sql, args, timeout), self._acquire_timeout)
        return row if self._made is None else next(iter(gathered(row, self._made)), None)

    async def fetchval(self, sql: str, *args: Any, column: int = 0, timeout: Timeout = ...) -> Any:
        """Do `Connection.fetchval` on a connection of the pool."""
        types = self._lender.options.types
        cell = _native.Projection("value", types=types, column=column) if column else self._cell
        return await self._lender.run((cell, sql, args, timeout), self._acquire_timeout)

    async def fetchmany(
        self,
        sql: str,
        sets: Iterable[Params] | AsyncIterable[Params],
        *,
        timeout: Timeout = ...,
    ) -> list[Any]:
        """Do `Connection.fetchmany` on a connection of the pool."""
        async with self.acquire() as connection:
            return await connection.fetchmany(sql, sets, timeout=timeout)

    async def execute(self, sql: str, *args: Any, timeout: Timeout = ...) -> Cursor:
        """Do `Connection.execute` on a connection of the pool."""
        errand = (self._result, sql, args, timeout)
        return gathered(await self._lender.run(errand, self._acquire_timeout), self._made)

    async def executemany(
        self,
        sql: str,
        sets: Iterable[Params] | AsyncIterable[Params],
        *,
        timeout: Timeout = ...,
    ) -> int:
        """Do `Connection.executemany` on a connection of the pool."""
        async with self.acquire() as connection:
            return await connection.executemany(sql, sets, timeout=timeout)

    @asynccontextmanager
    async def transaction(
        self, mode: Mode = "immediate", *, timeout: Timeout = ...
    ) -> AsyncGenerator[Connection]:
        """Borrow a connection for one transaction::

        async with pool.transaction() as conn:
            await conn.execute("DELETE FROM log")
        """
        async with self.acquire() as connection, connection.transaction(mode, timeout=timeout):
            yield connection

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
        """Do `Connection.run_transaction` on a connection of the pool."""
        async with self.acquire() as connection:
            return await connection.run_transaction(
                fn,
                *args,
                mode=mode,
                attempts=attempts,
                timeout=timeout,
                token=token,
                if_applied=if_applied,
            )

    def get_size(self) -> int:
        """Return how many connections there are or are being opened."""
        return self._lender.size

    def get_idle_size(self) -> int:
        """Return how many of them nobody uses."""
        return self._lender.sizes()["idle"]

    def get_min_size(self) -> int:
        """Return how many are kept."""
        return self._lender.limits.min_size

    def get_max_size(self) -> int:
        """Return how many there may be."""
        return self._lender.limits.max_size

    def get_stats(self) -> dict[str, float]:
        """Return the sizes now, and counters since the pool was made."""
        return {**self._lender.sizes(), **self._lender.counters.stats()}

    async def expire_connections(self) -> None:
        """Replace every session: idle ones at their next use, borrowed ones when they return."""
        self._lender.expire()

    def is_closed(self) -> bool:
        """Whether `close` or `terminate` was called."""
        return self._lender.closed

    def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Change the sizes; what is missing is opened soon, what is too many goes when idle."""
        self._lender.resize(self._lender.limits.resized(min_size, max_size))

    async def wait(self, timeout: float = 30.0) -> None:
        """Return when `min_size` connections are open; else PoolTimeoutError, in seconds."""
        await self._lender.fill(timeout)

    @staticmethod
    async def check_ping(connection: Connection) -> None:
        """Raise ConnectionFailedError unless the node of a connection answers::

        pool = await dqlite.create_pool(url, check=dqlite.Pool.check_ping)
        """
        await connection.fetchval("SELECT 1", timeout=CHECK_TIMEOUT_S)

    async def close(self, timeout: float | None = None) -> None:
        """Refuse further use, wait for what is borrowed, close everything; idempotent.

        What is still out after `timeout` seconds is closed under its borrower's hands.
        """
        await self._lender.close(timeout)

    def terminate(self) -> None:
        """Close everything at once, borrowed connections included."""
        self._lender.terminate()

    async def _open(self) -> Pool:
        await self._lender.open()
        return self

    def __await__(self) -> Generator[Any, Any, Pool]:
        """Open `min_size` connections in parallel, and return the pool."""
        return self._open().__await__()

    async def __aenter__(self) -> Pool:
        """Open it."""
        return await self._open()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.close()

    def __reduce__(self) -> Any:
        """Refuse: sockets cannot be pickled."""
        text = "cannot pickle 'Pool': it owns sockets"
        raise TypeError(text)

    def __del__(self) -> None:
        """Warn if nobody closed it."""
        lender = getattr(self, "_lender", None)
        if lender is not None and not lender.closed and lender.size:
            lender.discard()
            warnings.warn(
                "a dqlite pool was garbage-collected open; use close() or 'async with'",
                ResourceWarning,
                source=self,
                stacklevel=1,
            )


class Acquisition:
    """A connection on its way out of the pool: ``await`` it or enter it with ``async with``."""

    __slots__ = ("_connection", "_lender", "_row_factory", "_timeout")

    def __init__(
        self, lender: Lender, timeout: float | None, row_factory: RowFactory | None
    ) -> None:
        """Made by `Pool.acquire`."""
        self._row_factory = row_factory
        self._lender = lender
        self._timeout = timeout
        self._connection: Connection | None = None

    async def _acquire(self) -> Connection:
        core = await self._lender.lend(self._timeout)
        return Connection(core, row_factory=self._row_factory, on_lost=self._lender.forget)

    def __await__(self) -> Generator[Any, Any, Connection]:
        """Borrow; give back with `Pool.release`."""
        return self._acquire().__await__()

    async def __aenter__(self) -> Connection:
        """Borrow until the end of the block."""
        self._connection = await self._acquire()
        return self._connection

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Give it back."""
        connection, self._connection = self._connection, None
        core = None if connection is None else connection.give_back()
        if core is not None:
            self._lender.take_back(core)


def create_pool(
    target: Target | None = None,
    /,
    *,
    min_size: int = 1,
    max_size: int = 10,
    acquire_timeout: float | None = 30.0,
    max_waiting: int = 0,
    max_idle: float = 300.0,
    max_lifetime: float = 3600.0,
    check: Hook | None = None,
    setup: Hook | None = None,
    init: Hook | None = None,
    reset: Hook | None = None,
    database: str | None = None,
    timeout: Timeout = ...,
    tls: TLS | bool | None = None,
    connect_timeout: float | EllipsisType = ...,
    busy_timeout: float = 5.0,
    row_factory: RowFactory | None = record_row,
    types: Types = "auto",
    reconnect: bool = True,
    name: str | None = None,
) -> Pool:
    """Return a `Pool`; ``await`` it or enter it with ``async with`` to open it.

    `min_size` connections are kept open, up to `max_size` are made. Who finds none waits up to
    `acquire_timeout` seconds; with `max_waiting` above 0 no more than so many wait. A connection
    above `min_size` is closed after `max_idle` seconds without use, any after `max_lifetime`.

    `init` is called with each connection that has a new session, `check` and then `setup` with each
    that is borrowed, and `reset` with each that comes back, after what it left open was rolled
    back; functions or coroutine functions. An Error of `check` costs the connection its session;
    `Pool.check_ping` is one. The rest is as for `dqlite.aio.connect`.
    """
    limits = Limits(min_size, max_size, max_waiting, max_idle, max_lifetime).checked()
    checked: Options = options(
        target,
        database=database,
        timeout=timeout,
        tls=tls,
        connect_timeout=connect_timeout,
        busy_timeout=busy_timeout,
        types=types,
        reconnect=reconnect,
        name=name,
    )
    hooked = any(hook is not None for hook in (init, check, setup, reset))
    hooks = Hooks(init, check, setup, reset, row_factory) if hooked else None
    return Pool(Lender(checked, limits, hooks), acquire_timeout, row_factory)
