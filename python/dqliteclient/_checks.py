"""What a call may not do here, and what it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator, Iterable, Mapping, Sized
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from dqlite import exceptions as canonical
from dqlite._face import reclassify
from dqliteclient._validate import get_current_pid
from dqliteclient.exceptions import DataError, InterfaceError, ProtocolError

if TYPE_CHECKING:
    from dqlite.aio._core import Core


def after_fork(what: str, pid: int) -> str:
    """Return the text that tells a child process what to do."""
    return (
        f"{what} used after fork; reconstruct it in the child process "
        f"(created in pid {pid}, current pid {get_current_pid()})"
    )


class Home:
    """The process and the event loop that something belongs to."""

    def __init__(self, process_name: str, loop_name: str, pid: int) -> None:
        """Take this process, and the first loop that comes; the names are for the errors."""
        self._names = (process_name, loop_name)
        self._pid = pid
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


class Limits(NamedTuple):
    """What one query may bring; None is no limit."""

    max_total_rows: int | None
    max_continuation_frames: int | None
    max_message_size: int | None

    def apply(self, core: Core) -> None:
        """Let the session refuse larger messages."""
        if self.max_message_size is not None and core.session is not None:
            core.session.limit_replies(self.max_message_size)

    def check(self, rows: int, frames: int) -> None:
        """Raise if there are more rows, or messages behind the first one, than allowed."""
        if self.max_total_rows is not None and rows > self.max_total_rows:
            text = f"more rows than max_total_rows={self.max_total_rows}"
            raise _beyond(text)
        if self.max_continuation_frames is not None and frames - 1 > self.max_continuation_frames:
            text = f"more messages than max_continuation_frames={self.max_continuation_frames}"
            raise _beyond(text)

    @contextlib.contextmanager
    def named(self) -> Generator[None, None, None]:
        """Name the limit when the session refuses a message."""
        try:
            yield
        except canonical.ProtocolError as error:
            if self.max_message_size is None or isinstance(error, canonical.DataError):
                raise
            text = f"{error} (max_message_size={self.max_message_size})"
            raise _beyond(text) from error


def _beyond(what: str) -> canonical.Error:
    """Return the error for a result above a limit: theirs and ours."""
    text = f"wire decode failed: {what}"
    return reclassify(canonical.DataError(text), ProtocolError)
