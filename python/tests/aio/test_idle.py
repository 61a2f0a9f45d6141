"""What happens to a session while nobody uses it, or while the collector does."""

from __future__ import annotations

import contextlib
import gc
import socket
import struct
import threading

import pytest

import dqlite
import dqlite.aio
from dqlite import wire

MANY = "with recursive n(i) as (select 1 union all select i + 1 from n limit {}) select i from n"
ANSWERS = {
    "LEADER": lambda address: wire.encode("SERVER", id=1, address=address),
    "CLIENT": lambda _: wire.encode("WELCOME", heartbeat_timeout_ms=15000),
    "OPEN": lambda _: wire.encode("DB"),
    "CLUSTER": lambda address: wire.encode("SERVERS", nodes=[(1, address, "voter")]),
    "PREPARE": lambda _: wire.encode("STMT", id=0, params=0),
    "FINALIZE": lambda _: wire.encode("EMPTY"),
}


class Server:
    """It answers 7 to whatever is asked, and does harm to the session that was opened last."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self.listener.getsockname())
        self.last = None
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, contextlib.suppress(OSError):
            assert len(client.recv(8, socket.MSG_WAITALL)) == 8
            while len(head := client.recv(8, socket.MSG_WAITALL)) == 8:
                size = int.from_bytes(head[:4], "little") * 8
                body = client.recv(size, socket.MSG_WAITALL) if size else b""
                name = wire.decode(head + body, direction="requests")[0].name
                if name == "OPEN":
                    self.last = client
                answer = ANSWERS.get(name)
                rows = wire.encode("ROWS", columns=["a"], rows=[(7,)])
                client.sendall(rows if answer is None else answer(self.address))

    def says(self):
        self.last.sendall(wire.encode("EMPTY"))

    def ends(self):
        self.last.shutdown(socket.SHUT_RDWR)

    def resets(self):
        self.last.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.last.shutdown(socket.SHUT_RD)  # who reads then closes it


@pytest.mark.parametrize("harm", [Server.says, Server.ends, Server.resets])
async def test_a_session_that_is_lost_while_idle_is_replaced(harm, eventually):
    server = Server()
    with server.listener:
        async with dqlite.aio.connect(server.address) as conn:
            for number in range(1, 4):
                assert await conn.fetchval("select 7") == 7
                assert conn.session_number == number
                harm(server)
                await eventually(lambda: conn.address is None)
        async with dqlite.aio.connect(server.address, reconnect=False) as conn:
            harm(server)
            await eventually(lambda: conn.address is None)
            with pytest.raises(dqlite.ConnectionFailedError, match="lost"):
                await conn.fetchval("select 7")


@pytest.mark.parametrize("harm", [Server.says, Server.ends, Server.resets])
def test_the_same_without_a_loop(harm, until):
    """Nobody looks then; the next call does before it sends."""
    server = Server()
    with server.listener, dqlite.connect(server.address) as conn:
        for number in range(1, 4):
            until(lambda n=number: conn.fetchval("select 7") == 7 and conn.session_number == n)
            harm(server)


class Loop:
    """A cycle whose finaliser uses the connection."""

    def __init__(self, use, told):
        self.me, self.use, self.told = self, use, told

    def __del__(self):
        try:
            self.use()
        except dqlite.Error as error:
            self.told.append(error)


def made(use, told):
    def factory(_cursor, row):
        Loop(use, told)
        return list(row)

    return factory


@pytest.fixture
def eager():
    before = gc.get_threshold()
    gc.set_threshold(1)
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("eager")
def test_finalisers_that_use_the_connection(url):
    """The collector runs them in the middle of everything: a call is refused, or succeeds."""
    told = []
    with dqlite.connect(url, timeout=20) as conn:
        conn.with_row_factory(made(conn.interrupt, told))
        assert len(conn.execute(MANY.format(3000)).fetchall()) == 3000
    conn = dqlite.connect(url)
    conn.row_factory = made(conn.close, told)
    with contextlib.suppress(dqlite.Error):
        conn.execute(MANY.format(3000)).fetchall()
    conn.close()
    assert all(isinstance(error, dqlite.InterfaceError) for error in told)


@pytest.mark.usefixtures("eager")
async def test_finalisers_that_use_the_connection_of_a_loop(url):
    told = []
    async with dqlite.aio.connect(url) as conn:
        for use in (conn.is_in_transaction, lambda: conn.begin().close(), conn.terminate):
            async with dqlite.aio.connect(url) as other:
                other.row_factory = made(use, told)
                assert len(await other.fetch(MANY.format(2000))) == 2000
        assert conn.is_closed()
    assert told == []
