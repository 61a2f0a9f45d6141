"""When a transaction begins by itself: PEP 249's rules and those of stdlib ``sqlite3``. Pure."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

from dqlite import exceptions

LEGACY_TRANSACTION_CONTROL: Final = -1
"""The ``autocommit`` under which writes begin a transaction and nothing else does."""

SessionMode: TypeAlias = Literal["auto", "immediate", "deferred", "exclusive", "read_only"]
"""How a transaction begins under ``autocommit=False``.

``auto``: deferred if it begins with a read, as `isolation_level` says if with a write; the others:
always so. ``read_only`` is deferred, and writes are refused.
"""

_LEVELS: Final = {"": "DEFERRED", "DEFERRED": "DEFERRED"}
_LEVELS.update({word: word for word in ("IMMEDIATE", "EXCLUSIVE")})
_CHANGING: Final = frozenset({"insert", "update", "delete", "replace"})
_READING: Final = frozenset({"select", "values", "explain"})
# They cannot run inside a transaction, end one, or are about the connection and not about data.
_OUTSIDE: Final = frozenset(
    {"attach", "begin", "commit", "detach", "empty", "pragma", "release", "rollback", "vacuum"}
) | {"rollback to"}


def check_reads(verb: str, writes: bool) -> None:
    """Refuse a write inside a block that may only read."""
    if writes and verb not in _OUTSIDE | {"savepoint"}:
        text = f"the transaction is read-only: {verb.upper()} is refused"
        raise exceptions.ProgrammingError(text, outcome="not_sent")


class Control:
    """The transaction control of one connection.

    A deferred transaction that reads first and writes later fails as soon as somebody else has
    committed in between, and waiting does not cure it: hence IMMEDIATE by default.
    """

    __slots__ = ("_autocommit", "_isolation_level", "_session_mode", "manual")

    def __init__(
        self, autocommit: bool | int = True, isolation_level: str | None = "IMMEDIATE"
    ) -> None:
        """Start with checked values; ProgrammingError names a wrong one."""
        self.autocommit = autocommit
        self.isolation_level = isolation_level
        self._session_mode: SessionMode = "auto"

    @property
    def autocommit(self) -> bool | int:
        """True, False or `LEGACY_TRANSACTION_CONTROL`."""
        return self._autocommit

    @autocommit.setter
    def autocommit(self, value: bool | int) -> None:
        if value is not True and value is not False and value != LEGACY_TRANSACTION_CONTROL:
            text = f"autocommit must be True, False or LEGACY_TRANSACTION_CONTROL, got {value!r}"
            raise exceptions.ProgrammingError(text)
        self._autocommit = value
        self.manual = value is not True

    @property
    def isolation_level(self) -> str | None:
        """``"IMMEDIATE"``, ``"EXCLUSIVE"``, ``"DEFERRED"``, ``""`` (deferred) or None."""
        return self._isolation_level

    @isolation_level.setter
    def isolation_level(self, value: str | None) -> None:
        level = value.upper() if isinstance(value, str) else value
        if level is not None and level not in _LEVELS:
            text = f"isolation_level must be None or one of {sorted(_LEVELS)}, got {value!r}"
            raise exceptions.ProgrammingError(text)
        self._isolation_level = level

    @property
    def session_mode(self) -> SessionMode:
        """How transactions begin under ``autocommit=False``."""
        return self._session_mode

    @session_mode.setter
    def session_mode(self, value: SessionMode) -> None:
        if value not in get_args(SessionMode):
            text = f"session_mode must be one of {list(get_args(SessionMode))}, got {value!r}"
            raise exceptions.ProgrammingError(text)
        self._session_mode = value

    @property
    def commits_by_itself(self) -> bool:
        """Whether each statement stands by itself until somebody says BEGIN."""
        return self._autocommit is True

    @property
    def is_legacy(self) -> bool:
        """Whether it is stdlib's control from before Python 3.12."""
        return self.manual and self._autocommit is not False

    def begin_before(self, verb: str, *, writes: bool) -> str | None:
        """Return the BEGIN that must precede a statement outside a transaction, or None.

        `verb` is that of `_native.statement_verb`; `writes` whether the statement may write.
        """
        if self.commits_by_itself or verb in _OUTSIDE:
            return None
        level = _LEVELS.get(self._isolation_level or "", "DEFERRED")
        if self.is_legacy:
            begins = verb in _CHANGING and self._isolation_level is not None
            return f"BEGIN {level}" if begins else None
        if self._session_mode == "read_only":
            if writes:
                text = f"session_mode is read_only: {verb.upper()} is refused"
                raise exceptions.ProgrammingError(text, outcome="not_sent")
            return "BEGIN DEFERRED"
        if self._session_mode != "auto":
            return f"BEGIN {self._session_mode.upper()}"
        return f"BEGIN {level}" if writes or verb not in _READING else "BEGIN DEFERRED"

    def check(self, verb: str, *, writes: bool) -> None:
        """Refuse a write inside a read-only transaction."""
        if writes and self._session_mode == "read_only" and verb not in _OUTSIDE:
            self.begin_before(verb, writes=True)
