"""What a call may not do here, and what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sized
from typing import Any, TypeAlias, cast

from dqlite import _native
from dqlite import exceptions as canonical
from dqlite._face import reclassify
from dqliteclient._validate import get_current_pid
from dqliteclient.exceptions import DataError, InterfaceError, ProtocolError

DialFunc: TypeAlias = Callable[[str], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Opens the stream to ``host:port``."""


def after_fork(what: str, pid: int) -> str:
    """Return the text that tells a child process what to do."""
    return (
        f"{what} used after fork; reconstruct it in the child process "
        f"(created in pid {pid}, current pid {get_current_pid()})"
    )


class Home:
    """The process and the event loop that something belongs to."""

    def __init__(self, process_name: str, loop_name: str) -> None:
        """Take this process, and the first loop that comes; the names are for the errors."""
        self._names = (process_name, loop_name)
        self._pid = get_current_pid()
        self._loop: asyncio.AbstractEventLoop | None = None

    def is_forked(self) -> bool:
        """Whether this is another process."""
        return get_current_pid() != self._pid

    def check(self) -> None:
        """Raise InterfaceError anywhere else."""
        if self.is_forked():
            raise InterfaceError(after_fork(self._names[0], self._pid))
        loop = asyncio.get_running_loop()
        if self._loop not in {None, loop}:
            text = f"{self._names[1]} is bound to a different event loop"
            raise InterfaceError(text)
        self._loop = loop


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


def rows_given(done: Any) -> int:
    """Return how many rows a statement gave, as far as they were asked for."""
    rows = done.rows if isinstance(done, _native.Result) else done
    return len(cast("list[Any]", rows)) if isinstance(rows, list) else 0


def too_many_rows(limit: int) -> canonical.Error:
    """Return the error for a result above `max_total_rows`: theirs and ours."""
    text = f"wire decode failed: more rows than max_total_rows={limit}"
    return reclassify(canonical.DataError(text), ProtocolError)
