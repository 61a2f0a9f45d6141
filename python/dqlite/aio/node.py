"""`Node` for asyncio: a dqlite node as a supervised child process of this one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from dqlite import node as sync
from dqlite._node_facts import Engine, Stopped
from dqlite._options import TLS, Host
from dqlite.aio._threads import in_thread
from dqlite.aio.connection import Connecting, connect
from dqlite.node import (
    ANSWER_TIMEOUT_S,
    HANDOVER_TIMEOUT_S,
    LEAVE_TIMEOUT_S,
    START_TIMEOUT_S,
)


class Node:
    """A dqlite node: data, raft and the engine in a child process, supervised from here.

    ::

        async with dqlite.aio.Node("127.0.0.1:9001", "data/n1") as node:
            async with node.connect("app") as conn:
                print(await conn.fetchval("SELECT 1"))

    The twin of `dqlite.Node`, whose methods say more and whose options it takes.
    """

    def __init__(
        self,
        address: str,
        data_dir: str | os.PathLike[str],
        *,
        node_id: int | None = None,
        bind_address: str | None = None,
        cluster: Sequence[str] | None = None,
        auto_recovery: bool | None = None,
        busy_timeout_ms: int | None = 5000,
        snapshot_compression: bool | None = None,
        network_latency_ms: int | None = 20,
        **options: Any,
    ) -> None:
        """Check the arguments: NodeConfigError lists everything wrong. Starts nothing."""
        self._sync = sync.Node(
            address,
            data_dir,
            node_id=node_id,
            bind_address=bind_address,
            cluster=cluster,
            auto_recovery=auto_recovery,
            busy_timeout_ms=busy_timeout_ms,
            snapshot_compression=snapshot_compression,
            network_latency_ms=network_latency_ms,
            **options,
        )

    @property
    def id(self) -> int:
        """The node's id; 0 before the first start if it is not certain which it will get."""
        return self._sync.id

    @property
    def address(self) -> str:
        """The address that others dial."""
        return self._sync.address

    @property
    def bind_address(self) -> str | None:
        """What it listens on, or None if that is `address`."""
        return self._sync.bind_address

    @property
    def data_dir(self) -> Path:
        """The directory that stores everything."""
        return self._sync.data_dir

    @property
    def is_running(self) -> bool:
        """True between start and stop, also while a crashed process is started again."""
        return self._sync.is_running

    @property
    def state(self) -> str:
        """The state in one word: ``stopped starting forming joining ready failed`` ..."""
        return self._sync.state

    @property
    def role(self) -> str | None:
        """The role in the cluster in one word, once it is a member."""
        return self._sync.role

    @property
    def leader(self) -> str | None:
        """The leader's address, as this node sees it."""
        return self._sync.leader

    @property
    def is_leader(self) -> bool:
        """Whether this node leads, as far as it knows."""
        return self._sync.is_leader

    @property
    def pid(self) -> int | None:
        """The id of the child process, while there is one."""
        return self._sync.pid

    @property
    def restarts(self) -> int:
        """How often the process was started again since `start`."""
        return self._sync.restarts

    @property
    def engine(self) -> Engine | None:
        """The engine, once it is loaded."""
        return self._sync.engine

    @property
    def socket_path(self) -> str | None:
        """The Unix socket for programs on this machine."""
        return self._sync.socket_path

    @property
    def url(self) -> str:
        """Where to connect, for `dqlite.aio.connect`."""
        return self._sync.url

    async def start(self, timeout: float | None = None) -> None:
        """Start the node; returns when it serves, after up to one second more until it is ready.

        NodeAlreadyRunningError if it runs, NodeStartError if it does not start in `timeout`
        seconds (default: the option `start_timeout`, 30).
        """
        await in_thread(lambda: self._sync.start(timeout))

    async def wait_ready(self, timeout: float = START_TIMEOUT_S) -> None:
        """Wait until the node is a member that knows the leader; else NoLeaderError."""
        await in_thread(lambda: self._sync.wait_ready(timeout))

    async def stop(self, timeout: float | None = None) -> Stopped:
        """Hand leadership over, let clients go, stop the engine; return how it went. Idempotent."""
        return await in_thread(lambda: self._sync.stop(timeout))

    async def handover(self, timeout: float = HANDOVER_TIMEOUT_S, *, roles: bool = False) -> None:
        """Give leadership to another voter, with `roles` the seat of a voter, too."""
        await in_thread(lambda: self._sync.handover(timeout, roles=roles))

    async def leave(self, timeout: float = LEAVE_TIMEOUT_S) -> None:
        """Take the node out of its cluster for good, within `timeout` seconds, and stop it."""
        await in_thread(lambda: self._sync.leave(timeout))

    async def status(self, timeout: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """Return the node's account of itself, asked within `timeout` seconds."""
        return await in_thread(lambda: self._sync.status(timeout))

    async def explain(self, timeout: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """Return the node's last role decisions in words, and what the rules say now."""
        return await in_thread(lambda: self._sync.explain(timeout))

    async def reload_tls(self, timeout: float = ANSWER_TIMEOUT_S) -> None:
        """Read the certificates again at once; NodeError names the check that failed."""
        await in_thread(lambda: self._sync.reload_tls(timeout))

    async def set_log_level(self, level: str, timeout: float = ANSWER_TIMEOUT_S) -> None:
        """Log ``error warn info debug`` or ``trace`` from now until the process ends."""
        await in_thread(lambda: self._sync.set_log_level(level, timeout))

    def connect(self, database: str = "db.sqlite", **options: Any) -> Connecting:
        """Open a connection that starts at this node and follows the leader.

        Options as for `dqlite.aio.connect`.
        """
        return connect(self, database=database, **options)

    def connection_targets(self) -> list[Host]:
        """Addresses in the order in which to try them: this node's socket, then the members."""
        return self._sync.connection_targets()

    def connection_tls(self) -> TLS | None:
        """Certificates to connect with: the node's own, if it speaks TLS."""
        return self._sync.connection_tls()

    async def close(self) -> None:
        """Stop it and refuse further use; idempotent, and never raises what `stop` would."""
        await in_thread(self._sync.close)

    async def __aenter__(self) -> Node:
        """Start it if it does not run; one `start` inside the block is accepted."""
        await in_thread(self._sync.__enter__)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Stop it; what goes wrong then never hides an exception of the block."""
        await in_thread(lambda: self._sync.__exit__(exc_type, exc, tb))

    def __repr__(self) -> str:
        """Name the address and the state."""
        return f"<dqlite.aio.{self._sync!r}>"
