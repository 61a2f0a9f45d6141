"""The published API of dqlitepy, on top of `dqlite`.

New code: `dqlite.Node` and `dqlite.Client`.
"""

from __future__ import annotations

from typing import Final

from dqlite import __version__ as _version
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
    "get_version",
    "handle_c_errors",
    "safe_cleanup",
    "safe_operation",
]
