"""What stdlib ``sqlite3`` has and a remote database has not; each says so by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

from dqlite.exceptions import NotSupportedError

_TWO_PHASE: Final = "there are no two-phase commits"
_INSIDE: Final = "it would have to run inside the node"
_NODES: Final = "it is the node's, which other clients share"


def _refusal(name: str, why: str) -> Callable[..., NoReturn]:
    def method(_self: Any, *_args: Any, **_options: Any) -> NoReturn:
        text = f"{name}() is not supported: {why}"
        raise NotSupportedError(text)

    method.__name__ = name
    method.__qualname__ = f"Refused.{name}"
    method.__doc__ = f"Raise NotSupportedError: {why}."
    return method


class Refused:
    """The methods that cannot work here."""

    tpc_begin = _refusal("tpc_begin", _TWO_PHASE)
    tpc_prepare = _refusal("tpc_prepare", _TWO_PHASE)
    tpc_commit = _refusal("tpc_commit", _TWO_PHASE)
    tpc_rollback = _refusal("tpc_rollback", _TWO_PHASE)
    tpc_recover = _refusal("tpc_recover", _TWO_PHASE)
    xid = _refusal("xid", _TWO_PHASE)
    create_function = _refusal("create_function", _INSIDE)
    create_aggregate = _refusal("create_aggregate", _INSIDE)
    create_window_function = _refusal("create_window_function", _INSIDE)
    create_collation = _refusal("create_collation", _INSIDE)
    set_authorizer = _refusal("set_authorizer", _INSIDE)
    set_progress_handler = _refusal("set_progress_handler", _INSIDE)
    enable_load_extension = _refusal("enable_load_extension", _INSIDE)
    load_extension = _refusal("load_extension", _INSIDE)
    getlimit = _refusal("getlimit", _NODES)
    setlimit = _refusal("setlimit", _NODES)
    getconfig = _refusal("getconfig", _NODES)
    setconfig = _refusal("setconfig", _NODES)
    deserialize = _refusal("deserialize", "a cluster's data is not replaced by a connection")
    blobopen = _refusal("blobopen", "the protocol has no incremental blobs")
