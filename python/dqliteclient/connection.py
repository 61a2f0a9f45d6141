"""`DqliteConnection`: one session with the cluster's leader, for one event loop."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import AsyncGenerator, Generator, Sequence
from types import TracebackType
from typing import Any, Final, NoReturn

from dqlite import _native
from dqlite import exceptions as canonical
from dqlite._options import options
from dqlite.aio import _loop
from dqlite.aio._core import Core
from dqliteclient._checks import Home, Limits, values
from dqliteclient._dial import Bridge, DialFunc
from dqliteclient._errors import connect_errors, is_no_transaction_error, their_errors
from dqliteclient._validate import (
    DEFAULT_CLOSE_TIMEOUT_SECONDS,
    DEFAULT_MAX_CONTINUATION_FRAMES,
    DEFAULT_MAX_TOTAL_ROWS,
    DEFAULT_TIMEOUT_SECONDS,
    parse_address,
    validate_limits,
    validate_timeouts,
)
from dqliteclient.exceptions import DqliteConnectionError, InterfaceError

__all__ = ["DialFunc", "DqliteConnection", "is_no_transaction_error"]

_RESULT: Final = _native.Projection("result", "list", "client")
_TYPED: Final = _native.Projection("result", "list", "client", tags=True)
_DICTS: Final = _native.Projection("stream", "dict", "client")
_LISTS: Final = _native.Projection("stream", "list", "client")
_DICT: Final = _native.Projection("first", "dict", "client")
_VALUE: Final = _native.Projection("value", "list", "client")


class DqliteConnection:
    """A session with the leader, found from one address of the cluster.

    One operation at a time; nothing is sent twice. A lost session stays lost until `connect` is
    called again. Rows are dicts (`fetch`) or lists (`fetchall`); DATE, DATETIME and TIMESTAMP
    values are what the wire carries, text or a number.
    """

    def __init__(
        self,
        address: str,
        *,
        database: str = "default",
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        dial_timeout: float | None = None,
        attempt_timeout: float | None = None,
        max_total_rows: int | None = DEFAULT_MAX_TOTAL_ROWS,
        max_continuation_frames: int | None = DEFAULT_MAX_CONTINUATION_FRAMES,
        trust_server_heartbeat: bool = False,  # noqa: ARG002 - every wait has its own deadline
        close_timeout: float = DEFAULT_CLOSE_TIMEOUT_SECONDS,
        dial_func: DialFunc | None = None,
        max_message_size: int | None = None,
    ) -> None:
        """Check the arguments; `connect` or ``async with`` does the rest.

        `timeout` bounds each wait for the server in seconds; the shorter of `dial_timeout` and
        `attempt_timeout` bounds `connect`. What exceeds one of the limits is a ProtocolError, and
        the session is closed.
        """
        validate_timeouts(timeout, dial_timeout, attempt_timeout, close_timeout)
        validate_limits(
            max_total_rows=max_total_rows,
            max_continuation_frames=max_continuation_frames,
            max_message_size=max_message_size,
        )
        parse_address(address)
        self._dial_func = dial_func
        self._dial_timeout = dial_timeout or timeout
        self._bridge: Bridge | None = None
        self._address = address
        self._database = database
        self._timeout = timeout
        self._attempt_timeout = min(dial_timeout or timeout, attempt_timeout or timeout)
        self._limits = Limits(max_total_rows, max_continuation_frames, max_message_size)
        self._core: Core | None = None
        self._home = Home("Connection", type(self).__name__, os.getpid())
        self._closed = False
        self._busy = False
        self._in_block = False

    @classmethod
    def over(cls, core: Core, *, timeout: float, limits: Limits) -> DqliteConnection:
        """Return a connection on a session that a pool lends."""
        hosts = core.options.config.hosts
        lent = cls(core.address or hosts[0], timeout=timeout)
        lent._limits = limits
        limits.apply(core)
        lent._database = core.options.config.database
        lent._core = core
        return lent

    def give_back(self) -> None:
        """Let go of the session; it is the pool's again."""
        self._core = None

    @property
    def address(self) -> str:
        """The address given."""
        return self._address

    @property
    def is_connected(self) -> bool:
        """Whether there is a session."""
        session = None if self._core is None else self._core.session
        return session is not None and not session.closed

    @property
    def closed(self) -> bool:
        """Whether `close` or `terminate` was called."""
        return self._closed

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, going by what the server answered."""
        return self.is_connected and self._core is not None and self._core.in_transaction

    async def connect(self) -> None:
        """Find the leader, open a session; does nothing while there is one."""
        self._check_usable()
        if self.is_connected:
            return
        self._unbridge()
        if self._dial_func is not None:
            self._bridge = await Bridge.to(self._dial_func, self._dial_timeout, [self._address])
        checked = options(
            self._address if self._bridge is None else self._bridge,
            database=self._database,
            timeout=self._timeout,
            connect_timeout=self._attempt_timeout,
            busy_timeout=0.0,
            types="raw",
            reconnect=False,
            name=None,
        )
        core = Core(checked)
        with connect_errors(self._address, self._attempt_timeout):
            await core.open(self._attempt_timeout)
        self._limits.apply(core)
        self._core = core

    def terminate(self) -> None:
        """Drop the session at once; idempotent."""
        self._closed = True
        if self._core is not None:
            self._core.close()
        self._unbridge()

    async def close(self) -> None:
        """Drop the session; an open transaction is rolled back by that. Idempotent."""
        self.terminate()

    async def execute(self, sql: str, params: Sequence[Any] | None = None) -> tuple[int, int]:
        """Run one or more statements; return ``(last_insert_id, rows_affected)`` of the last.

        Parameters belong to the first. Statements before one that fails stay done.
        """
        done = None
        for statement in _native.split(sql):
            done = await self._perform(_RESULT, statement, params)
            params = None
        return (0, 0) if done is None else (done.lastrowid or 0, max(done.rowcount, 0))

    async def query_raw(
        self, sql: str, params: Sequence[Any] | None = None
    ) -> tuple[list[str], list[list[Any]]]:
        """Return column names and rows."""
        return await self._table(_LISTS, sql, params)

    async def query_raw_typed(
        self, sql: str, params: Sequence[Any] | None = None
    ) -> tuple[list[str], list[int], list[list[int]], list[list[Any]]]:
        """Return column names, wire types of the first row, those of each row, and rows."""
        done: _native.Result | None = await self._perform(_TYPED, sql, params)
        if done is None:
            return [], [], [], []
        self._check(self._session(), done.rows, 1)
        return done.columns or [], done.tags[0] if done.tags else [], done.tags, done.rows

    async def fetch(self, sql: str, params: Sequence[Any] | None = None) -> list[dict[str, Any]]:
        """Return all rows as dicts; of equal names the last counts."""
        _, rows = await self._table(_DICTS, sql, params)
        return rows

    async def fetchall(self, sql: str, params: Sequence[Any] | None = None) -> list[list[Any]]:
        """Return all rows as lists."""
        _, rows = await self._table(_LISTS, sql, params)
        return rows

    async def fetchone(
        self, sql: str, params: Sequence[Any] | None = None
    ) -> dict[str, Any] | None:
        """Return the first row as a dict, or None."""
        row: dict[str, Any] | None = await self._perform(_DICT, sql, params)
        return row

    async def fetchval(self, sql: str, params: Sequence[Any] | None = None) -> Any:
        """Return the first cell of the first row, or None."""
        return await self._perform(_VALUE, sql, params)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncGenerator[None, None]:
        """BEGIN, then COMMIT, or ROLLBACK if the block raises; other tasks wait until its end."""
        core = self._session()
        block = await core.enter_block(...)
        try:
            if block is None or core.in_transaction:
                text = "Nested transactions are not supported; use SAVEPOINT"
                raise InterfaceError(text)
            self._in_block = True
            await self.execute("BEGIN")
            try:
                yield
                await self.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(canonical.Error):
                    if self.in_transaction:
                        await self.execute("ROLLBACK")
                raise
        finally:
            if block is not None:
                self._in_block = False
                core.leave_block(block)

    async def __aenter__(self) -> DqliteConnection:
        """Connect."""
        await self.connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()

    def __repr__(self) -> str:
        """Name the address, the database and the state."""
        state = "closed" if self._closed else "connected" if self.is_connected else "disconnected"
        what = f"address={self._address!r} database={self._database!r} {state}"
        return f"<DqliteConnection {what} at {id(self):#x}>"

    def __reduce__(self) -> NoReturn:
        """Refuse: a socket cannot be pickled."""
        text = "cannot pickle 'DqliteConnection': it owns a socket"
        raise TypeError(text)

    def __del__(self) -> None:
        """Warn if nobody closed it."""
        core = getattr(self, "_core", None)
        if core is None or core.closed or self._home.is_forked():
            return
        core.discard()
        self._unbridge()
        text = f"DqliteConnection(address={self._address!r}) was garbage-collected open; close it"
        warnings.warn(text, ResourceWarning, source=self, stacklevel=1)

    async def _perform(
        self, projection: _native.Projection, sql: str, params: Sequence[Any] | None
    ) -> Any:
        """Run a statement; a result that comes in several messages is a stream."""
        args = () if params is None else (values(params),)
        core = self._session()
        with self._alone(), their_errors(core.address), self._limits.named():
            return await core.perform(projection, sql, args)

    async def _table(
        self, projection: _native.Projection, sql: str, params: Sequence[Any] | None
    ) -> tuple[list[str], list[Any]]:
        """Return columns and rows, counted while they come: what is too much is not read on."""
        args = () if params is None else (values(params),)
        core = self._session()
        with self._alone(), their_errors(core.address), self._limits.named():
            done: Any = await core.perform(projection, sql, args)
            if isinstance(done, _native.Stream):
                return done.columns, await self._gather(core, done)
            if done is None:
                return [], []
            self._check(core, done.rows, 1)
            return done.columns or [], done.rows

    async def _gather(self, core: Core, stream: _native.Stream) -> list[Any]:
        """Read a stream; each wait for more of it has a deadline of its own."""
        rows: list[Any] = []
        session = core.session
        while True:
            lot = stream.take()
            rows += lot
            self._check(core, rows, stream.frames)
            if session is None or (stream.done and not lot):
                return rows
            waiting = session.more(stream)
            if waiting is None:
                continue
            try:
                came = await _loop.is_over(waiting, self._timeout)
            except BaseException:
                session.leave(stream)
                raise
            if not came:
                core.terminate()
                text = f"no further rows within {self._timeout} s"
                raise canonical.StatementTimeoutError(text, outcome="refused")

    def _check(self, core: Core, rows: list[Any], frames: int) -> None:
        try:
            self._limits.check(len(rows), frames)
        except canonical.Error:
            core.terminate()
            raise

    @contextlib.contextmanager
    def _alone(self) -> Generator[None, None, None]:
        if self._in_block:  # whose tasks go on one by one, and all others wait
            yield
            return
        if self._busy:
            text = "Cannot perform operation: another operation is in progress on this connection"
            raise InterfaceError(text)
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def _unbridge(self) -> None:
        bridge, self._bridge = self._bridge, None
        if bridge is not None:
            bridge.close()

    def _session(self) -> Core:
        self._check_usable()
        if self._core is None or not self.is_connected:
            text = "Not connected"
            raise DqliteConnectionError(text)
        return self._core

    def _check_usable(self) -> None:
        self._home.check()
        if self._closed:
            text = f"Connection is closed (id={id(self)})"
            raise InterfaceError(text)
