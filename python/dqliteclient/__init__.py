"""The published API of dqlite-client, on top of `dqlite`.

Connections and pools belong to one event loop. New code: `dqlite.aio`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dqlite import __version__ as _version
from dqliteclient._dial import DialFunc
from dqliteclient._validate import (
    CLOSE_TIMEOUT_FLOOR,
    CLOSE_TIMEOUT_FLOOR_RATIONALE,
    DEFAULT_CLOSE_TIMEOUT_SECONDS,
    DEFAULT_MAX_CONTINUATION_FRAMES,
    DEFAULT_MAX_MESSAGE_SIZE,
    DEFAULT_MAX_TOTAL_ROWS,
    DEFAULT_TIMEOUT_SECONDS,
    get_current_pid,
    parse_address,
    validate_positive_int_or_none,
    validate_timeout,
)
from dqliteclient.cluster import (
    ClusterClient,
    LeaderInfo,
    NodeMetadata,
    RedirectPolicy,
    allowlist_policy,
    default_safe_redirect_policy,
)
from dqliteclient.connection import DqliteConnection
from dqliteclient.exceptions import (
    AmbiguousCommitError,
    ClusterError,
    ClusterPolicyError,
    DataError,
    DqliteConnectionError,
    DqliteError,
    InterfaceError,
    OperationalError,
    ProtocolError,
)
from dqliteclient.node_store import MemoryNodeStore, NodeInfo, NodeStore, YamlNodeStore
from dqliteclient.pool import ConnectionPool
from dqliteclient.retry import retry_with_backoff

__version__: Final = f"0.8.0+dqlite.{_version}"
__dqlite_face__: Final = True

__all__ = [
    "CLOSE_TIMEOUT_FLOOR",
    "CLOSE_TIMEOUT_FLOOR_RATIONALE",
    "DEFAULT_CLOSE_TIMEOUT_SECONDS",
    "DEFAULT_MAX_MESSAGE_SIZE",
    "DEFAULT_TIMEOUT_SECONDS",
    "AmbiguousCommitError",
    "ClusterClient",
    "ClusterError",
    "ClusterPolicyError",
    "ConnectionPool",
    "DataError",
    "DialFunc",
    "DqliteConnection",
    "DqliteConnectionError",
    "DqliteError",
    "InterfaceError",
    "LeaderInfo",
    "MemoryNodeStore",
    "NodeInfo",
    "NodeMetadata",
    "NodeStore",
    "OperationalError",
    "ProtocolError",
    "RedirectPolicy",
    "YamlNodeStore",
    "__version__",
    "allowlist_policy",
    "connect",
    "create_pool",
    "default_safe_redirect_policy",
    "get_current_pid",
    "parse_address",
    "retry_with_backoff",
    "validate_positive_int_or_none",
    "validate_timeout",
]


async def connect(
    address: str,
    *,
    database: str = "default",
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
    dial_timeout: float | None = None,
    attempt_timeout: float | None = None,
    max_total_rows: int | None = DEFAULT_MAX_TOTAL_ROWS,
    max_continuation_frames: int | None = DEFAULT_MAX_CONTINUATION_FRAMES,
    trust_server_heartbeat: bool = False,
    close_timeout: float = DEFAULT_CLOSE_TIMEOUT_SECONDS,
    dial_func: DialFunc | None = None,
    max_message_size: int | None = None,
) -> DqliteConnection:
    """Find the leader, starting from one node, and return a connection to it."""
    connection = DqliteConnection(
        address,
        database=database,
        timeout=timeout,
        dial_timeout=dial_timeout,
        attempt_timeout=attempt_timeout,
        max_total_rows=max_total_rows,
        max_continuation_frames=max_continuation_frames,
        trust_server_heartbeat=trust_server_heartbeat,
        close_timeout=close_timeout,
        dial_func=dial_func,
        max_message_size=max_message_size,
    )
    await connection.connect()
    return connection


async def create_pool(
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
    max_attempts: int | None = None,
    max_elapsed_seconds: float | None = None,
    dial_func: DialFunc | None = None,
    concurrent_leader_conns: int | None = None,
    redirect_policy: RedirectPolicy | None = None,
    max_message_size: int | None = None,
) -> ConnectionPool:
    """Return a pool with `min_size` open connections to the leader."""
    pool = ConnectionPool(
        addresses,
        database=database,
        min_size=min_size,
        max_size=max_size,
        timeout=timeout,
        dial_timeout=dial_timeout,
        attempt_timeout=attempt_timeout,
        cluster=cluster,
        node_store=node_store,
        max_total_rows=max_total_rows,
        max_continuation_frames=max_continuation_frames,
        trust_server_heartbeat=trust_server_heartbeat,
        close_timeout=close_timeout,
        max_attempts=max_attempts,
        max_elapsed_seconds=max_elapsed_seconds,
        dial_func=dial_func,
        concurrent_leader_conns=concurrent_leader_conns,
        redirect_policy=redirect_policy,
        max_message_size=max_message_size,
    )
    await pool.initialize()
    return pool
