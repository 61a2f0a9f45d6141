"""The node of dqlitepy: `dqlite.Node` with its signature, return values and exceptions."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import dqlite
from dqlitepy import _ffi
from dqlitepy._translate import node_errors

__all__ = ["Node"]

_log = logging.getLogger("dqlitepy")


class Node(dqlite.Node):
    """A node that takes part in a replicated SQLite cluster; it runs as a supervised process.

    Everything its methods raise is a NodeError, and at the same time the exception of `dqlite`
    that says what happened.
    """

    def __init__(
        self,
        address: str,
        data_dir: str | Path,
        *,
        node_id: int | None = None,
        bind_address: str | None = None,
        cluster: list[str] | None = None,
        auto_recovery: bool | None = True,
        busy_timeout_ms: int | None = None,
        snapshot_compression: bool | None = None,
        network_latency_ms: int | None = None,
    ) -> None:
        """Check the arguments; nothing is started and no file is touched.

        Without `cluster` a node with `node_id` 1 or none is a database of its own, any other
        waits until a client adds it. With `cluster` it forms or joins that cluster. Times are
        milliseconds; None means the default, and so does True of `auto_recovery`.
        """
        self._face_address = str(address)
        with node_errors("node_create", 0, self._face_address):
            super().__init__(
                address,
                data_dir,
                node_id=node_id,
                bind_address=bind_address,
                cluster=cluster,
                auto_recovery=None if auto_recovery else auto_recovery,
                busy_timeout_ms=busy_timeout_ms,
                snapshot_compression=snapshot_compression,
                network_latency_ms=network_latency_ms,
                # Here a second node is a voter: so the published output says.
                two_node="voters",
                engine=_ffi.engine(),
            )

    def start(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - published
        """Start the node; it joins or forms its cluster by itself."""
        with self._errors("node_start"):
            super().start()

    def handover(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - published
        """Let another voter lead; nothing to do where this node does not."""
        with self._errors("node_handover"):
            super().handover()

    def stop(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - published
        """Hand over, drain and stop, in bounded time; does nothing when stopped."""
        if os.environ.get("DQLITEPY_BYPASS_STOP", "").lower() in {"1", "true", "yes"}:
            _log.debug("DQLITEPY_BYPASS_STOP is set and not needed: stopping is safe")
        with self._errors("node_stop"):
            super().stop()

    def close(self) -> None:
        """Stop and release everything; a closed node cannot start again."""
        with self._errors("node_close"):
            super().close()

    def open_db(self, db_name: str = "db.sqlite") -> None:
        """Open a database, or make an open one current; it is created if it does not exist."""
        with self._errors("node_open_db"):
            super().open_db(db_name)

    def exec(self, sql: str, params: Any = ()) -> tuple[int, int]:
        """Run a statement that gives no rows; return ``(last_insert_id, rows_affected)``."""
        with self._errors("node_exec"):
            return super().exec(sql, params)

    def query(self, sql: str, params: Any = ()) -> list[dict[str, Any]]:
        """Run a query; return one dict per row."""
        with self._errors("node_query"):
            return super().query(sql, params)

    def begin(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - published
        """Begin a transaction that holds the write lock from its start."""
        with self._errors("node_begin"):
            super().begin()

    def commit(self) -> None:
        """Commit the transaction."""
        with self._errors("node_commit"):
            super().commit()

    def rollback(self) -> None:
        """Roll the transaction back; fine if the server has done so already."""
        with self._errors("node_rollback"):
            super().rollback()

    def __enter__(self) -> Node:
        """Start the node unless it runs."""
        with self._errors("node_start"):
            super().__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Stop the node; an error there never hides an exception of the block."""
        super().__exit__(exc_type, exc, tb)

    def _errors(self, context: str) -> contextlib.AbstractContextManager[None]:
        return node_errors(context, self.id, self._face_address)
