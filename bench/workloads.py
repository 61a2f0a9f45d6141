"""One measurement in a process of its own: ``workloads.py SIDE LOOP WORKLOAD ADDRESS CPU``.

Prints a line of JSON: operations, seconds, CPU seconds of this process. SIDE is ours, peer or
bare, LOOP asyncio, uvloop or sync; CPU is the number of the one to stay on, or - for all.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from socket import IPPROTO_TCP, TCP_NODELAY, create_connection
from typing import Any

POINT = "SELECT id, name FROM point WHERE id = ?"
ROWS = "SELECT * FROM wide"
INSERT = "INSERT INTO sink(a, b) VALUES (?, ?)"
ROWS_COUNT = 100_000
INSERTS = 10_000
POINTS = 8_000
TASKS, CONNECTIONS, EACH = 32, 8, 300
DATABASE = "bench"
READ_BYTES = 65536
KEY_AT = 8 + 8 + 16 + 8
"""Where the key is in a reply: behind the header, the count and names of two columns, and tags."""

Measured = tuple[int, float, float]


def clock(count: int, work: Callable[[], None]) -> Measured:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return count, time.perf_counter() - wall, time.process_time() - cpu


async def clock_async(count: int, work: Callable[[], Awaitable[None]]) -> Measured:
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    return count, time.perf_counter() - wall, time.process_time() - cpu


class Ours:
    """The asyncio side of `dqlite`."""

    async def connect(self, address: str) -> Any:
        import dqlite.aio
        from dqlite import rows

        url = f"dqlite://{address}/{DATABASE}"
        return await dqlite.aio.connect(url, row_factory=rows.tuple_row)

    async def pool(self, address: str) -> Any:
        import dqlite

        url = f"dqlite://{address}/{DATABASE}"
        return await dqlite.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS)

    async def point(self, connection: Any, key: int) -> Any:
        return await connection.fetch(POINT, key)

    pool_point = point

    async def rows(self, connection: Any) -> Any:
        return await connection.fetch(ROWS)

    async def insert(self, connection: Any, sets: list[tuple[int, str]]) -> None:
        async with connection.transaction():
            await connection.executemany(INSERT, sets)


class Peer:
    """The asyncio side of dqlite-client."""

    async def connect(self, address: str) -> Any:
        import dqliteclient

        # Its ten seconds are not enough for all rows on a busy machine.
        return await dqliteclient.connect(address, database=DATABASE, timeout=120)

    async def pool(self, address: str) -> Any:
        import dqliteclient

        return await dqliteclient.create_pool(
            [address], database=DATABASE, min_size=CONNECTIONS, max_size=CONNECTIONS
        )

    async def point(self, connection: Any, key: int) -> Any:
        return await connection.fetchall(POINT, [key])

    pool_point = point

    async def rows(self, connection: Any) -> Any:
        return await connection.fetchall(ROWS)

    async def insert(self, connection: Any, sets: list[tuple[int, str]]) -> None:
        async with connection.transaction():
            for values in sets:
                await connection.execute(INSERT, values)


class Bare:
    """The least that an event loop can do: the same bytes, nothing decoded but the key."""

    async def connect(self, address: str) -> Any:
        from dqlite import wire

        host, port = address.split(":")
        socket = create_connection((host, int(port)))
        socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        socket.sendall(wire.HANDSHAKE + wire.encode("OPEN", name=DATABASE))
        socket.recv(READ_BYTES)
        socket.setblocking(False)
        return Wire(socket, wire.encode("QUERY_SQL", sql=POINT, params=[0])[:-8])

    async def point(self, connection: Any, key: int) -> Any:
        return await connection.ask(key)


class Wire:
    """A socket of `Bare`."""

    def __init__(self, socket: Any, query: bytes) -> None:
        self.socket, self.query = socket, query
        self.loop = asyncio.get_running_loop()
        self.loop.add_reader(socket.fileno(), self.readable)
        self.reply = self.loop.create_future()

    def readable(self) -> None:
        self.reply.set_result(self.socket.recv(READ_BYTES))

    async def ask(self, key: int) -> list[list[int]]:
        self.reply = self.loop.create_future()
        self.socket.send(self.query + key.to_bytes(8, "little"))
        reply = await self.reply
        return [[int.from_bytes(reply[KEY_AT : KEY_AT + 8], "little")]]

    async def close(self) -> None:
        self.loop.remove_reader(self.socket.fileno())
        self.socket.close()


SIDES = {"ours": Ours, "peer": Peer, "bare": Bare}


async def point(side: Any, address: str) -> Measured:
    connection = await side.connect(address)
    ask = side.point

    async def work(count: int = POINTS) -> None:
        for i in range(count):
            rows = await ask(connection, i % 1000 + 1)
        assert len(rows) == 1
        assert rows[0][0] == (count - 1) % 1000 + 1

    await work(POINTS // 10)
    measured = await clock_async(POINTS, work)
    await connection.close()
    return measured


async def pool(side: Any, address: str) -> Measured:
    connections = await side.pool(address)
    ask = side.pool_point

    async def task(first: int, count: int) -> None:
        for i in range(count):
            rows = await ask(connections, (first + i) % 1000 + 1)
            assert len(rows) == 1

    async def work(count: int = EACH) -> None:
        await asyncio.gather(*(task(i * 31, count) for i in range(TASKS)))

    await work(EACH // 10)
    measured = await clock_async(TASKS * EACH, work)
    await connections.close()
    return measured


async def rows(side: Any, address: str) -> Measured:
    connection = await side.connect(address)
    total = 0

    async def work() -> None:
        nonlocal total
        got = await side.rows(connection)
        total = sum(row[0] for row in got)
        assert len(got) == ROWS_COUNT

    await work()
    measured = await clock_async(ROWS_COUNT, work)
    assert total == ROWS_COUNT * (ROWS_COUNT + 1) // 2
    await connection.close()
    return measured


async def insert(side: Any, address: str) -> Measured:
    connection = await side.connect(address)
    await connection.execute("DELETE FROM sink")
    await side.insert(connection, [(i, f"warm {i}") for i in range(INSERTS // 10)])
    await connection.execute("DELETE FROM sink")
    sets = [(i, f"value {i}") for i in range(INSERTS)]
    measured = await clock_async(INSERTS, lambda: side.insert(connection, sets))
    assert await connection.fetchval("SELECT count(*) FROM sink") == INSERTS
    await connection.close()
    return measured


def sync_point(which: str, address: str) -> Measured:
    if which == "ours":
        import dqlite

        connection: Any = dqlite.connect(f"dqlite://{address}/{DATABASE}")
    else:
        import dqlitedbapi

        connection = dqlitedbapi.connect(address, database=DATABASE)
    cursor = connection.cursor()

    def work(count: int = POINTS) -> None:
        for i in range(count):
            cursor.execute(POINT, (i % 1000 + 1,))
            rows = cursor.fetchall()
        assert len(rows) == 1
        assert rows[0][0] == (count - 1) % 1000 + 1

    work(POINTS // 10)
    measured = clock(POINTS, work)
    connection.close()
    return measured


def main() -> None:
    which, loop, workload, address, cpu = sys.argv[1:]
    if cpu != "-":
        os.sched_setaffinity(0, {int(cpu)})
    if loop == "sync":
        measured = sync_point(which, address)
    else:
        side = SIDES[which]()
        new_loop = asyncio.new_event_loop
        if loop == "uvloop":
            import uvloop

            new_loop = uvloop.new_event_loop
        runner = new_loop()
        measured = runner.run_until_complete(globals()[workload](side, address))
        runner.close()
    count, wall, used = measured
    print(json.dumps({"count": count, "wall": wall, "cpu": used}))


if __name__ == "__main__":
    main()
