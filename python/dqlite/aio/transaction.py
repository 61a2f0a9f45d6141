"""`Transaction`: BEGIN to COMMIT as a block, a savepoint inside another one."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Final

from dqlite import _native, exceptions
from dqlite._options import Timeout
from dqlite.aio import _loop
from dqlite.transaction import Mode, begin, quoted, savepoint

if TYPE_CHECKING:
    from dqlite.aio._core import Core

RUN: Final = _native.Projection("result")
ROLLBACK_MAX: Final = 5.0
"""Seconds that rolling back may take in a scope that is cancelled."""


class Transaction:
    """All or nothing::

        async with conn.transaction():
            await conn.execute("UPDATE accounts SET total = total - 5 WHERE id = 1")
            await conn.execute("UPDATE accounts SET total = total + 5 WHERE id = 2")

    A clean end commits, an exception rolls back and goes on. Inside another block of the same
    connection it is a savepoint. Tasks outside the block wait until it is over. If the answer to
    COMMIT is lost: AmbiguousCommitError.
    """

    def __init__(
        self,
        core: Core,
        mode: Mode,
        *,
        readonly: bool = False,
        savepoint_name: str | None = None,
        force_rollback: bool,
        timeout: Timeout,
    ) -> None:
        """Made by `Connection.transaction`; nothing is sent."""
        self._begin = begin(mode)
        self._core = core
        self._readonly = readonly
        self._name = None if savepoint_name is None else quoted(savepoint_name)
        self._force_rollback = force_rollback
        self._timeout = timeout
        self._block: object | None = None
        self._savepoint: str | None = None
        self._open = False

    @property
    def is_savepoint(self) -> bool:
        """Whether it was started inside another block."""
        return self._savepoint is not None

    async def start(self) -> None:
        """Send BEGIN, or SAVEPOINT inside another block."""
        if self._open:
            text = "this transaction was started before"
            raise exceptions.InterfaceError(text)
        self._block = await self._core.enter_block(self._timeout)
        inside = self._block is None or self._core.in_transaction
        self._savepoint = (self._name or savepoint()) if inside else None
        try:
            await self._send(f"SAVEPOINT {self._savepoint}" if inside else self._begin)
        except BaseException:
            self._leave()
            raise
        self._open = True
        if self._readonly:
            self._core.count_readers(1)

    async def commit(self) -> None:
        """Send COMMIT (RELEASE for a savepoint); if that fails, roll back and raise."""
        self._check()
        try:
            await self._send(f"RELEASE {self._savepoint}" if self._savepoint else "COMMIT")
        except exceptions.Error:
            if self._savepoint is None and self._core.in_transaction:
                with _loop.shield(ROLLBACK_MAX):
                    await self._send("ROLLBACK")
            raise
        finally:
            self._leave()

    async def rollback(self) -> None:
        """Undo everything since `start`; success also if the session is gone."""
        self._check()
        try:
            with _loop.shield(ROLLBACK_MAX):
                if self._savepoint is None:
                    if self._core.in_transaction:
                        await self._send("ROLLBACK")
                elif not self._core.broken:
                    await self._send(f"ROLLBACK TO {self._savepoint}")
                    await self._send(f"RELEASE {self._savepoint}")
        finally:
            self._leave()

    async def __aenter__(self) -> Transaction:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Commit, or roll back after an exception, which is never hidden."""
        if not self._open:
            return
        if exc is None and not self._force_rollback:
            await self.commit()
            return
        try:
            await self.rollback()
        except exceptions.Error:
            if exc is None:
                raise

    async def _send(self, sql: str) -> None:
        await self._core.perform(RUN, sql, (), self._timeout)

    def _check(self) -> None:
        if not self._open:
            text = "this transaction is not open"
            raise exceptions.InterfaceError(text)

    def _leave(self) -> None:
        if self._open and self._readonly:
            self._core.count_readers(-1)
        self._open = False
        block, self._block = self._block, None
        if block is not None:
            self._core.leave_block(block)
