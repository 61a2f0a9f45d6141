"""What sync and asyncio connections have in common: checked arguments, state, refusals."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, Final, NoReturn

from dqlite import _native
from dqlite._options import Options, options
from dqlite.exceptions import (
    DataError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)
from dqliteclient import (
    CLOSE_TIMEOUT_FLOOR,
    CLOSE_TIMEOUT_FLOOR_RATIONALE,
    DialFunc,
    parse_address,
    validate_positive_int_or_none,
    validate_timeout,
)
from dqlitedbapi._sql import default_session_mode, validate_session_mode
from dqlitedbapi.exceptions import ErrorAttributes
from dqlitedbapi.types import RowFactory

TYPED: Final = _native.Projection("result", "tuple", "client", tags=True)
"""All rows as tuples, with the wire type of each cell."""

LEVELS: Final = frozenset({"", "DEFERRED", "IMMEDIATE", "EXCLUSIVE"})


class Common(ErrorAttributes):
    """Arguments, checked when they are given, and what becomes of the session.

    A lost session stays lost: the connection is `invalidated`, and `closed`.
    """

    def __init__(
        self,
        address: str,
        *,
        database: str,
        timeout: float,
        max_total_rows: int | None,
        max_continuation_frames: int | None,
        max_message_size: int | None,
        close_timeout: float,
        dial_timeout: float | None,
        attempt_timeout: float | None,
        dial_func: DialFunc | None,
        busy_timeout: float,
        session_mode: str | None,
    ) -> None:
        """Check all of them; ProgrammingError names what is wrong."""
        _check_address(address, database)
        try:
            self._busy_timeout = _checked_busy_timeout(busy_timeout)
            for name, seconds in (
                ("timeout", timeout),
                ("dial_timeout", dial_timeout),
                ("attempt_timeout", attempt_timeout),
            ):
                if seconds is not None:
                    validate_timeout(seconds, name=name)
            validate_timeout(
                close_timeout,
                name="close_timeout",
                min_value=CLOSE_TIMEOUT_FLOOR,
                min_value_rationale=CLOSE_TIMEOUT_FLOOR_RATIONALE,
            )
            for name, number in (
                ("max_total_rows", max_total_rows),
                ("max_continuation_frames", max_continuation_frames),
                ("max_message_size", max_message_size),
            ):
                validate_positive_int_or_none(number, name)
            self._session_mode = (
                default_session_mode()
                if session_mode is None
                else validate_session_mode(session_mode)
            )
        except (TypeError, ValueError) as error:
            raise ProgrammingError(str(error)) from error
        if dial_func is not None:
            text = "dial_func is not supported: connections own their socket"
            raise NotSupportedError(text)
        self._address = address
        self._database = database
        self._timeout = timeout
        self._connect_timeout = min(
            timeout if seconds is None else seconds for seconds in (dial_timeout, attempt_timeout)
        )
        self._default_session_mode = self._session_mode
        self._max_total_rows = max_total_rows
        self._closed = False
        self._invalidated = False
        self._in_block = False
        self._row_factory: RowFactory | None = None
        self._autocommit: bool | int = True
        self._isolation_level: str | None = None
        self._total_changes = 0
        self._pid = os.getpid()
        self.messages: list[tuple[type[Exception], Exception]] = []

    @property
    def address(self) -> str:
        """The address given."""
        return self._address

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its session was lost."""
        return self._closed or self._invalidated

    @property
    def invalidated(self) -> bool:
        """Whether the session was lost before anybody closed it."""
        return self._invalidated and not self._closed

    @property
    def session_mode(self) -> str:
        """How a bare BEGIN begins: immediate, exclusive, deferred, or read_only."""
        return self._session_mode

    @property
    def default_session_mode(self) -> str:
        """The mode at first; what a pool resets to."""
        return self._default_session_mode

    @property
    def busy_timeout(self) -> float:
        """How long a statement that meets a taken lock is tried again, in seconds."""
        return self._busy_timeout

    @busy_timeout.setter
    def busy_timeout(self, value: float) -> None:
        self._check_caller()
        try:
            self._busy_timeout = _checked_busy_timeout(value)
        except (TypeError, ValueError) as error:
            raise ProgrammingError(str(error)) from error

    @property
    def max_total_rows(self) -> int | None:
        """More rows than that are an OperationalError, and end the session."""
        return self._max_total_rows

    @property
    def row_factory(self) -> RowFactory | None:
        """What new cursors make of a row; None for tuples."""
        return self._row_factory

    @row_factory.setter
    def row_factory(self, value: RowFactory | None) -> None:
        self._check_caller()
        self._row_factory = checked_factory(value)

    @property
    def text_factory(self) -> type[str]:
        """Always str."""
        return str

    @text_factory.setter
    def text_factory(self, value: type[str]) -> None:
        self._check_caller()
        if value is not str:
            text = "text_factory is not supported; TEXT is always returned as str"
            raise NotSupportedError(text)

    @property
    def autocommit(self) -> bool | int:
        """On: statements stand by themselves until somebody says BEGIN."""
        return self._autocommit

    @autocommit.setter
    def autocommit(self, value: bool | int) -> None:
        self._check_caller()
        if value is not True and (isinstance(value, bool) or value != -1):
            text = "autocommit cannot be turned off; use explicit BEGIN and COMMIT"
            raise NotSupportedError(text)
        self._autocommit = value

    @property
    def isolation_level(self) -> str | None:
        """Accepted as stdlib ``sqlite3`` has it; without effect."""
        return self._isolation_level

    @isolation_level.setter
    def isolation_level(self, value: str | None) -> None:
        self._check_caller()
        given: Any = value
        if given is not None and (not isinstance(given, str) or given.upper() not in LEVELS):
            text = f"isolation_level must be None or one of {sorted(LEVELS)!r}; got {given!r}"
            raise ProgrammingError(text)
        self._isolation_level = None if value is None else value.upper()

    def apply_stdlib(self, stdlib: dict[str, Any]) -> None:
        """Take the keywords of ``sqlite3.connect`` that mean something; refuse the others."""
        if "isolation_level" in stdlib:
            self.isolation_level = stdlib.pop("isolation_level")
        if "autocommit" in stdlib:
            self.autocommit = stdlib.pop("autocommit")
        if stdlib:
            text = f"connect() does not support stdlib sqlite3 keyword(s) {sorted(stdlib)}"
            raise NotSupportedError(text)

    def refuse_keywords(self, unsupported: dict[str, object]) -> None:
        """Raise if `cursor` was given anything."""
        if unsupported:
            text = f"cursor() does not support keyword(s) {sorted(unsupported)}"
            raise NotSupportedError(text)

    def changed(self, rows: int) -> None:
        """Count rows that INSERT, UPDATE and DELETE changed. For cursors."""
        self._total_changes += rows

    def check_usable(self) -> None:
        """Raise if no statement may be sent. For cursors."""
        self._check_process()
        if self._closed:
            text = f"Connection is closed (id={id(self)})"
            raise InterfaceError(text)
        if self._invalidated:
            text = (
                f"Connection invalidated (id={id(self)}): the session was lost; "
                "open a new connection"
            )
            raise InterfaceError(text)

    def _check_caller(self) -> None:
        """Raise if the caller may not touch this."""

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            text = (
                "Connection used after fork; reconstruct it in the child process "
                f"(created in pid {self._pid}, current pid {os.getpid()})"
            )
            raise InterfaceError(text)

    def _check_outside(self, method: str) -> None:
        if self._in_block:
            text = f"{method}() cannot be called inside transaction(): the context manager ends it"
            raise InterfaceError(text)

    def _check_not_nested(self) -> None:
        if self._in_block:
            text = "Nested transaction() blocks are not supported; use SAVEPOINT"
            raise InterfaceError(text)

    def _checked_mode(self, mode: str) -> str:
        try:
            return validate_session_mode(mode)
        except ValueError as error:
            raise ProgrammingError(str(error)) from error

    def _options(self) -> Options:
        return options(
            self._address,
            database=self._database,
            timeout=self._timeout,
            connect_timeout=self._connect_timeout,
            busy_timeout=0.0,
            types="raw",
            reconnect=False,
            name=None,
        )

    def _state_name(self, connected: bool) -> str:
        if self._closed:
            return "closed"
        if self._invalidated:
            return "invalidated"
        return "connected" if connected else "unused"

    def __reduce__(self) -> NoReturn:
        """Refuse: a socket cannot be pickled."""
        text = (
            f"cannot pickle {type(self).__name__!r}: it owns a live socket; "
            "reconstruct the connection from its arguments in the consumer process"
        )
        raise TypeError(text)


def checked_factory(value: Any) -> Callable[..., Any] | None:
    """Return a row factory; ProgrammingError if it cannot be called."""
    if value is None or callable(value):
        return value
    text = f"row_factory must be callable or None, got {type(value).__name__}"
    raise ProgrammingError(text)


def too_many_rows(limit: int, given: int) -> OperationalError:
    """Return the error for a result above `max_total_rows`."""
    return OperationalError(f"a result of {given} rows exceeds max_total_rows={limit}")


def too_many_returned(limit: int, given: int) -> DataError:
    """Return the error for executions that returned more than `max_total_rows` together."""
    text = f"executemany accumulated {given} RETURNING rows; exceeds max_total_rows={limit}"
    return DataError(text)


def _check_address(address: Any, database: Any) -> None:
    if not isinstance(address, str):
        text = f"address must be a 'host:port' string, got {type(address).__name__}"
        raise ProgrammingError(text)
    try:
        parse_address(address)
    except ValueError as error:
        text = f"Invalid address: {error}"
        raise ProgrammingError(text) from error
    if not isinstance(database, str) or not database or database != database.strip():
        text = "database must be a non-empty string without surrounding whitespace"
        raise ProgrammingError(text)


def _checked_busy_timeout(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        text = f"busy_timeout must be a number (seconds), got {type(value).__name__}"
        raise TypeError(text)
    if not math.isfinite(value) or value < 0:
        text = f"busy_timeout must be a non-negative finite number, got {value}"
        raise ValueError(text)
    return float(value)
