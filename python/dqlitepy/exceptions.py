"""The exceptions of dqlitepy, each one of `dqlite.exceptions` as well where that has it.

::

    DqliteError                     also a RuntimeError
    ├── DqliteLibraryNotFound       .attempts
    ├── NodeError                   .node_id .node_address; all that Node raises is one
    │   └── NodeStartError NodeStopError NodeAlreadyRunningError NodeNotRunningError
    │       NodeShutdownError NodeAssertionError
    ├── ClientError                 all that Client raises is one
    │   └── ClientConnectionError ClientClosedError
    ├── ClusterError
    │   └── ClusterJoinError ClusterConfigurationError ClusterQuorumLostError
    ├── NoLeaderError               a ClientError, a ClusterError and a NodeError
    ├── ResourceError
    │   └── ResourceLeakWarning MemoryError
    └── SegmentationFault
"""

from __future__ import annotations

import enum
from typing import Final

from dqlite import exceptions as canonical
from dqlite.exceptions import DatabaseError

__all__ = [
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
    "NodeAlreadyRunningError",
    "NodeAssertionError",
    "NodeError",
    "NodeNotRunningError",
    "NodeShutdownError",
    "NodeStartError",
    "NodeStopError",
    "ResourceError",
    "ResourceLeakWarning",
    "SafeErrorHandler",
    "SegmentationFault",
    "ShutdownSafetyGuard",
    "handle_c_errors",
    "safe_cleanup",
    "safe_operation",
]

_NO_CODE: Final = -1


class ErrorCode(enum.Enum):
    """The codes of dqlitepy's C library."""

    SUCCESS = 0
    NOMEM = 1
    INVALID = 2
    NOTFOUND = 3
    MISUSE = 4
    NOLEADER = 5
    SHUTDOWN = 6
    STOPPED = 7
    INTERNAL = 8
    UNKNOWN = -1

    @classmethod
    def from_code(cls, code: int) -> ErrorCode:
        """Return the member with this number, UNKNOWN if there is none."""
        return cls(code) if code in cls._value2member_map_ else cls.UNKNOWN


class ErrorSeverity(enum.Enum):
    """How bad an error is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"
    FATAL = "fatal"


class DqliteError(canonical.Error, RuntimeError):
    """Base of all that this package raises.

    `code` is the server's result code where the server answered, else -1.
    """

    severity: ErrorSeverity = ErrorSeverity.ERROR
    recoverable: bool = True
    context: str = ""
    cause: BaseException | None = None

    def __init__(
        self,
        code: int,
        context: str,
        message: str | None = None,
        cause: BaseException | None = None,
    ) -> None:
        """Say which operation failed with which code, and why."""
        super().__init__(message or "", code)
        self.sqlite_errorname = None  # this constructor's codes are not SQLite's
        self.context = context
        self.cause = cause

    @property
    def error_code(self) -> ErrorCode:
        """`code` as a member of ErrorCode; UNKNOWN for codes of the server."""
        return ErrorCode.from_code(_NO_CODE if self.code is None else self.code)

    def __str__(self) -> str:
        """Return ``<context> failed with code <code> (<NAME>): <message>``."""
        code = _NO_CODE if self.code is None else self.code
        name = self.sqlite_errorname or self.error_code.name
        message = self._where_and_what()
        text = f"{self.context} failed with code {code} ({name})"
        if message:
            text = f"{text}: {message}"
        return f"{text}\nCaused by: {self.cause}" if self.cause else text

    def _where_and_what(self) -> str:
        return self.message


class DqliteLibraryNotFound(DqliteError, canonical.EngineNotFoundError):  # noqa: N818 - published
    """No usable engine was found; `attempts` lists every place searched and the reason."""

    severity = ErrorSeverity.FATAL
    recoverable = False

    def __init__(self, attempts: list[tuple[str, str]]) -> None:
        """List the places that were tried."""
        places = "; ".join(f"{place} ({reason})" if reason else place for place, reason in attempts)
        super().__init__(_NO_CODE, "dlopen", f"no dqlite engine found, tried: {places}")
        self.tried = attempts


class NodeError(DqliteError, canonical.NodeError):
    """Whatever goes wrong in a method of `Node`."""

    def __init__(
        self,
        code: int,
        context: str,
        message: str | None = None,
        node_id: int | None = None,
        node_address: str | None = None,
    ) -> None:
        """Say which operation of which node failed with which code, and why."""
        super().__init__(code, context, message)
        self.node_id = node_id
        self.node_address = node_address

    def _where_and_what(self) -> str:
        node = "" if self.node_id is None else f"Node {self.node_id}"
        text = ": ".join(part for part in (node, self.message) if part)
        where = f"({self.node_address})" if text else self.node_address
        return f"{text} {where}".strip() if self.node_address else text


class NodeStartError(NodeError, canonical.NodeStartError):
    """The node did not start: port taken, directory in use, no engine."""


class NodeStopError(NodeError, canonical.NodeStopError):
    """The node's process survived even SIGKILL."""

    severity = ErrorSeverity.WARNING


class NodeAlreadyRunningError(NodeError, canonical.NodeAlreadyRunningError):
    """`start` of a running node."""

    severity = ErrorSeverity.WARNING


class NodeNotRunningError(NodeError, canonical.NodeNotRunningError):
    """The node is stopped."""

    severity = ErrorSeverity.INFO


class NodeShutdownError(NodeError):
    """Never raised; here for code that catches it."""

    severity = ErrorSeverity.WARNING


class NodeAssertionError(NodeError):
    """Never raised; here for code that catches it."""

    severity = ErrorSeverity.FATAL
    recoverable = False


class ClientError(DqliteError):
    """Whatever goes wrong in a method of `Client`."""


class ClientConnectionError(ClientError, canonical.ConnectionFailedError):
    """No node of the cluster can be reached."""

    severity = ErrorSeverity.CRITICAL


class ClientClosedError(ClientError, canonical.InterfaceError):
    """The client was closed."""


class ClusterError(DqliteError, canonical.ClusterError):
    """Something about the cluster: membership, leadership, quorum."""


class ClusterJoinError(ClusterError):
    """A node could not join, or a change of membership was refused."""

    severity = ErrorSeverity.CRITICAL


class ClusterConfigurationError(ClusterError):
    """The cluster's configuration is wrong."""


class ClusterQuorumLostError(ClusterError):
    """Leadership was lost in the middle of a statement, or a majority cannot be reached."""

    severity = ErrorSeverity.CRITICAL


class NoLeaderError(ClientError, ClusterError, NodeError, canonical.NoLeaderError):
    """No leader was found within the deadline; nothing was sent, so trying again is safe."""

    severity = ErrorSeverity.WARNING


class ResourceError(DqliteError):
    """Something about memory or descriptors."""


class ResourceLeakWarning(ResourceError, Warning):  # noqa: N818 - the published name
    """Never raised; here for code that catches or filters it."""

    severity = ErrorSeverity.WARNING

    def __init__(self, resource_type: str, details: str) -> None:
        """Say what may have leaked."""
        super().__init__(
            _NO_CODE, "resource_cleanup", f"possible leak of {resource_type}: {details}"
        )


class MemoryError(ResourceError):  # noqa: A001 - the published name
    """Never raised; here for code that catches it."""

    severity = ErrorSeverity.CRITICAL


class SegmentationFault(DqliteError):  # noqa: N818 - the published name
    """Never raised, the engine runs in a process of its own; here for code that catches it."""

    severity = ErrorSeverity.FATAL
    recoverable = False

    def __init__(self, context: str, signal_info: str | None = None) -> None:
        """Say where it happened."""
        text = "segmentation fault"
        super().__init__(-11, context, f"{text}: {signal_info}" if signal_info else text)


from dqlitepy._guards import (  # noqa: E402 - the guards raise the classes above
    SafeErrorHandler,
    ShutdownSafetyGuard,
    handle_c_errors,
    safe_cleanup,
    safe_operation,
)
