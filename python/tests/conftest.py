"""Real nodes on ports of the system's choice; databases with names of their own."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dqlite
from dqlite import wire

# `make` names the engine; who calls pytest by hand gets the checkout's all the same.
os.environ.setdefault("DQLITE_ENGINE", str(Path(__file__).parents[2] / ".engine"))

_names = itertools.count(1)


def free_addresses(count: int) -> list[str]:
    """Addresses that the system gives to nobody else for a while.

    One connection went through each and was closed by the listening side: the port rests in
    TIME_WAIT, so that only a server that binds it by number gets it.
    """
    addresses = []
    for _ in range(count):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            place = listener.getsockname()
            with socket.create_connection(place) as dialled:
                listener.accept()[0].close()
                assert dialled.recv(1) == b""
        addresses.append(f"{place[0]}:{place[1]}")
    return addresses


def wait_until(holds: Callable[[], Any], seconds: float = 20) -> Any:
    """Ask again until the answer is true; our errors count as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if answer := holds():
                return answer
        except dqlite.Error:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.02)


def children_of(pid: int) -> set[int]:
    """Living child processes, zombies excluded."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(stat[1]) == pid and stat[0] != "Z":
            found.add(int(entry.name))
    return found


class Busy:
    """How much a node computes: the proof that a statement runs, or runs no more."""

    def __init__(self, pid: int) -> None:
        self._stat = Path(f"/proc/{pid}/stat")
        self._tick = 1 / os.sysconf("SC_CLK_TCK")
        self._since = self.seconds()

    def seconds(self) -> float:
        """CPU time since the node started."""
        fields = self._stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * self._tick

    def mark(self) -> None:
        """Count from now on."""
        self._since = self.seconds()

    def computes(self, seconds: float = 0.05) -> bool:
        """Whether it has computed for so long since `mark`."""
        return self.seconds() - self._since >= seconds


class Trio:
    """Three nodes that are one cluster."""

    def __init__(self, directory: Path) -> None:
        self.addresses = free_addresses(3)
        self.nodes = [
            dqlite.Node(address, directory / f"n{i}", cluster=self.addresses)
            for i, address in enumerate(self.addresses)
        ]

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_ready(30)
        with dqlite.Client(self.addresses) as client:
            voters = [dqlite.Role.VOTER] * 3
            wait_until(lambda: [member.role for member in client.cluster()] == voters, 30)

    def stop(self) -> None:
        for node in self.nodes:
            node.close()

    def leader(self) -> dqlite.Node:
        with dqlite.Client(self.addresses) as client:
            address = client.leader()
        return next(node for node in self.nodes if node.address == address)

    def kill_leader(self) -> dqlite.Node:
        """SIGKILL for the process that leads; its supervisor starts another."""
        leader = self.leader()
        assert leader.pid is not None
        os.kill(leader.pid, signal.SIGKILL)
        return leader


class Relay:
    """A Unix socket before a node, for `connect`: it hears what clients say, and does harm."""

    def __init__(self, path: Path, node: str) -> None:
        self._path, self._node = str(path), node
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._path)
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.heard = bytearray()
        """What clients have sent."""
        self.poison: bytes | None = None
        """A client that says this is cut off."""
        self.left = 1 << 40
        """After so many bytes from the node a client is cut off."""
        self.swallows = False
        """The next answer is lost, and its client cut off."""
        self.flows = threading.Event()
        """Without it nothing is read of what clients send."""
        self.flows.set()

    def connection_targets(self) -> list[tuple[str, str]]:
        return [(self._path, self._node)]

    def requests(self) -> list[str]:
        """The names of the requests of the only session, behind its OPEN."""
        names = [message.name for message in wire.decode(bytes(self.heard), "requests")]
        return names[names.index("OPEN") + 1 :]

    def close(self) -> None:
        self.flows.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        host, _, port = self._node.rpartition(":")
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            node = socket.create_connection((host, int(port)))
            for source, sink, change in (
                (client, node, self._said),
                (node, client, self._answered),
            ):
                thread = threading.Thread(target=self._pass, args=(source, sink, change))
                self._threads.append(thread)
                thread.start()

    def _pass(
        self,
        source: socket.socket,
        sink: socket.socket,
        change: Callable[[bytes], tuple[bytes, bool]],
    ) -> None:
        with contextlib.suppress(OSError), source:
            while data := source.recv(65536):
                data, goes_on = change(data)
                sink.sendall(data)
                if not goes_on:
                    source.shutdown(socket.SHUT_RDWR)
                    break
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def _said(self, data: bytes) -> tuple[bytes, bool]:
        self.flows.wait(60)
        self.heard += data
        return (b"", False) if self.poison is not None and self.poison in data else (data, True)

    def _answered(self, data: bytes) -> tuple[bytes, bool]:
        if self.swallows:
            self.swallows = False
            return b"", False
        data, self.left = data[: max(self.left, 0)], self.left - len(data)
        return data, self.left > 0


@pytest.fixture
def relay(server: dqlite.Node, tmp_path: Path) -> Iterator[Relay]:
    """A relay before the shared node."""
    relay = Relay(tmp_path / "relay", server.address)
    yield relay
    relay.close()


@pytest.fixture(scope="session")
def addresses() -> Callable[[int], list[str]]:
    """So many addresses that nobody listens on."""
    return free_addresses


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """Wait for a condition."""
    return wait_until


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dqlite.Node]:
    """One node that all tests share; each uses a database of its own."""
    node = dqlite.Node(free_addresses(1)[0], tmp_path_factory.mktemp("server"))
    node.start()
    node.wait_ready(30)
    yield node
    node.close()


@pytest.fixture
def busy(server: dqlite.Node) -> Busy:
    """How much the shared node computes."""
    assert server.pid is not None
    return Busy(server.pid)


@pytest.fixture
def database() -> str:
    """The name of a database that nobody else uses."""
    return f"test{next(_names)}"


@pytest.fixture
def url(server: dqlite.Node, database: str) -> str:
    """A fresh database on the shared node."""
    return f"dqlite://{server.address}/{database}"


@pytest.fixture
def conn(url: str) -> Iterator[dqlite.Connection]:
    """A sync connection to a fresh database."""
    with dqlite.connect(url) as connection:
        yield connection


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """Three nodes that the tests of a module share and do not kill."""
    trio = Trio(tmp_path_factory.mktemp("trio"))
    try:
        trio.start()
        yield trio
    finally:
        trio.stop()


@pytest.fixture
def own_trio(tmp_path: Path) -> Iterator[Trio]:
    """Three nodes that a test may kill."""
    trio = Trio(tmp_path)
    try:
        trio.start()
        yield trio
    finally:
        trio.stop()


@pytest.fixture
def no_children_left() -> Iterator[None]:
    """The test leaves as many child processes as it found."""
    before = children_of(os.getpid())
    yield
    wait_until(lambda: children_of(os.getpid()) <= before, 5)
