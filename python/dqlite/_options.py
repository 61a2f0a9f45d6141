"""The options of `connect`: given, from the environment, or default."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import EllipsisType
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from dqlite import _native, exceptions

Timeout: TypeAlias = float | EllipsisType | None
"""Seconds, None for no deadline, or ``...`` for the connection's own."""

Types: TypeAlias = Literal["auto", "strict", "raw"]
"""How DATE, DATETIME, TIMESTAMP and BOOLEAN columns are read.

``auto``: as date, time, datetime and bool where the text or number allows it; ``strict``: the same,
and DataError where not; ``raw``: as the str and int that the wire carries.
"""


BYTES_MAX: Final = 64 << 20
"""Where nothing is said about that: the largest message, and the largest part of an unread result
that is set aside."""

Host: TypeAlias = str | tuple[str, str]
"""``host:port``, or the path of a Unix socket and the address of the node behind it."""


@runtime_checkable
class HasHosts(Protocol):
    """Something that knows where a cluster is: a Node or a Client."""

    def connection_targets(self) -> list[Host]:
        """Addresses in the order in which to try them."""
        ...


class TLS(NamedTuple):
    """Certificates and keys, each the path of a PEM file or its content as bytes.

    ::

        tls = dqlite.TLS("ca.pem", "app.pem", "app.key")
        conn = dqlite.connect(["h1:9001", "h2:9001"], tls=tls)

    `ca` holds those who may sign the servers' certificates. Servers want to see a certificate,
    `cert`, whose `key` is ours. A server must be called as the host that is dialled, or all of them
    `server_name`. Files are read again when they change.
    """

    ca: str | os.PathLike[str] | bytes
    cert: str | os.PathLike[str] | bytes | None = None
    key: str | os.PathLike[str] | bytes | None = None
    server_name: str | None = None


@runtime_checkable
class HasTLS(Protocol):
    """Something that knows how its cluster is secured: a Node or a Client."""

    def connection_tls(self) -> TLS | bool | None:
        """Certificates to connect with, if it speaks TLS; True for those of the environment."""
        ...


Target: TypeAlias = str | os.PathLike[str] | Sequence[str] | HasHosts
"""Where to connect: URL, ``host:port``, a list of these, a Node, a Client, or the path of a node
store (a YAML file as go-dqlite writes it, or a directory with one)."""


class Options(NamedTuple):
    """Checked options of one connection or pool."""

    config: _native.Config
    timeout: float | None
    busy_timeout: float
    types: Types
    reconnect: bool
    name: str


def options(
    target: Target | None,
    *,
    database: str | None,
    timeout: Timeout,
    connect_timeout: float | EllipsisType,
    busy_timeout: float,
    types: Types,
    reconnect: bool,
    name: str | None,
    tls: TLS | bool | None = None,
    statement_cache_size: int = 128,
    max_rows: int | None = None,
    max_frame_bytes: int = BYTES_MAX,
    max_buffered_bytes: int = BYTES_MAX,
) -> Options:
    """Check everything before anything is sent; ProgrammingError names what is wrong.

    A time of ``...`` is that of the URL, else of the environment, else the default.
    """
    for word, seconds in (("timeout", timeout), ("connect_timeout", connect_timeout)):
        if seconds is None or seconds is ...:
            continue
        if not (_is_number(seconds) and 0 < seconds < float("inf")):
            text = f"{word} must be a positive number of seconds, got {seconds!r}"
            raise exceptions.ProgrammingError(text)
    if not (_is_number(busy_timeout) and 0 <= busy_timeout < float("inf")):
        text = f"busy_timeout must be a number of seconds, 0 or more, got {busy_timeout!r}"
        raise exceptions.ProgrammingError(text)
    if types not in {"auto", "strict", "raw"}:
        text = f"types must be auto, strict or raw, got {types!r}"
        raise exceptions.ProgrammingError(text)
    config = _native.Config(
        None if target is None else hosts(target),
        database=database,
        connect_timeout=None if connect_timeout is ... else connect_timeout,
        tls=security(target, tls),
        statements=_count("statement_cache_size", statement_cache_size, least=0),
        max_rows=None if max_rows is None else _count("max_rows", max_rows, least=0),
        max_frame_bytes=_count("max_frame_bytes", max_frame_bytes, least=4096),
        max_buffered_bytes=_count("max_buffered_bytes", max_buffered_bytes, least=0),
    )
    return Options(
        config,
        config.timeout if timeout is ... else timeout,
        busy_timeout,
        types,
        reconnect,
        config.database if name is None else name,
    )


def hosts(target: Target) -> str | list[Host]:
    """Return the target as the native module reads it."""
    if isinstance(target, HasHosts):
        return target.connection_targets()
    if isinstance(target, str):
        return _encodable(target)
    if isinstance(target, os.PathLike):
        return f"file:{os.path.abspath(target)}"  # noqa: PTH100 - resolving links is not asked for
    try:
        return [_host(host) for host in target]
    except TypeError:
        text = f"connect to a URL, 'h1:9001', a list of these, a Node or a Client, not {target!r}"
        raise exceptions.ProgrammingError(text) from None


def security(target: Target | None, tls: TLS | bool | None) -> Any:
    """Return what was said about TLS as the native module reads it."""
    if tls is None and isinstance(target, HasTLS):
        tls = target.connection_tls()
    if not isinstance(tls, TLS):
        return tls
    return tuple(os.fspath(part) if isinstance(part, os.PathLike) else part for part in tls)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float))


def _count(word: str, value: Any, least: int) -> int:
    if not isinstance(value, int) or value < least:
        text = f"{word} must be a whole number from {least} on, got {value!r}"
        raise exceptions.ProgrammingError(text)
    return value


def _host(host: Any) -> str:
    if not isinstance(host, str):
        text = f"a host must be text like 'h1:9001', got {host!r}"
        raise exceptions.ProgrammingError(text)
    return _encodable(host)


def _encodable(target: str) -> str:
    try:
        target.encode()
    except UnicodeEncodeError as error:
        text = f"{target!r} holds a lone surrogate"
        raise exceptions.ProgrammingError(text) from error
    return target


def seconds_left(deadline: float | None, now: float) -> float | None:
    """Return what remains until `deadline`, never below zero."""
    return None if deadline is None else max(deadline - now, 0.0)
