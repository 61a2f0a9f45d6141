"""Ours to theirs: what `Node` and `Client` of this package raise is of both trees."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Final, TypeAlias

from dqlite import exceptions as canonical
from dqlite._face import face, reclassify
from dqlitepy import exceptions

_Bases: TypeAlias = list[tuple[type[canonical.Error], type[exceptions.DqliteError]]]

_NODE_BASES: Final[_Bases] = [
    (canonical.NoLeaderError, exceptions.NoLeaderError),
    (
        canonical.EngineNotFoundError,
        face(exceptions.NodeStartError, exceptions.DqliteLibraryNotFound),
    ),
    (canonical.NodeStartError, exceptions.NodeStartError),
    (canonical.NodeStopError, exceptions.NodeStopError),
    (canonical.NodeAlreadyRunningError, exceptions.NodeAlreadyRunningError),
    (canonical.NodeNotRunningError, exceptions.NodeNotRunningError),
    (
        canonical.LeadershipLostError,
        face(exceptions.NodeError, exceptions.ClusterQuorumLostError),
    ),
    (canonical.ClusterError, face(exceptions.NodeError, exceptions.ClusterError)),
    (canonical.Error, exceptions.NodeError),
]

_CLIENT_BASES: Final[_Bases] = [
    (canonical.NoLeaderError, exceptions.NoLeaderError),
    (canonical.ClusterError, face(exceptions.ClientError, exceptions.ClusterJoinError)),
    (canonical.ConnectionFailedError, exceptions.ClientConnectionError),
    (
        canonical.LeadershipLostError,
        face(exceptions.ClientError, exceptions.ClusterQuorumLostError),
    ),
    (canonical.Error, exceptions.ClientError),
]

_UNREACHABLE: Final = {"refused", "timeout", "unreachable", "unresolved", "closed"}
"""The kinds of attempts that met nobody."""


@contextlib.contextmanager
def node_errors(context: str, node_id: int, node_address: str) -> Generator[None, None, None]:
    """Raise errors of the block as NodeError, naming the operation and the node."""
    try:
        yield
    except exceptions.DqliteError:
        raise
    except canonical.Error as error:
        old = _translated(error, _NODE_BASES, context)
        if isinstance(old, canonical.NodeError):
            old.node_id = node_id or None
            old.node_address = node_address
        raise old.with_traceback(error.__traceback__) from error.__cause__


@contextlib.contextmanager
def client_errors(
    context: str, base: type[exceptions.ClientError] = exceptions.ClientError
) -> Generator[None, None, None]:
    """Raise errors of the block as ClientError (and `base`), naming the operation."""
    try:
        yield
    except exceptions.DqliteError:
        raise
    except canonical.Error as error:
        old = reclassify(_translated(error, _CLIENT_BASES, context), base)
        raise old.with_traceback(error.__traceback__) from error.__cause__


def _translated(error: canonical.Error, bases: _Bases, context: str) -> exceptions.DqliteError:
    base = next(base for kind, base in bases if isinstance(error, kind))
    if isinstance(error, canonical.NoLeaderError) and _quorum_is_lost(error):
        base = face(base, exceptions.ClusterQuorumLostError)
    old = reclassify(error, base)
    old.context = context
    if old.code is None:
        old.code = -1
    return old


def _quorum_is_lost(error: canonical.NoLeaderError) -> bool:
    # A node of this process is asked twice, over its socket and over its address.
    kinds = [kind for address, kind, _, _ in error.attempts if not address.startswith("/")]
    return sum(kind in _UNREACHABLE for kind in kinds) * 2 > len(kinds) > 1
