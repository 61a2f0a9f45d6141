"""The options of a node that `Node` takes by keyword besides those it names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from dqlite._options import TLS

Path = str | os.PathLike[str]
Level = Literal["error", "warn", "info", "debug", "trace"]


class NodeOptions(TypedDict, total=False):
    """Each means its default when absent or None; times without a unit are seconds."""

    unix_socket: Path | bool | None
    initial_state: Literal["auto", "new", "existing"] | None
    failure_domain: int | None
    weight: int | None
    snapshot_threshold: int | None
    snapshot_trailing: int | None
    snapshot_trailing_strategy: Literal["static", "dynamic"] | None
    block_size_bytes: int | None
    worker_threads: int | None
    manage_roles: bool | None
    voters: int | None
    standbys: int | None
    two_node: Literal["standby", "spare", "voters"] | None
    roles_interval: float | None
    offline_after: float | None
    handover_on_stop: bool | None
    handover_timeout: float | None
    tls_cert: Path | None
    tls_key: Path | None
    tls_ca: Path | None
    tls_server_name: str | None
    tls_min_version: Literal["1.3", "1.2"] | None
    tls_admin: Sequence[str] | None
    tls_reload_interval: float | None
    tls_max_stream_age: float | None
    watchdog_timeout: float | None
    max_connections: int | None
    max_frame_bytes: int | None
    max_reply_bytes: int | None
    handshake_timeout: float | None
    idle_timeout: float | None
    idle_in_transaction_timeout: float | None
    progress_timeout: float | None
    statement_timeout: float | None
    keepalive: tuple[int, int, int] | None
    user_timeout_ms: int | None
    log_level: Level | None
    trace_sql: Level | Literal["off"] | None
    slow_statement_ms: int | None
    leader_probe_limit: int | None
    engine: Path | None
    executable: Path | None
    start_timeout: float | None
    ready_grace: float | None
    stop_timeout: float | None
    restart: Literal["on-crash", "never"] | None
    restart_limit: tuple[int, float] | None
    env: Mapping[str, str] | None


def present(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def own_tls(options: dict[str, Any]) -> TLS | None:
    """Return the certificates of a node with these options, to connect with."""
    files: list[Any] = [
        options.get(name) for name in ("tls_ca", "tls_cert", "tls_key", "tls_server_name")
    ]
    return None if files[0] is None else TLS(*files)
