"""What a scripted server can show and a real one cannot.

NULL in BOOLEAN and DATETIME columns as servers send it before and after f30fc99 (no released engine
sends both forms), and how many handshakes are under way at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct

import pytest

from dqliteclient import connect, create_pool

LEADER, CLIENT, OPEN, PREPARE, QUERY, FINALIZE, QUERY_SQL, CLUSTER = 0, 1, 3, 4, 6, 7, 9, 16
SERVER, WELCOME, SERVERS, DB, STMT, ROWS, EMPTY = 1, 2, 3, 4, 5, 7, 8
NULL, ISO8601, BOOLEAN = 5, 10, 11
SQL = "SELECT f, w FROM t"
ZERO = bytes(8)
DONE = b"\xff" * 8


def text(value: str) -> bytes:
    raw = value.encode() + b"\0"
    return raw + bytes(-len(raw) % 8)


def message(kind: int, body: bytes, schema: int = 0) -> bytes:
    return struct.pack("<IBBH", len(body) // 8, kind, schema, 0) + body


def row_of_two(tags: tuple[int, int]) -> bytes:
    """One row of columns f and w whose cells are zero words with these tags."""
    header = bytes([tags[1] << 4 | tags[0]]) + bytes(7)
    return message(ROWS, struct.pack("<Q", 2) + text("f") + text("w") + header + ZERO * 2 + DONE)


@contextlib.asynccontextmanager
async def server_that_answers(rows: bytes, opens: int = 1):
    """A node that leads and answers every query with the same bytes.

    The first answers to OPEN are held back until there are so many requests.
    """

    served: list[asyncio.Task] = []
    opening = itertools.count(1)
    all_open = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readexactly(8)
            while True:
                words, kind, _, _ = struct.unpack("<IBBH", await reader.readexactly(8))
                await reader.readexactly(words * 8)
                if kind == OPEN:
                    if next(opening) >= opens:
                        all_open.set()
                    await all_open.wait()
                writer.write(answers[kind])
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    answers = {
        LEADER: message(SERVER, struct.pack("<Q", 1) + text(address)),
        CLIENT: message(WELCOME, struct.pack("<Q", 15000)),
        CLUSTER: message(SERVERS, struct.pack("<QQ", 1, 1) + text(address) + ZERO),
        OPEN: message(DB, ZERO),
        PREPARE: message(STMT, ZERO * 2 + struct.pack("<Q", len(SQL)), schema=1),
        FINALIZE: message(EMPTY, ZERO),
        QUERY: rows,
        QUERY_SQL: rows,
    }
    async with server:
        yield address
        await asyncio.wait_for(asyncio.gather(*served), 5)


@pytest.mark.parametrize(
    ("tags", "row"),
    [((BOOLEAN, ISO8601), {"f": False, "w": ""}), ((NULL, NULL), {"f": None, "w": None})],
    ids=["before", "after"],
)
async def test_the_face_follows_the_wire(tags, row) -> None:
    async with server_that_answers(row_of_two(tags)) as address:
        conn = await connect(address, timeout=5)
        assert await conn.fetch(SQL) == [row]
        assert await conn.fetchall(SQL) == [list(row.values())]
        await conn.close()


async def test_a_pool_opens_min_size_connections_in_parallel() -> None:
    """One after the other they would wait for each other until the deadline."""
    async with server_that_answers(row_of_two((NULL, NULL)), opens=4) as address:
        pool = await create_pool([address], min_size=4, timeout=5, max_attempts=1)
        assert await pool.fetchall(SQL) == [[None, None]]
        await pool.close()
