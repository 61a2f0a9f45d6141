"""Streams that a function of the caller's opens, for connections that own their sockets.

Each address gets a Unix socket in a private directory; whoever connects to it is joined to a stream
of the function's. So what the function does - a tunnel, a proxy - carries every byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from dqlite import exceptions as canonical
from dqlite import wire
from dqlite._options import Host
from dqliteclient.exceptions import DqliteConnectionError

DialFunc: TypeAlias = Callable[[str], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Opens the stream to ``host:port``."""

_CHUNK: Final = 64 * 1024


class Bridge:
    """The sockets that stand for addresses, and what runs behind them; for one event loop."""

    def __init__(self, dial: DialFunc, dial_timeout: float) -> None:
        """Stand for nothing yet."""
        self._dial = dial
        self._dial_timeout = dial_timeout
        self._directory = Path(tempfile.mkdtemp(prefix="dqlite-"))
        self._sockets: dict[str, Path] = {}
        self._servers: list[asyncio.Server] = []
        self._pumps: set[asyncio.Task[None]] = set()

    @classmethod
    async def to(cls, dial: DialFunc, dial_timeout: float, addresses: Iterable[str]) -> Bridge:
        """Return a bridge to these nodes and to the one that leads according to them."""
        bridge = cls(dial, dial_timeout)
        try:
            await bridge._reach(list(addresses))
        except BaseException:
            bridge.close()
            raise
        return bridge

    def connection_targets(self) -> list[Host]:
        """Return the sockets, each with the address it stands for."""
        return [(str(socket), address) for address, socket in self._sockets.items()]

    def close(self) -> None:
        """End everything that runs through it; idempotent."""
        for server in self._servers:
            with contextlib.suppress(RuntimeError):  # the loop may be gone
                server.close()
        for pump in self._pumps:
            with contextlib.suppress(RuntimeError):
                pump.cancel()
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _reach(self, addresses: list[str]) -> None:
        failed: DqliteConnectionError | None = None
        leader = ""
        for address in addresses:
            await self._stand_for(address)
            if not leader:
                try:
                    leader = await self._leader_of(address)
                except DqliteConnectionError as error:
                    failed = error
        if leader:
            await self._stand_for(leader)
        elif failed is not None:
            raise failed

    async def _stand_for(self, address: str) -> None:
        if address in self._sockets:
            return
        socket = self._directory / str(len(self._sockets))
        serve = partial(self._serve, address)
        self._servers.append(await asyncio.start_unix_server(serve, socket))
        self._sockets[address] = socket

    async def _opened(self, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await asyncio.wait_for(self._dial(address), self._dial_timeout)
        except (TimeoutError, asyncio.TimeoutError) as error:
            text = f"Connection to {address} timed out (dial_timeout={self._dial_timeout}s)"
            raise DqliteConnectionError(text, address=address, stage="dial") from error
        except OSError as error:
            text = f"Failed to connect to {address}: {error}"
            raise DqliteConnectionError(text, address=address, stage="dial") from error

    async def _leader_of(self, address: str) -> str:
        """Return who leads according to the node at `address`; "" if it does not know."""
        reader, writer = await self._opened(address)
        try:
            return await asyncio.wait_for(_ask_for_leader(reader, writer), self._dial_timeout)
        except (TimeoutError, asyncio.TimeoutError) as error:
            text = f"Handshake with {address} timed out"
            raise DqliteConnectionError(text, address=address, stage="handshake") from error
        except (OSError, canonical.ProtocolError) as error:
            text = f"Failed to connect to {address}: {error}"
            raise DqliteConnectionError(text, address=address, stage="handshake") from error
        finally:
            writer.close()

    async def _serve(
        self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry bytes both ways until one side has ended."""
        running = asyncio.current_task()
        if running is not None:
            self._pumps.add(running)
            running.add_done_callback(self._pumps.discard)
        with contextlib.ExitStack() as ending:
            ending.callback(writer.close)
            try:
                far_reader, far_writer = await self._opened(address)
            except DqliteConnectionError:
                return  # whoever connected sees the end
            ending.callback(far_writer.close)
            ways = [_carry(reader, far_writer), _carry(far_reader, writer)]
            tasks = [asyncio.ensure_future(way) for way in ways]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()


@contextlib.asynccontextmanager
async def hosts_through(
    dial: DialFunc | None, dial_timeout: float, addresses: Iterable[str]
) -> AsyncGenerator[list[Host], None]:
    """Lend addresses to dial: those given, or what stands for them while the block runs."""
    if dial is None:
        yield list(addresses)
        return
    bridge = await Bridge.to(dial, dial_timeout, addresses)
    try:
        yield bridge.connection_targets()
    finally:
        bridge.close()


async def _ask_for_leader(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    writer.write(wire.HANDSHAKE + wire.encode("LEADER"))
    await writer.drain()
    reply = b""
    while chunk := await reader.read(_CHUNK):
        reply += chunk
        for message in wire.decode(reply, "replies"):
            if message.error is None:
                return str(message.fields.get("address", ""))
    text = "connection closed by server"
    raise ConnectionResetError(text)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
