"""When a transaction is run again. Data and time in, data out; the rules are the Rust client's.

Only what is proven not to have happened is run again. A COMMIT whose fate is unknown proves nothing
unless the transaction carries a token: the first statement of the next run inserts it again, and is
refused if the earlier run took effect. Token and effect become durable together, or not at all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dqlite import exceptions

if TYPE_CHECKING:
    from dqlite._core import Call
    from dqlite.connection import Connection
    from dqlite.transaction import Mode

CREATE: Final = (
    "CREATE TABLE IF NOT EXISTS _dqlite_tokens"
    " (token BLOB PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID"
)
INSERT: Final = (
    "INSERT INTO _dqlite_tokens (token, at) VALUES (?, CAST(strftime('%s', 'now') AS INTEGER))"
)
FORGET: Final = "DELETE FROM _dqlite_tokens WHERE at < CAST(strftime('%s', 'now') AS INTEGER) - ?"
TOKEN_BYTES_MAX: Final = 1024
PAUSE_FIRST_S: Final = 0.01
PAUSE_MAX_S: Final = 1.0

T = TypeVar("T")


class Unset:
    """The type of `UNSET`: not even None was given."""


UNSET: Final = Unset()


class TokenUsed(Exception):  # noqa: N818 - a signal between two functions of ours
    """An earlier run with the token took effect."""


def new_token() -> bytes:
    """Return a token of its own for `run_transaction`."""
    return os.urandom(16)


def token_bytes(token: str | bytes) -> bytes:
    """Return a token as it is stored; ProgrammingError if it cannot be one."""
    data = token.encode() if isinstance(token, str) else bytes(token)
    if not 0 < len(data) <= TOKEN_BYTES_MAX:
        text = f"a token has 1 to {TOKEN_BYTES_MAX} bytes, not {len(data)}"
        raise exceptions.ProgrammingError(text)
    return data


def is_missing_table(error: exceptions.OperationalError) -> bool:
    """Whether no token was ever stored in this database."""
    return "no such table: _dqlite_tokens" in error.raw_message


def is_used(error: exceptions.IntegrityError) -> bool:
    """Whether a token is stored already."""
    return "_dqlite_tokens.token" in error.raw_message


class Reruns:
    """The runs of one transaction."""

    def __init__(self, *, attempts: int, timeout: float, has_token: bool, now: float) -> None:
        """Stand before the first run."""
        if attempts < 1 or not timeout > 0:
            text = f"attempts must be at least 1 and timeout positive: {attempts}, {timeout}"
            raise exceptions.ProgrammingError(text)
        self._left = attempts - 1
        self._deadline = now + timeout
        self._has_token = has_token
        self._pause = PAUSE_FIRST_S

    def seconds_left(self, now: float) -> float:
        """Return how long the runs may still take together."""
        return max(self._deadline - now, 0.0)

    def pause_after(self, error: exceptions.Error, now: float) -> float | None:
        """Seconds to wait before the next run; None if there is none."""
        unknown = error.outcome in {None, exceptions.Outcome.UNKNOWN}
        harmless = not unknown and error.retry != "no"
        in_doubt = isinstance(error, exceptions.AmbiguousCommitError) and self._has_token
        left = self.seconds_left(now)
        if not (harmless or in_doubt) or self._left == 0 or left == 0:
            return None
        self._left -= 1
        pause, self._pause = self._pause, min(self._pause * 2, PAUSE_MAX_S)
        # Half to all of it; the clock's last digits are random enough to part callers.
        return min(pause * (0.5 + now * 1e6 % 1 / 2), left)


class Doubt:
    """What is known of a run whose COMMIT was not answered."""

    def __init__(self) -> None:
        """Start without one."""
        self.error: exceptions.AmbiguousCommitError | None = None

    def note(self, error: exceptions.Error) -> None:
        """Remember an unanswered COMMIT."""
        if isinstance(error, exceptions.AmbiguousCommitError):
            self.error = error

    def settle(self, token: bytes, result: T, if_applied: object) -> T | object:
        """Say what the call gives when the token turns out to be used."""
        if self.error is not None:
            return result
        if if_applied is not UNSET:
            return if_applied
        text = "a transaction with this token took effect before"
        raise exceptions.AlreadyAppliedError(
            text, outcome="refused", retry="no", token=token
        ) from None


def run_transaction(
    connection: Connection,
    work: Callable[[], T],
    *,
    mode: Mode,
    attempts: int,
    timeout: float,
    token: str | bytes | None,
    if_applied: object,
) -> Any:
    """Run `work` inside a transaction until it is certain that it took effect once."""
    key = None if token is None else token_bytes(token)
    reruns = Reruns(attempts=attempts, timeout=timeout, has_token=bool(key), now=time.monotonic())
    with connection.one_call() as call:
        return _run_until_certain(connection, call, work, reruns, mode, key, if_applied)


def _run_until_certain(  # noqa: PLR0917 - the call it is a part of
    connection: Connection,
    call: Call,
    work: Callable[[], T],
    reruns: Reruns,
    mode: Mode,
    key: bytes | None,
    if_applied: object,
) -> Any:
    doubt = Doubt()
    result: Any = None
    while True:
        try:
            left = reruns.seconds_left(time.monotonic())
            with connection.transaction(mode, timeout=left):
                if key is not None:
                    _claim(connection, key, left)
                result = work()
        except TokenUsed:
            return doubt.settle(key or b"", result, if_applied)
        except exceptions.Error as error:
            doubt.note(error)
            pause = None if call.is_over else reruns.pause_after(error, time.monotonic())
            if pause is None:
                if doubt.error is not None and doubt.error is not error:
                    raise doubt.error from error
                raise
            connection.pause(pause, call)
        else:
            return result


def _claim(connection: Connection, key: bytes, seconds: float) -> None:
    """Insert the token; TokenUsed if it is there."""
    try:
        try:
            connection.execute(INSERT, (key,), timeout=seconds)
        except exceptions.OperationalError as error:
            if not is_missing_table(error):
                raise
            connection.execute(CREATE, timeout=seconds)
            connection.execute(INSERT, (key,), timeout=seconds)
    except exceptions.IntegrityError as error:
        if not is_used(error):
            raise
        raise TokenUsed from None
