"""What stdlib ``sqlite3`` and PEP 249 have and a remote database has not."""

from __future__ import annotations

from typing import Any, NoReturn

from dqlite import exceptions


class Refused:
    """The methods that cannot work; each says so by its name."""

    def create_function(self, *_args: Any, **_options: Any) -> NoReturn:
        """Raise NotSupportedError: functions would have to run inside the node."""
        _impossible("create_function", "functions would have to run inside the node")

    def create_aggregate(self, *_args: Any, **_options: Any) -> NoReturn:
        """Raise NotSupportedError: functions would have to run inside the node."""
        _impossible("create_aggregate", "functions would have to run inside the node")

    def create_window_function(self, *_args: Any, **_options: Any) -> NoReturn:
        """Raise NotSupportedError: functions would have to run inside the node."""
        _impossible("create_window_function", "functions would have to run inside the node")

    def create_collation(self, *_args: Any, **_options: Any) -> NoReturn:
        """Raise NotSupportedError: collations would have to run inside the node."""
        _impossible("create_collation", "collations would have to run inside the node")

    def set_authorizer(self, *_args: Any, **_options: Any) -> NoReturn:
        """Raise NotSupportedError: the node has its own."""
        _impossible("set_authorizer", "the node has its own")

    def set_progress_handler(self, *_args: Any, **_options: Any) -> NoReturn:
        """Raise NotSupportedError: use timeouts."""
        _impossible("set_progress_handler", "statements are ended by timeout=")

    def enable_load_extension(self, *_args: Any, **_options: Any) -> NoReturn:
        """Raise NotSupportedError: extensions would have to run inside the node."""
        _impossible("enable_load_extension", "extensions would have to run inside the node")

    def load_extension(self, *_args: Any, **_options: Any) -> NoReturn:
        """Raise NotSupportedError: extensions would have to run inside the node."""
        _impossible("load_extension", "extensions would have to run inside the node")

    def blobopen(self, *_args: Any, **_options: Any) -> NoReturn:
        """Raise NotSupportedError: the protocol has no incremental blobs."""
        _impossible("blobopen", "the protocol has no incremental blobs")

    def deserialize(self, *_args: Any, **_options: Any) -> NoReturn:
        """Raise NotSupportedError: a cluster is not replaced through one connection."""
        _impossible("deserialize", "a cluster's data is not replaced through one connection")

    def getlimit(self, *_args: Any) -> NoReturn:
        """Raise NotSupportedError: limits are the node's."""
        _impossible("getlimit", "limits are the node's")

    def setlimit(self, *_args: Any) -> NoReturn:
        """Raise NotSupportedError: limits are the node's."""
        _impossible("setlimit", "limits are the node's")

    def getconfig(self, *_args: Any) -> NoReturn:
        """Raise NotSupportedError: the configuration is the node's."""
        _impossible("getconfig", "the configuration is the node's")

    def setconfig(self, *_args: Any) -> NoReturn:
        """Raise NotSupportedError: the configuration is the node's."""
        _impossible("setconfig", "the configuration is the node's")

    def xid(self, *_args: Any) -> NoReturn:
        """Raise NotSupportedError: there are no two-phase commits."""
        _impossible("xid", "there are no two-phase commits")

    def tpc_begin(self, *_args: Any) -> NoReturn:
        """Raise NotSupportedError: there are no two-phase commits."""
        _impossible("tpc_begin", "there are no two-phase commits")

    def tpc_prepare(self, *_args: Any) -> NoReturn:
        """Raise NotSupportedError: there are no two-phase commits."""
        _impossible("tpc_prepare", "there are no two-phase commits")

    def tpc_commit(self, *_args: Any) -> NoReturn:
        """Raise NotSupportedError: there are no two-phase commits."""
        _impossible("tpc_commit", "there are no two-phase commits")

    def tpc_rollback(self, *_args: Any) -> NoReturn:
        """Raise NotSupportedError: there are no two-phase commits."""
        _impossible("tpc_rollback", "there are no two-phase commits")

    def tpc_recover(self, *_args: Any) -> NoReturn:
        """Raise NotSupportedError: there are no two-phase commits."""
        _impossible("tpc_recover", "there are no two-phase commits")


def _impossible(method: str, why: str) -> NoReturn:
    text = f"{method}() is not possible on a remote database: {why}"
    raise exceptions.NotSupportedError(text)
