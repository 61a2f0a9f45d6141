"""What a call may not do here, and what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sized
from typing import Any, TypeAlias, cast

from dqlite import exceptions as canonical
from dqlite._face import reclassify
from dqliteclient._validate import get_current_pid
from dqliteclient.exceptions import DataError, ProtocolError

DialFunc: TypeAlias = Callable[[str], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Opens the stream to ``host:port``."""


def after_fork(what: str, pid: int) -> str:
    """Return the text that tells a child process what to do."""
    return (
        f"{what} used after fork; reconstruct it in the child process "
        f"(created in pid {pid}, current pid {get_current_pid()})"
    )


def refuse_dial_func(dial_func: DialFunc | None) -> None:
    """Raise if a foreign stream is to be used."""
    if dial_func is not None:
        text = "dial_func is not supported: connections own their socket"
        raise canonical.NotSupportedError(text)


def values(params: object) -> list[Any]:
    """Return the parameter set as a list; DataError if it has no order or no size."""
    kind = type(params).__name__
    if isinstance(params, (str, bytes, bytearray, memoryview, Mapping, set, frozenset)):
        text = f"params must be a sequence of values, not {kind}"
        raise DataError(text)
    if not isinstance(params, Sized):
        text = f"params must be a sized sequence, not {kind}"
        raise DataError(text)
    return list(cast("Iterable[Any]", params))


def too_many_rows(limit: int) -> canonical.Error:
    """Return the error for a result above `max_total_rows`: theirs and ours."""
    text = f"wire decode failed: more rows than max_total_rows={limit}"
    return reclassify(canonical.DataError(text), ProtocolError)
