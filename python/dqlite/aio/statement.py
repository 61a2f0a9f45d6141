"""`PreparedStatement`: one text, run with many parameters."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import TYPE_CHECKING, Any

from dqlite import _native
from dqlite._options import Timeout
from dqlite._parameters import Params

if TYPE_CHECKING:
    from dqlite.aio.connection import Connection
    from dqlite.aio.cursor import Cursor, Execution


class PreparedStatement:
    """A statement and its connection::

        find = conn.prepare("SELECT name FROM users WHERE id = ?")
        print(await find.fetchval(1), await find.fetchval(2))

    It stays usable when the session behind the connection is replaced.
    """

    def __init__(self, connection: Connection, sql: str) -> None:
        """Made by `Connection.prepare`; nothing is sent."""
        self._connection = connection
        self._sql = sql
        self._names = _native.parameters(sql)

    @property
    def sql(self) -> str:
        """Its text."""
        return self._sql

    @property
    def parameters(self) -> list[str | None]:
        """The names of its parameters in order, None for those without one."""
        return list(self._names)

    async def fetch(self, *args: Any, timeout: Timeout = ...) -> list[Any]:
        """Do `Connection.fetch`."""
        return await self._connection.fetch(self._sql, *args, timeout=timeout)

    async def fetchrow(self, *args: Any, timeout: Timeout = ...) -> Any:
        """Do `Connection.fetchrow`."""
        return await self._connection.fetchrow(self._sql, *args, timeout=timeout)

    async def fetchval(self, *args: Any, column: int = 0, timeout: Timeout = ...) -> Any:
        """Do `Connection.fetchval`."""
        return await self._connection.fetchval(self._sql, *args, column=column, timeout=timeout)

    def execute(self, *args: Any, timeout: Timeout = ...) -> Execution:
        """Do `Connection.execute`."""
        return self._connection.execute(self._sql, *args, timeout=timeout)

    async def executemany(
        self, sets: Iterable[Params] | AsyncIterable[Params], *, timeout: Timeout = ...
    ) -> int:
        """Do `Connection.executemany`."""
        return await self._connection.executemany(self._sql, sets, timeout=timeout)

    async def close(self) -> None:
        """Do nothing: what a session keeps prepared is its own business."""

    def cursor(self, *args: Any, prefetch: int | None = None) -> Cursor:
        """Do `Connection.cursor`."""
        return self._connection.cursor(self._sql, *args, prefetch=prefetch)

    def __repr__(self) -> str:
        """Show the text."""
        return f"<dqlite.aio.PreparedStatement {self._sql!r}>"
