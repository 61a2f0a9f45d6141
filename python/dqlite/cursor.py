"""`Cursor`: the rows of an executed statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dqlite._cursor import Rows
from dqlite._options import Timeout
from dqlite._parameters import Params

if TYPE_CHECKING:
    from dqlite.connection import Connection


class Cursor(Rows):
    """The answer to one statement, read row by row::

    cursor = conn.execute("SELECT id, name FROM users")
    for row in cursor:
        print(row["name"])
    """

    def __init__(self, connection: Connection) -> None:
        """Made by `Connection.cursor` and `Connection.execute`."""
        super().__init__()
        self._connection = connection

    @property
    def connection(self) -> Connection:
        """The connection it was made by."""
        return self._connection

    def execute(self, sql: str, params: Params = (), /, *, timeout: Timeout = ...) -> Cursor:
        """Run one statement, forget the rows of the one before, and return this cursor."""
        self._check()
        self._take(self._connection.run(sql, params, timeout))
        return self

    def executemany(self, sql: str, sets: Iterable[Params], /, *, timeout: Timeout = ...) -> Cursor:
        """Do `Connection.executemany`; `rowcount` is the sum."""
        self._check()
        self._take(None)
        self._changed = self._connection.run_each(sql, sets, timeout)
        return self

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        return self._one()

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return up to `size` rows (default `arraysize`); an empty list at the end."""
        return self._many(size)

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        return self._all()

    def close(self) -> None:
        """Let go of the rows; idempotent."""
        self._close()

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the rows that are left."""
        return self

    def __next__(self) -> Any:
        """Return the next row."""
        row = self._one()
        if row is None:
            raise StopIteration
        return row

    def __enter__(self) -> Cursor:
        """Return the cursor itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close it."""
        self._close()
