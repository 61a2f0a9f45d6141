"""NULL in BOOLEAN and DATETIME columns, as servers send it before and after f30fc99.

The server here is scripted: no released engine sends both forms.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct

import pytest

from dqliteclient import connect

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
async def server_that_answers(rows: bytes):
    """A node that leads and answers every query with the same bytes."""

    served: list[asyncio.Task] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readexactly(8)
            while True:
                words, kind, _, _ = struct.unpack("<IBBH", await reader.readexactly(8))
                await reader.readexactly(words * 8)
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
