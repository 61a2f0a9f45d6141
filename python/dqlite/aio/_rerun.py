"""`run_transaction` for tasks: acts on `dqlite._rerun`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from dqlite import exceptions
from dqlite._rerun import (
    CREATE,
    INSERT,
    Doubt,
    Reruns,
    TokenUsed,
    is_missing_table,
    is_used,
    token_bytes,
)
from dqlite.aio import _loop
from dqlite.transaction import Mode

if TYPE_CHECKING:
    from dqlite.aio.connection import Connection

T = TypeVar("T")


async def run_transaction(
    connection: Connection,
    work: Callable[[], Awaitable[T]],
    *,
    mode: Mode,
    attempts: int,
    timeout: float,
    token: str | bytes | None,
    if_applied: object,
) -> Any:
    """Run `work` inside a transaction until it is certain that it took effect once."""
    key = None if token is None else token_bytes(token)
    reruns = Reruns(attempts=attempts, timeout=timeout, has_token=bool(key), now=monotonic())
    doubt = Doubt()
    result: Any = None
    while True:
        try:
            left = reruns.seconds_left(monotonic())
            async with connection.transaction(mode, timeout=left):
                if key is not None:
                    await _claim(connection, key, left)
                result = await work()
        except TokenUsed:
            return doubt.settle(key or b"", result, if_applied)
        except exceptions.Error as error:
            doubt.note(error)
            pause = reruns.pause_after(error, monotonic())
            if pause is None:
                if doubt.error is not None and doubt.error is not error:
                    raise doubt.error from error
                raise
            await _loop.sleep(pause)
        else:
            return result


async def _claim(connection: Connection, key: bytes, seconds: float) -> None:
    """Insert the token; TokenUsed if it is there."""
    try:
        try:
            await connection.execute(INSERT, key, timeout=seconds)
        except exceptions.OperationalError as error:
            if not is_missing_table(error):
                raise
            await connection.execute(CREATE, timeout=seconds)
            await connection.execute(INSERT, key, timeout=seconds)
    except exceptions.IntegrityError as error:
        if not is_used(error):
            raise
        raise TokenUsed from None
