"""Ours to theirs: classes and texts that callers of dqlite-client match on."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Final

from dqlite import exceptions as canonical
from dqlite._face import reclassify
from dqliteclient import exceptions

_ANSWERED: Final = {"no-leader", "not-voter", "redirected", "rejected"}
"""The kinds of attempts at nodes that were reached and do not lead."""


@contextlib.contextmanager
def their_errors(address: str | None) -> Generator[None, None, None]:
    """Raise errors of the block under the names of this package."""
    try:
        yield
    except canonical.Error as error:
        theirs = translated(error, address or "the leader")
        if theirs is error:
            raise
        raise theirs.with_traceback(error.__traceback__) from error.__cause__


@contextlib.contextmanager
def connect_errors(address: str, seconds: float) -> Generator[None, None, None]:
    """Raise errors of a connect as DqliteConnectionError, telling what `address` did."""
    try:
        yield
    except (canonical.NoLeaderError, canonical.NotLeaderError, canonical.ClusterError) as error:
        theirs = _reworded(
            error, exceptions.DqliteConnectionError, _connect_text(error, address, seconds)
        )
        raise theirs.with_traceback(error.__traceback__) from error.__cause__
    except canonical.ConnectionFailedError as error:
        theirs = _reworded(
            error, exceptions.DqliteConnectionError, f"Failed to connect to {address}: {error}"
        )
        raise theirs.with_traceback(error.__traceback__) from error.__cause__
    except canonical.StatementTimeoutError as error:
        text = f"Handshake with {address} timed out (attempt_timeout={seconds}s)"
        theirs = _reworded(error, exceptions.DqliteConnectionError, text)
        raise theirs.with_traceback(error.__traceback__) from error.__cause__


def is_no_transaction_error(exc: BaseException) -> bool:
    """Whether the server said that there is no transaction to end."""
    if not isinstance(exc, exceptions.OperationalError):
        return False
    return "no transaction is active" in exc.raw_message.lower()


def _connect_text(error: canonical.Error, address: str, seconds: float) -> str:
    attempts = error.attempts if isinstance(error, canonical.NoLeaderError) else []
    for _, kind, text, _ in attempts:
        if kind in _ANSWERED:
            return f"Node {address} is no longer leader: {text}"
    for _, kind, text, _ in attempts:
        if kind == "timeout":
            return f"Connection to {address} timed out (dial_timeout={seconds}s): {text}"
        return f"Failed to connect to {address}: {text}"
    if isinstance(error, canonical.NotLeaderError):
        return f"Node {address} is no longer leader: {error}"
    return f"Failed to connect to {address}: {error}"


def translated(error: canonical.Error, address: str) -> canonical.Error:
    """Return the error as this package would have raised it; `address` is whom it concerns."""
    if isinstance(error, exceptions.OperationalError):
        return error
    if isinstance(error, canonical.AmbiguousCommitError):
        text = f"leadership lost during COMMIT; it may or may not have been applied: {error}"
        return _reworded(error, exceptions.AmbiguousCommitError, text)
    if error.code is not None:
        text = exceptions.shortened(f"{error} to {error.address or address}")
        return _reworded(error, exceptions.OperationalError, text)
    for cls, base, prefix in _WORDING:
        if isinstance(error, cls):
            text = str(error) if prefix in str(error) else f"{prefix}: {error}"
            return _reworded(error, base, text)
    return _of_cluster(error) if isinstance(error, canonical.ClusterError) else error


def _of_cluster(error: canonical.ClusterError) -> canonical.Error:
    if isinstance(error, canonical.NoLeaderError):
        told = "; ".join(f"{node}: {text}" for node, _, text, _ in error.attempts) or str(error)
        text = f"Could not find leader. Errors: {told}"
        return _reworded(error, exceptions.ClusterError, text)
    if error.outcome is canonical.Outcome.NOT_SENT:
        return error
    return _reworded(error, exceptions.OperationalError, str(error))


_WORDING: Final[list[tuple[type[canonical.Error], type[canonical.Error], str]]] = [
    (canonical.PoolTimeoutError, exceptions.DqliteConnectionError, "Timed out"),
    (canonical.StatementTimeoutError, exceptions.DqliteConnectionError, "timed out"),
    (
        canonical.ConnectionLostError,
        exceptions.DqliteConnectionError,
        "Connection closed by server",
    ),
    (canonical.ProtocolError, exceptions.ProtocolError, "wire decode failed"),
    (canonical.DataError, exceptions.DataError, "wire encode failed"),
    (canonical.ProgrammingError, exceptions.DataError, "wire encode failed"),
]


def _reworded(error: canonical.Error, base: type[canonical.Error], message: str) -> canonical.Error:
    theirs = reclassify(error, base)
    theirs.message = message
    theirs.args = (message,)
    return theirs
