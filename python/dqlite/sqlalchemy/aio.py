"""The dialect ``dqlite+aio://``."""

from __future__ import annotations

from collections import deque
from typing import Any

from sqlalchemy import pool, util
from sqlalchemy.connectors.asyncio import (
    AsyncAdapt_dbapi_connection,
    AsyncAdapt_dbapi_cursor,
    AsyncAdapt_dbapi_ss_cursor,
    AsyncAdapt_terminate,
)
from sqlalchemy.dialects.sqlite.base import SQLiteExecutionContext
from sqlalchemy.engine import URL
from sqlalchemy.util import concurrency

from dqlite import dbapi
from dqlite._control import Control
from dqlite.aio._core import Core
from dqlite.aio.dbapi import Connection
from dqlite.sqlalchemy.base import DqliteDialect, check_session_mode, session_options

# 2.1 has renamed it.
_await: Any = getattr(util, "await_only", None) or concurrency.await_


class AdaptedCursor(AsyncAdapt_dbapi_cursor):
    """A cursor for SQLAlchemy's side of a greenlet."""

    __slots__ = ()

    async def _executemany_async(self, operation: Any, seq_of_parameters: Any) -> Any:
        done = await super()._executemany_async(operation, seq_of_parameters)
        if self._cursor.description:
            self._rows = deque(await self._cursor.fetchall())
        return done


class AdaptedStream(AsyncAdapt_dbapi_ss_cursor):
    """The same, reading rows as they are asked for."""

    __slots__ = ()


class AdaptedConnection(AsyncAdapt_terminate, AsyncAdapt_dbapi_connection):
    """A connection for SQLAlchemy's side of a greenlet."""

    __slots__ = ()

    _cursor_cls = AdaptedCursor
    _ss_cursor_cls = AdaptedStream

    @property
    def closed(self) -> bool:
        """Whether the session is gone."""
        return bool(self._connection.closed)

    @property
    def autocommit(self) -> bool | int:
        """Whether statements stand by themselves."""
        return self._connection.autocommit  # type: ignore[no-any-return]

    @autocommit.setter
    def autocommit(self, value: bool | int) -> None:
        if value != self._connection.autocommit and self._connection.in_transaction:
            self.rollback()
        self._connection.autocommit = value

    @property
    def session_mode(self) -> Any:
        """How transactions begin."""
        return self._connection.session_mode

    @session_mode.setter
    def session_mode(self, value: Any) -> None:
        self._connection.session_mode = value

    def ping(self) -> bool:
        """Ask whether the node still answers and leads."""
        return bool(_await(self._connection.ping()))

    async def _terminate_graceful_close(self) -> None:
        await self._connection.close()

    def _terminate_force_close(self) -> None:
        self._connection.terminate()


class _AioModule:
    """What SQLAlchemy asks of a PEP 249 module."""

    exceptions_module = dbapi

    def __getattr__(self, name: str) -> Any:
        return getattr(dbapi, name)


class _Context(SQLiteExecutionContext):
    def create_server_side_cursor(self) -> Any:
        return self._dbapi_connection.cursor(server_side=True)


class DqliteDialect_aio(DqliteDialect):  # noqa: N801 - SQLAlchemy's way of naming
    """The same dialect over `dqlite.aio`."""

    driver = "aio"
    is_async = True
    supports_server_side_cursors = True
    supports_statement_cache = True
    execution_ctx_cls = _Context

    @classmethod
    def import_dbapi(cls) -> Any:
        """Return the names of the PEP 249 module."""
        return _AioModule()

    @classmethod
    def get_pool_class(cls, url: URL) -> type[pool.Pool]:
        """Return a pool for tasks."""
        return pool.AsyncAdaptedQueuePool

    def connect(self, *cargs: Any, **cparams: Any) -> Any:
        """Open a connection; ``connect_args`` may carry ``async_creator_fn``."""
        creator = cparams.pop("async_creator_fn", None)
        mode = check_session_mode(cparams.pop("session_mode", self.session_mode))
        work = creator(*cargs, **cparams) if creator else _open(*cargs, **cparams)
        made = AdaptedConnection(self.dbapi, _await(work))
        made.session_mode = mode
        return made

    def do_terminate(self, dbapi_connection: Any) -> None:
        """Drop the socket."""
        dbapi_connection.terminate()

    def get_driver_connection(self, connection: Any) -> Any:
        """Return the asyncio connection."""
        return connection._connection  # noqa: SLF001 - as SQLAlchemy's adapters keep it


async def _open(target: Any, **opts: Any) -> Connection:
    core = Core(session_options(target, **opts))
    await core.open()
    return Connection(core, Control(autocommit=False))
