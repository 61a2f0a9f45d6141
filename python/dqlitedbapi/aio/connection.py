"""The asyncio connection."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
import weakref
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, NoReturn

from dqlite import _native, _script
from dqlite.aio._core import Core
from dqlite.exceptions import (
    Error,
    InterfaceError,
    NotSupportedError,
    OperationalError,
)
from dqliteclient import DEFAULT_CLOSE_TIMEOUT_SECONDS, DEFAULT_TIMEOUT_SECONDS, DialFunc
from dqliteclient._validate import DEFAULT_MAX_CONTINUATION_FRAMES, DEFAULT_MAX_TOTAL_ROWS
from dqlitedbapi._busy import delays
from dqlitedbapi._common import TYPED, Common, too_many_rows
from dqlitedbapi._rows import Outcome
from dqlitedbapi._sql import CHANGING
from dqlitedbapi._stubs import Refused
from dqlitedbapi.aio.cursor import AsyncCursor
from dqlitedbapi.exceptions import (
    connect_errors,
    is_busy,
    is_no_transaction_error,
    raise_translated,
)

__all__ = ["AsyncConnection"]


class AsyncConnection(Refused, Common):
    """A connection for the tasks of one event loop, which take turns by statement.

    It finds the leader at its first use, never another one after that. Statements stand by
    themselves until BEGIN is said.
    """

    Cursor = AsyncCursor
    AsyncCursor = AsyncCursor

    def __init__(
        self,
        address: str,
        *,
        database: str = "default",
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        max_total_rows: int | None = DEFAULT_MAX_TOTAL_ROWS,
        max_continuation_frames: int | None = DEFAULT_MAX_CONTINUATION_FRAMES,
        max_message_size: int | None = None,
        trust_server_heartbeat: bool = False,  # noqa: ARG002 - every wait has its own deadline
        close_timeout: float = DEFAULT_CLOSE_TIMEOUT_SECONDS,
        dial_timeout: float | None = None,
        attempt_timeout: float | None = None,
        dial_func: DialFunc | None = None,
        busy_timeout: float = 5.0,
        session_mode: str | None = None,
    ) -> None:
        """Check the arguments; nothing is sent. Times are in seconds."""
        super().__init__(
            address,
            database=database,
            timeout=timeout,
            max_total_rows=max_total_rows,
            max_continuation_frames=max_continuation_frames,
            max_message_size=max_message_size,
            close_timeout=close_timeout,
            dial_timeout=dial_timeout,
            attempt_timeout=attempt_timeout,
            dial_func=dial_func,
            busy_timeout=busy_timeout,
            session_mode=session_mode,
        )
        self._core: Core | None = None
        self._opening: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cursors: weakref.WeakSet[AsyncCursor] = weakref.WeakSet()
        self._trace: Callable[[str], object] | None = None

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, going by what the server answered."""
        return self._core is not None and not self.closed and self._core.in_transaction

    @property
    def total_changes(self) -> int:
        """Rows that INSERT, UPDATE and DELETE changed."""
        return self._total_changes

    async def connect(self) -> None:
        """Find the leader and open the database now."""
        await self._session()

    async def close(self) -> None:
        """Drop the session; an open transaction is rolled back by that. Idempotent."""
        self.force_close_transport()

    async def aclose(self) -> None:
        """Do what `close` does."""
        self.force_close_transport()

    def force_close_transport(self) -> None:
        """Drop the socket at once, from any thread; what runs fails with InterfaceError."""
        self._closed = True
        for cursor in list(self._cursors):
            cursor.let_go()
        if self._core is not None:
            self._core.discard()

    async def commit(self) -> None:
        """Commit the open transaction; nothing happens without one."""
        await self._end("COMMIT")

    async def rollback(self) -> None:
        """Roll the open transaction back; nothing happens without one."""
        await self._end("ROLLBACK")

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncGenerator[None, None]:
        """BEGIN, then COMMIT, or ROLLBACK if the block raises."""
        self.check_usable()
        self._check_not_nested()
        await self.execute("BEGIN")
        self._in_block = True
        try:
            yield
        except BaseException:
            self._in_block = False
            if not self.closed:
                try:
                    await self.rollback()
                except Error:
                    self.force_close_transport()
            raise
        self._in_block = False
        await self.commit()

    async def set_session_mode(self, mode: str) -> None:
        """Begin otherwise from now on; ``read_only`` lets the server refuse writes."""
        wanted = self._checked_mode(mode)
        self.check_usable()
        if wanted != self._session_mode and self._core is not None:
            if self.in_transaction:
                text = "set_session_mode() cannot be called inside a transaction"
                raise InterfaceError(text)
            if "read_only" in {wanted, self._session_mode}:
                on = int(wanted == "read_only")
                await self.run("pragma", f"PRAGMA query_only = {on}", ())
        self._session_mode = wanted

    def cursor(self, **unsupported: object) -> AsyncCursor:
        """Return a new cursor."""
        self.refuse_keywords(unsupported)
        self.check_usable()
        cursor = AsyncCursor(self)
        self._cursors.add(cursor)
        return cursor

    async def execute(
        self, operation: str, parameters: Sequence[Any] | None = None, /
    ) -> AsyncCursor:
        """Run one statement on a new cursor and return it."""
        return await self.cursor().execute(operation, parameters)

    async def executemany(
        self, operation: str, seq_of_parameters: Iterable[Sequence[Any]], /
    ) -> AsyncCursor:
        """Run a statement once for each set of parameters, on a new cursor."""
        return await self.cursor().executemany(operation, seq_of_parameters)

    async def executescript(self, sql_script: str, /) -> AsyncCursor:
        """Run the statements of a script one after the other; their rows are dropped."""
        return await self.cursor().executescript(sql_script)

    def set_trace_callback(self, trace_callback: Callable[[str], object] | None, /) -> None:
        """Have it called with each statement before it is sent; None for an end."""
        self._trace = trace_callback

    def iterdump(self, *_args: Any, **_options: Any) -> NoReturn:
        """Raise NotSupportedError: iteration would block; use `dqlite.dbapi`."""
        _blocks("iterdump")

    def backup(self, *_args: Any, **_options: Any) -> NoReturn:
        """Raise NotSupportedError: a copy would block; use `dqlite.dbapi`."""
        _blocks("backup")

    def serialize(self, *_args: Any, **_options: Any) -> NoReturn:
        """Raise NotSupportedError: a copy would block; use `dqlite.dbapi`."""
        _blocks("serialize")

    def interrupt(self) -> NoReturn:
        """Raise NotSupportedError: a statement is ended by cancelling its task."""
        text = "interrupt() is not supported: cancel the task, or use asyncio.timeout()"
        raise NotSupportedError(text)

    async def __aenter__(self) -> AsyncConnection:
        """Connect."""
        await self._session()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Commit, or roll back after an exception; do not close."""
        if self.closed:
            return
        if exc_type is None:
            await self.commit()
        else:
            await self.rollback()

    def __repr__(self) -> str:
        """Name the address, the database and the state."""
        state = self._state_name(self._core is not None)
        return f"<AsyncConnection address={self._address!r} database={self._database!r} {state}>"

    def __del__(self) -> None:
        """Warn if nobody closed it."""
        core = getattr(self, "_core", None)
        if core is None or core.closed or core.address is None:
            return
        session = core.session
        if session is not None and session.foreign:  # a copy by fork, which its owner closes
            return
        core.discard()
        text = f"AsyncConnection to {self._address!r} was garbage-collected open; close it"
        warnings.warn(text, ResourceWarning, source=self, stacklevel=1)

    # What cursors stand on.

    async def run(self, verb: str, sql: str, values: tuple[Any, ...]) -> Outcome:
        """Run one statement, again while the write lock is taken."""
        core = await self._session()
        waits = delays(self._busy_timeout)
        while True:
            try:
                result = await self._perform(core, sql, values)
                break
            except OperationalError as error:
                pause = next(waits, None) if is_busy(error) else None
                if pause is None:
                    raise
                await asyncio.sleep(pause)
                self.check_usable()
        if result is not None and verb in CHANGING:
            self.changed(max(result.rowcount, 0))
        limit = self._max_total_rows
        if result is not None and limit is not None and len(result.rows) > limit:
            self._invalidated = True
            core.close()
            raise too_many_rows(limit, len(result.rows))
        return Outcome.of(verb, result)

    async def run_script(self, script: str) -> None:
        """Run the statements of a script."""
        for index, (line, sql) in enumerate(_script.statements(script)):
            with _script.placed(index, line):
                await self.run(_native.statement_verb(sql), sql, ())

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncGenerator[None, None]:
        """Keep other tasks away for a while."""
        core = await self._session()
        block = await core.enter_block(self._timeout)
        try:
            yield
        finally:
            if block is not None:
                core.leave_block(block)

    async def _session(self) -> Core:
        self.check_usable()
        loop = asyncio.get_running_loop()
        if self._loop not in {None, loop}:
            text = (
                "AsyncConnection is bound to a different event loop; it cannot be shared "
                "across loops or asyncio.run() calls"
            )
            raise InterfaceError(text)
        self._loop = loop
        if self._core is not None:
            return self._core
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._core is None:
                self.check_usable()
                core = Core(self._options())
                with connect_errors():
                    await self._open(core)
                self._core = core
        return self._core

    async def _open(self, core: Core) -> None:
        try:
            await core.open(self._connect_timeout)
            if self._session_mode == "read_only":
                await core.perform(TYPED, "PRAGMA query_only = 1", ())
        except BaseException:
            core.close()
            raise

    async def _perform(
        self, core: Core, sql: str, values: tuple[Any, ...]
    ) -> _native.Result | None:
        if self._trace is not None:
            self._trace(sql)
        try:
            result: _native.Result | None = await core.perform(TYPED, sql, (values,))
        except Error as error:
            if self._closed:
                text = f"Connection force-closed during operation (id={id(self)})"
                raise InterfaceError(text) from error
            raise_translated(error)
        finally:
            if core.address is None and not self._closed:
                self._invalidated = True
        return result

    async def _end(self, sql: str) -> None:
        self.check_usable()
        self._check_outside(sql.lower())
        if self._core is None or not self._core.in_transaction:
            return
        try:
            await self.run(sql.lower(), sql, ())
        except OperationalError as error:
            if not is_no_transaction_error(error):
                raise


def _blocks(method: str) -> NoReturn:
    text = f"{method}() is not supported: it would block the event loop; use dqlite.dbapi"
    raise NotSupportedError(text)
