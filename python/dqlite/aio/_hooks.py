"""What a pool calls with its connections: when they are new, borrowed and given back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeAlias, cast

from dqlite import exceptions
from dqlite.aio._core import Core
from dqlite.aio.connection import Connection
from dqlite.rows import RowFactory

Hook: TypeAlias = Callable[[Connection], object]
"""Called with a connection of the pool; what it returns is awaited if it can be."""


class Hooks(NamedTuple):
    """Functions of the pool's owner; each is given a connection that is taken from it again."""

    init: Hook | None
    check: Hook | None
    setup: Hook | None
    reset: Hook | None
    row_factory: RowFactory | None

    async def started(self, core: Core) -> None:
        """Show a connection that has a new session."""
        await self._call(self.init, core)

    async def borrowed(self, core: Core) -> bool:
        """Show a connection before it is lent; False if `check` takes it for dead."""
        try:
            await self._call(self.check, core)
        except exceptions.Error:
            return False
        await self._call(self.setup, core)
        return True

    async def returned(self, core: Core) -> None:
        """Show a connection that came back."""
        await self._call(self.reset, core)

    async def _call(self, hook: Hook | None, core: Core) -> None:
        if hook is None:
            return
        connection = Connection(core, row_factory=self.row_factory)
        try:
            result = hook(connection)
            if isinstance(result, Awaitable):
                await cast("Awaitable[Any]", result)
        finally:
            connection.give_back()
