"""The exceptions of dqlite-dbapi: ours, under the same names.

Two are composed where the older tree cuts differently: a refused redirect is an InterfaceError,
too, and broken protocol an OperationalError.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Final, NoReturn

from dqlite import exceptions as canonical
from dqlite._face import reclassify
from dqlite.exceptions import (
    AdapterLookupError,
    AmbiguousCommitError,
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    Warning,  # noqa: A004 - PEP 249 demands the name
)

__all__ = [
    "AMBIGUOUS_COMMIT_CODES",
    "CLUSTER_POLICY_REJECTION_PREFIX",
    "FAILED_TO_CONNECT_PREFIX",
    "AdapterLookupError",
    "AmbiguousCommitError",
    "DataError",
    "DatabaseError",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
    "Warning",
]

FAILED_TO_CONNECT_PREFIX: Final = "Failed to connect: "
CLUSTER_POLICY_REJECTION_PREFIX: Final = "Cluster policy rejection"
AMBIGUOUS_COMMIT_CODES: Final = frozenset({8458, 10506})
_STALE_READ: Final = 517  # what was read stays stale: waiting does not help
"""Codes of leadership lost, in both spellings."""


class ErrorAttributes:
    """PEP 249's exceptions as attributes of connections."""

    Warning = canonical.Warning
    Error = canonical.Error
    InterfaceError = canonical.InterfaceError
    DatabaseError = canonical.DatabaseError
    DataError = canonical.DataError
    OperationalError = canonical.OperationalError
    IntegrityError = canonical.IntegrityError
    InternalError = canonical.InternalError
    ProgrammingError = canonical.ProgrammingError
    NotSupportedError = canonical.NotSupportedError
    AmbiguousCommitError = canonical.AmbiguousCommitError


@contextlib.contextmanager
def connect_errors() -> Generator[None, None, None]:
    """Raise errors of a connect under these names, and with `FAILED_TO_CONNECT_PREFIX`."""
    try:
        yield
    except canonical.ClusterPolicyError as error:
        raise_translated(error)
    except Error as error:
        theirs = _as(error, OperationalError)
        _reword(theirs, f"{FAILED_TO_CONNECT_PREFIX}{error}")
        raise theirs.with_traceback(error.__traceback__) from error.__cause__


def raise_translated(error: Error) -> NoReturn:
    """Raise an error as this package would have; the same one if it is that already."""
    theirs = error
    if isinstance(error, canonical.ClusterPolicyError):
        theirs = _as(error, InterfaceError)
        _reword(theirs, f"{CLUSTER_POLICY_REJECTION_PREFIX}; {error}")
    elif isinstance(error, canonical.ProtocolError):
        theirs = _as(error, OperationalError)
    elif isinstance(error, AmbiguousCommitError):
        _reword(error, f"ambiguous commit: the write may or may not have been persisted: {error}")
    if theirs is error:
        raise error
    raise theirs.with_traceback(error.__traceback__) from error.__cause__


def is_busy(error: Error) -> bool:
    """Whether waiting may help: the write lock was taken."""
    stale = error.code == _STALE_READ
    return isinstance(error, canonical.BusyError) and error.retry != "no" and not stale


def is_no_transaction_error(exc: BaseException) -> bool:
    """Whether the server said that there is no transaction to end."""
    if not isinstance(exc, Error) or exc.code is None or exc.code & 0xFF != 1:
        return False
    return "no transaction is active" in exc.raw_message.lower()


def _as(error: Error, base: type[Error]) -> Error:
    return reclassify(error, base)


def _reword(error: Error, message: str) -> None:
    if error.message != message:
        error.message = message
        error.args = (message,)
