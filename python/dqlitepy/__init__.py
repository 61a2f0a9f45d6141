"""The published API of dqlitepy, on top of `dqlite`.

New code: `dqlite.Node` and `dqlite.Client`.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from dqlite import __version__ as _version
from dqlitepy import dbapi
from dqlitepy._ffi import get_version
from dqlitepy.client import Client, NodeInfo
from dqlitepy.exceptions import (
    ClientClosedError,
    ClientConnectionError,
    ClientError,
    ClusterConfigurationError,
    ClusterError,
    ClusterJoinError,
    ClusterQuorumLostError,
    DatabaseError,
    DqliteError,
    DqliteLibraryNotFound,
    ErrorCode,
    ErrorSeverity,
    MemoryError,  # noqa: A004 - the published name
    NodeAlreadyRunningError,
    NodeAssertionError,
    NodeError,
    NodeNotRunningError,
    NodeShutdownError,
    NodeStartError,
    NodeStopError,
    NoLeaderError,
    ResourceError,
    ResourceLeakWarning,
    SafeErrorHandler,
    SegmentationFault,
    ShutdownSafetyGuard,
    handle_c_errors,
    safe_cleanup,
    safe_operation,
)
from dqlitepy.node import Node

__version__: Final = f"0.2.0+dqlite.{_version}"
__dqlite_face__: Final = True


def connect(
    address: str | None = None,
    data_dir: str | Path | None = None,
    **options: Any,
) -> dbapi.Connection:
    """Start a node and return a connection to its ``db.sqlite``; closing it stops the node.

    `options` are those of `Node`, `address` is ``127.0.0.1:9001`` unless it is given. Without
    `data_dir` the data is in a new temporary directory.
    """
    place = mkdtemp(prefix="dqlitepy-") if data_dir is None else data_dir
    node = Node(address or "127.0.0.1:9001", place, **options)
    try:
        node.start()
        node.wait_ready(30)
        return dbapi.OwningConnection(node)
    except BaseException:
        node.close()
        raise


__all__ = [
    "Client",
    "ClientClosedError",
    "ClientConnectionError",
    "ClientError",
    "ClusterConfigurationError",
    "ClusterError",
    "ClusterJoinError",
    "ClusterQuorumLostError",
    "DatabaseError",
    "DqliteError",
    "DqliteLibraryNotFound",
    "ErrorCode",
    "ErrorSeverity",
    "MemoryError",
    "NoLeaderError",
    "Node",
    "NodeAlreadyRunningError",
    "NodeAssertionError",
    "NodeError",
    "NodeInfo",
    "NodeNotRunningError",
    "NodeShutdownError",
    "NodeStartError",
    "NodeStopError",
    "ResourceError",
    "ResourceLeakWarning",
    "SafeErrorHandler",
    "SegmentationFault",
    "ShutdownSafetyGuard",
    "__version__",
    "connect",
    "dbapi",
    "get_version",
    "handle_c_errors",
    "safe_cleanup",
    "safe_operation",
]
