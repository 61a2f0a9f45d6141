"""`PreparedStatement`: one text, run with many parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from dqlite._lexed import readable
from dqlite._native import parameters
from dqlite._options import Timeout
from dqlite._parameters import Params

if TYPE_CHECKING:
    from dqlite.connection import Connection
    from dqlite.cursor import Cursor


class PreparedStatement:
    """A statement and its connection::

        find = conn.prepare("SELECT name FROM users WHERE id = ?")
        print(find.fetchval(1), find.fetchval(2))

    It stays usable when the session behind the connection is replaced.
    """

    def __init__(self, connection: Connection, sql: str) -> None:
        """Made by `Connection.prepare`; nothing is sent."""
        self._connection = connection
        self._sql = sql
        with readable():
            self._names = parameters(sql)

    @property
    def sql(self) -> str:
        """Its text."""
        return self._sql

    @property
    def parameters(self) -> list[str | None]:
        """The names of its parameters in order, None for those without one."""
        return list(self._names)

    def fetch(self, *args: Any, timeout: Timeout = ...) -> list[Any]:
        """Do `Connection.fetch`."""
        return self._connection.fetch(self._sql, *args, timeout=timeout)

    def fetchrow(self, *args: Any, timeout: Timeout = ...) -> Any:
        """Do `Connection.fetchrow`."""
        return self._connection.fetchrow(self._sql, *args, timeout=timeout)

    def fetchval(self, *args: Any, column: int = 0, timeout: Timeout = ...) -> Any:
        """Do `Connection.fetchval`."""
        return self._connection.fetchval(self._sql, *args, column=column, timeout=timeout)

    def execute(self, *args: Any, timeout: Timeout = ...) -> Cursor:
        """Do `Connection.execute`; its parameters may also stand by themselves."""
        alone = len(args) == 1 and isinstance(args[0], (list, tuple, Mapping))
        params = cast("Params", args[0]) if alone else args
        return self._connection.execute(self._sql, params, timeout=timeout)

    def executemany(self, sets: Iterable[Params], *, timeout: Timeout = ...) -> Cursor:
        """Do `Connection.executemany`."""
        return self._connection.executemany(self._sql, sets, timeout=timeout)

    def cursor(self, *args: Any) -> Cursor:
        """Do `Connection.execute`."""
        return self.execute(*args)

    def close(self) -> None:
        """Do nothing: what a session keeps prepared is its own business."""

    def __repr__(self) -> str:
        """Show the text."""
        return f"<dqlite.PreparedStatement {self._sql!r}>"
