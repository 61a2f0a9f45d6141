"""Helpers of dqlitepy around code that may fail: they clean up, log or convert."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, TypeVar

from dqlitepy import exceptions

T = TypeVar("T")

_log = logging.getLogger("dqlitepy")


class SafeErrorHandler:
    """Context manager that always runs `cleanup_fn` and keeps what was raised in `error`."""

    def __init__(
        self,
        context: str,
        cleanup_fn: Callable[[], None] | None = None,
        suppress_errors: bool = False,
    ) -> None:
        """Name the operation; `suppress_errors` swallows exceptions of the block."""
        self.context = context
        self.cleanup_fn = cleanup_fn
        self.suppress_errors = suppress_errors
        self.error: BaseException | None = None

    def __enter__(self) -> SafeErrorHandler:
        """Return the handler."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool:
        """Clean up; a failure of the clean-up never hides the block's exception."""
        self.error = exc_val
        if self.cleanup_fn is not None:
            try:
                self.cleanup_fn()
            except Exception as error:  # noqa: BLE001 - logged, and kept
                _log.warning("clean-up of %s failed", self.context, exc_info=True)
                self.error = exc_val or error
        return self.suppress_errors and not isinstance(exc_val, (KeyboardInterrupt, SystemExit))


@contextlib.contextmanager
def safe_operation(
    context: str,
    suppress_errors: bool = False,
    default_return: Any = None,  # noqa: ARG001 - published; a block has no value to replace
) -> Generator[None, None, None]:
    """Run a block; what it raises becomes a DqliteError, or is logged and dropped."""
    try:
        yield
    except Exception as error:
        if suppress_errors:
            _log.exception("%s failed", context)
            return
        if isinstance(error, exceptions.DqliteError):
            raise
        raise exceptions.DqliteError(-1, context, str(error), cause=error) from error


def safe_cleanup(fn: Callable[[], T], context: str, default: T | None = None) -> T | None:
    """Return ``fn()``, or `default` if it raises; the failure is logged."""
    try:
        return fn()
    except Exception:  # noqa: BLE001 - logged, which is what callers ask for
        _log.warning("clean-up %s failed", context, exc_info=True)
        return default


def handle_c_errors(lib: Any, rc: int, context: str, **kwargs: Any) -> None:  # noqa: ARG001
    """Raise the exception for a return code of dqlitepy's C library; 0 raises nothing.

    The class follows from the words in `context`. No C library is loaded here, so `lib` is not
    asked for its last message.
    """
    if rc:
        raise _class_for(context.lower(), exceptions.ErrorCode.from_code(rc))(rc, context, **kwargs)


def _class_for(context: str, code: exceptions.ErrorCode) -> Callable[..., exceptions.DqliteError]:
    for words, cls in (
        (("node", "start"), exceptions.NodeStartError),
        (("node", "stop"), exceptions.NodeStopError),
        (("node", "shutdown"), exceptions.NodeStopError),
        (("node",), exceptions.NodeError),
    ):
        if all(word in context for word in words):
            return cls
    if "client" in context and code is exceptions.ErrorCode.NOLEADER:
        return exceptions.NoLeaderError
    for words, cls in (
        (("client", "connect"), exceptions.ClientConnectionError),
        (("client", "create"), exceptions.ClientConnectionError),
        (("client",), exceptions.ClientError),
        (("cluster", "join"), exceptions.ClusterJoinError),
        (("cluster",), exceptions.ClusterError),
    ):
        if all(word in context for word in words):
            return cls
    return exceptions.MemoryError if code is exceptions.ErrorCode.NOMEM else exceptions.DqliteError


class ShutdownSafetyGuard:
    """Tries an orderly shutdown once and remembers how it went."""

    def __init__(self, resource_name: str) -> None:
        """Name what is shut down, for the log."""
        self.resource_name = resource_name
        self.shutdown_attempted = False
        self.shutdown_succeeded = False

    def attempt_shutdown(self, shutdown_fn: Callable[[], None]) -> bool:
        """Return whether ``shutdown_fn()`` went well; only unrecoverable errors are raised."""
        self.shutdown_attempted = True
        try:
            shutdown_fn()
        except Exception as error:
            if isinstance(error, exceptions.DqliteError) and not error.recoverable:
                raise
            _log.warning("shutdown of %s failed", self.resource_name, exc_info=True)
            return False
        self.shutdown_succeeded = True
        return True

    def force_cleanup(self, cleanup_fn: Callable[[], None]) -> None:
        """Run ``cleanup_fn()`` unless the shutdown succeeded; failures are logged."""
        if not self.shutdown_succeeded:
            safe_cleanup(cleanup_fn, self.resource_name)
