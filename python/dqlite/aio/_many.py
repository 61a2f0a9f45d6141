"""`executemany`: one statement with many sets of parameters, all or nothing."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from dqlite import _native, exceptions
from dqlite._control import check_reads
from dqlite._lexed import lexed
from dqlite._options import Timeout, seconds_left
from dqlite._parameters import Params
from dqlite.aio.transaction import Transaction
from dqlite.transaction import in_doubt, ran_alone

if TYPE_CHECKING:
    from dqlite.aio._core import Core

ASYNC_SETS_MAX: Final = 2048
"""Sets of an asynchronous iterable that are gathered before they are sent."""

Sets = Iterable[Params] | AsyncIterable[Params]


async def perform_many(
    core: Core, projection: _native.Projection, sql: str, sets: Sets, timeout: Timeout
) -> Any:
    """Run `sql` with each set; rows changed, or the rows of RETURNING as `projection` asks.

    The executions are pipelined in a bounded window. BEGIN is answered before the first is sent,
    and COMMIT is sent alone: an error does not stop what is queued behind it on the server.
    """
    seconds = core.options.timeout if timeout is ... else timeout
    deadline = None if seconds is None else monotonic() + seconds
    if core.readonly:
        check_reads(*lexed(sql))
    block = Transaction(core, "immediate", force_rollback=False, timeout=seconds)
    await block.start()
    try:
        if isinstance(sets, AsyncIterable):
            done = await _gathered(core, projection, sql, sets, deadline)
        else:
            done = await _send(core, projection, sql, sets, deadline)
    except BaseException as error:
        await _undo(core, block, error)
        raise
    await block.commit()
    return done


async def _undo(core: Core, block: Transaction, error: BaseException) -> None:
    """Roll back; what the server rolled back by itself may have let later executions stay.

    With the savepoint of these the whole transaction is gone: a block around them can only end.
    """
    try:
        await block.rollback()
    except exceptions.Error as failed:
        if ran_alone(error, failed):
            if block.is_savepoint:
                core.mark(broken=True)
            raise in_doubt(error) from error


async def _gathered(
    core: Core,
    projection: _native.Projection,
    sql: str,
    sets: AsyncIterable[Params],
    deadline: float | None,
) -> Any:
    """Send an asynchronous iterable in lots."""
    lot: list[Params] = []
    total: Any = None
    sent = 0
    async for one in sets:
        lot.append(one)
        if len(lot) == ASYNC_SETS_MAX:
            total = _sum(total, await _send(core, projection, sql, lot, deadline, sent))
            sent += len(lot)
            lot = []
    return _sum(total, await _send(core, projection, sql, lot, deadline, sent))


def _sum(total: Any, done: Any) -> Any:
    return done if total is None else total + done


async def _send(  # noqa: PLR0917 - the call it is a part of
    core: Core,
    projection: _native.Projection,
    sql: str,
    sets: Iterable[Params],
    deadline: float | None,
    first: int = 0,
) -> Any:
    left = seconds_left(deadline, monotonic())
    inside = await core.take_turn(left)
    try:
        session = await core.ready(deadline)
        left = seconds_left(deadline, monotonic())
        future = session.submit_many(projection, sql, sets, left)
        if future is None:
            text = f"connection {core.options.name!r} lost its session"
            raise exceptions.ConnectionFailedError(text, outcome="refused", retry="transaction")
        return await core.answer(session, future, sql)
    except exceptions.Error as error:
        if error.index is not None:
            error.index += first
        core.note(error, sql)
        raise
    finally:
        core.lane.give(inside)
