"""`Cursor`: the rows of an executed statement, and `Execution`: a statement on its way to one."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any

from dqlite import _native
from dqlite._cursor import Rows


class Cursor(Rows):
    """The answer to one statement.

    `rowcount`, `lastrowid` and `description` are there at once; rows are awaited::

        cursor = await conn.execute("SELECT id, name FROM users")
        async for row in cursor:
            print(row["name"])
    """

    def __init__(self, result: _native.Result | None) -> None:
        """Made by `Connection.execute`."""
        super().__init__()
        self._take(result)

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


class Execution:
    """A statement that is sent when this is awaited or entered.

    ``cursor = await conn.execute(...)`` or ``async with conn.execute(...) as cursor``.
    """

    __slots__ = ("_cursor", "_work")

    def __init__(self, work: Coroutine[Any, Any, _native.Result | None]) -> None:
        """Made by `Connection.execute`."""
        self._work = work
        self._cursor: Cursor | None = None

    async def _run(self) -> Cursor:
        return Cursor(await self._work)

    def __await__(self) -> Generator[Any, Any, Cursor]:
        """Send it and return the cursor."""
        return self._run().__await__()

    async def __aenter__(self) -> Cursor:
        """Send it and return the cursor."""
        self._cursor = await self._run()
        return self._cursor

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close the cursor."""
        if self._cursor is not None:
            await self._cursor.close()
