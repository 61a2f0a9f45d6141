"""`ConnectionPool`: sessions with the leader that are kept and lent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import warnings
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Any, Final, NoReturn

from dqlite import _pooling
from dqlite import exceptions as canonical
from dqlite._options import options
from dqlite.aio._lender import Lender
from dqliteclient._checks import Home, Limits
from dqliteclient._dial import Bridge, DialFunc
from dqliteclient._errors import connect_errors, their_errors
from dqliteclient._validate import (
    DEFAULT_CLOSE_TIMEOUT_SECONDS,
    DEFAULT_MAX_CONTINUATION_FRAMES,
    DEFAULT_MAX_TOTAL_ROWS,
    DEFAULT_TIMEOUT_SECONDS,
    is_int,
    validate_max_attempts,
    validate_timeouts,
)
from dqliteclient.cluster import ClusterClient, RedirectPolicy
from dqliteclient.connection import DqliteConnection
from dqliteclient.exceptions import DqliteConnectionError, InterfaceError
from dqliteclient.node_store import MemoryNodeStore, NodeStore

__all__ = ["ConnectionPool"]

_FOREVER_S: Final = float("inf")


class ConnectionPool:
    """Up to `max_size` sessions with the leader, for one event loop.

    `min_size` of them are kept; when the leader changes the old sessions are replaced.
    """

    def __init__(
        self,
        addresses: Sequence[str] | None = None,
        *,
        database: str = "default",
        min_size: int = 1,
        max_size: int = 10,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        dial_timeout: float | None = None,
        attempt_timeout: float | None = None,
        cluster: ClusterClient | None = None,
        node_store: NodeStore | None = None,
        max_total_rows: int | None = DEFAULT_MAX_TOTAL_ROWS,
        max_continuation_frames: int | None = DEFAULT_MAX_CONTINUATION_FRAMES,
        trust_server_heartbeat: bool = False,
        close_timeout: float = DEFAULT_CLOSE_TIMEOUT_SECONDS,
        max_message_size: int | None = None,
        max_attempts: int | None = None,
        max_elapsed_seconds: float | None = None,
        dial_func: DialFunc | None = None,
        concurrent_leader_conns: int | None = None,
        redirect_policy: RedirectPolicy | None = None,
    ) -> None:
        """Check the arguments; `initialize` or ``async with`` opens the pool."""
        validate_timeouts(timeout, dial_timeout, attempt_timeout, close_timeout)
        validate_max_attempts(max_attempts)
        _check_sizes(min_size, max_size)
        if sum(given is not None for given in (addresses, node_store, cluster)) > 1:
            text = "pass at most one of addresses, node_store, or cluster"
            raise ValueError(text)
        if cluster is not None and (concurrent_leader_conns or redirect_policy) is not None:
            text = "concurrent_leader_conns and redirect_policy cannot be combined with cluster="
            raise ValueError(text)
        self._cluster = cluster or ClusterClient(
            node_store or MemoryNodeStore(addresses),
            timeout=timeout,
            dial_timeout=dial_timeout,
            attempt_timeout=attempt_timeout,
            concurrent_leader_conns=concurrent_leader_conns or 10,
            redirect_policy=redirect_policy,
            max_total_rows=max_total_rows,
            max_continuation_frames=max_continuation_frames,
            max_message_size=max_message_size,
            trust_server_heartbeat=trust_server_heartbeat,
            dial_func=dial_func,
        )
        self._bridge: Bridge | None = None
        self._database = database
        self._sizes = (min_size, max_size)
        self._timeout = timeout
        self._limits = Limits(max_total_rows, max_continuation_frames, max_message_size)
        self._max_attempts = max_attempts
        self._max_elapsed_seconds = max_elapsed_seconds
        self._lender: Lender | None = None
        self._opening = asyncio.Lock()
        self._home = Home("Pool", type(self).__name__, os.getpid())
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    async def initialize(self) -> None:
        """Open `min_size` sessions, in parallel, all or none; does nothing the second time."""
        await self._opened()

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncGenerator[DqliteConnection, None]:
        """Lend a connection for a block; an open transaction in it is rolled back after it."""
        lender = await self._opened()
        try:
            with their_errors(None):
                core = await lender.lend(self._timeout)
        except InterfaceError as error:
            raise self._is_closed() from error
        except canonical.PoolTimeoutError as error:
            text = (
                "Timed out waiting for a connection from the pool "
                f"(max_size={self._sizes[1]}, checked_out={lender.sizes()['in_use']}, "
                f"timeout={self._timeout}s)"
            )
            raise canonical.PoolTimeoutError(text) from error
        connection = DqliteConnection.over(core, timeout=self._timeout, limits=self._limits)
        try:
            yield connection
        finally:
            connection.give_back()
            lender.take_back(core)

    async def execute(self, sql: str, params: Sequence[Any] | None = None) -> tuple[int, int]:
        """Do `DqliteConnection.execute` on a connection of the pool."""
        async with self.acquire() as connection:
            return await connection.execute(sql, params)

    async def fetch(self, sql: str, params: Sequence[Any] | None = None) -> list[dict[str, Any]]:
        """Do `DqliteConnection.fetch` on a connection of the pool."""
        async with self.acquire() as connection:
            return await connection.fetch(sql, params)

    async def fetchone(
        self, sql: str, params: Sequence[Any] | None = None
    ) -> dict[str, Any] | None:
        """Do `DqliteConnection.fetchone` on a connection of the pool."""
        async with self.acquire() as connection:
            return await connection.fetchone(sql, params)

    async def fetchall(self, sql: str, params: Sequence[Any] | None = None) -> list[list[Any]]:
        """Do `DqliteConnection.fetchall` on a connection of the pool."""
        async with self.acquire() as connection:
            return await connection.fetchall(sql, params)

    async def fetchval(self, sql: str, params: Sequence[Any] | None = None) -> Any:
        """Do `DqliteConnection.fetchval` on a connection of the pool."""
        async with self.acquire() as connection:
            return await connection.fetchval(sql, params)

    async def close(self) -> None:
        """Refuse further use and close every session once it is back; idempotent."""
        lender, self._lender = self._lender, None
        self._closed = True
        if lender is not None and not self._home.is_forked():
            await lender.close()
        self._unbridge()

    async def __aenter__(self) -> ConnectionPool:
        """Open the pool."""
        await self.initialize()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close the pool."""
        await self.close()

    def __repr__(self) -> str:
        """Tell the sizes and the state."""
        size = "closed" if self._closed else f"size={self._lender.size if self._lender else 0}"
        return f"<ConnectionPool max_size={self._sizes[1]} {size}>"

    def __reduce__(self) -> NoReturn:
        """Refuse: sockets cannot be pickled."""
        text = "cannot pickle 'ConnectionPool': it owns sockets"
        raise TypeError(text)

    def __del__(self) -> None:
        """Warn if nobody closed it."""
        lender = getattr(self, "_lender", None)
        if lender is None or self._home.is_forked():
            return
        lender.discard()
        self._unbridge()
        text = "ConnectionPool was garbage-collected open; close it"
        warnings.warn(text, ResourceWarning, source=self, stacklevel=1)

    async def _opened(self) -> Lender:
        self._check_usable()
        async with self._opening:
            if self._lender is None:
                self._lender = await self._cluster.retried(
                    self._open, self._max_attempts, self._max_elapsed_seconds
                )
        return self._lender

    async def _open(self) -> Lender:
        leader = await self._cluster.find_leader()
        known = [node.address for node in await self._cluster.nodes()]
        min_size, max_size = self._sizes
        addresses = [leader, *(address for address in known if address != leader)]
        self._unbridge()
        if self._cluster.dial_func is not None:
            seconds = self._cluster.attempt_timeout
            self._bridge = await Bridge.to(self._cluster.dial_func, seconds, addresses)
        checked = options(
            addresses if self._bridge is None else self._bridge,
            database=self._database,
            timeout=self._timeout,
            connect_timeout=self._cluster.attempt_timeout,
            busy_timeout=0.0,
            types="raw",
            reconnect=True,
            name=None,
        )
        lender = Lender(checked, _pooling.Limits(min_size, max_size, 0, _FOREVER_S, _FOREVER_S))
        with connect_errors(leader, self._cluster.attempt_timeout):
            await lender.open()
        return lender

    def _unbridge(self) -> None:
        bridge, self._bridge = self._bridge, None
        if bridge is not None:
            bridge.close()

    def _check_usable(self) -> None:
        self._home.check()
        if self._closed:
            raise self._is_closed()

    def _is_closed(self) -> DqliteConnectionError:
        return DqliteConnectionError(f"Pool is closed (id={id(self)})")


def _check_sizes(min_size: int, max_size: int) -> None:
    for name, size in (("min_size", min_size), ("max_size", max_size)):
        if not is_int(size):
            text = f"{name} must be int, got {type(size).__name__}"
            raise TypeError(text)
    if max_size < 1:
        text = f"max_size must be >= 1, got {max_size}"
        raise ValueError(text)
    if not 0 <= min_size <= max_size:
        text = f"min_size must be between 0 and max_size, got {min_size}"
        raise ValueError(text)
