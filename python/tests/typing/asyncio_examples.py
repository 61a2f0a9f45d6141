"""What type checkers see of the asyncio API; checked by pyright and mypy, both strict."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import dqlite
import dqlite.aio
from dqlite import rows


async def connection() -> None:
    async with dqlite.aio.connect("h1:9001", database="app", timeout=5.0) as conn:
        listed: list[Any] = await conn.fetch("SELECT ?", 1, timeout=None)
        same: list[Any] = await conn.fetchall("SELECT :a", {"a": 1})
        value: Any = await conn.fetchval("SELECT 1, 2", column=1)
        changed: int = await conn.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)])
        returned: list[Any] = await conn.fetchmany("INSERT INTO t VALUES (?) RETURNING a", [[3]])
        cursor: dqlite.aio.Cursor = await conn.execute("SELECT 1")
        last: int | None = cursor.lastrowid
        async for row in conn.cursor("SELECT a FROM t", prefetch=100):
            print(row)
        async with conn.transaction("deferred") as block:
            await block.rollback()
        statement: dqlite.aio.PreparedStatement = conn.prepare("SELECT ?")
        names: list[str | None] = statement.parameters
        print(listed, same, value, changed, returned, last, names)


async def sets() -> AsyncIterator[tuple[int]]:
    yield (1,)


async def pool() -> None:
    async with dqlite.create_pool(max_size=3, row_factory=rows.dict_row) as pool:
        async with pool.acquire(timeout=1.0) as conn:
            closed: bool = conn.is_closed()
            await conn.executemany("INSERT INTO t VALUES (?)", sets())
        stats: dict[str, float] = pool.get_stats()
        print(closed, stats, await pool.run_transaction(move, 5, token=dqlite.new_token()))


async def move(conn: dqlite.aio.Connection, amount: int) -> int:
    try:
        await conn.execute("UPDATE accounts SET total = total - ?", amount)
    except dqlite.Error as error:
        outcome: dqlite.Outcome | None = error.outcome
        print(outcome, error.retryable)
        raise
    return amount
