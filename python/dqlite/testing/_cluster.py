"""`Cluster`: nodes that a test may kill and pause."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from dqlite import exceptions
from dqlite.client import Client, Role
from dqlite.node import Node

T = TypeVar("T")

PATIENCE_S: Final = 30.0
"""How long everything here waits at most, unless it is told otherwise."""
_PAUSE_S: Final = 0.02
_REST_S: Final = 0.2


class Cluster:
    """Nodes on this machine that are one cluster::

    with Cluster("/tmp/three") as cluster, dqlite.connect(cluster.url("app")) as conn:
        dead = cluster.kill()
        assert cluster.wait_for_leader() is not None

    Each is a process that its supervisor starts again, so a killed node comes back by itself.
    """

    def __init__(self, directory: str | os.PathLike[str], size: int = 3, **options: Any) -> None:
        """Choose addresses; starts nothing. `options` are those of every `dqlite.Node`."""
        self.addresses = free_addresses(size)
        self.nodes = [
            Node(address, Path(directory) / f"n{number}", cluster=self.addresses, **options)
            for number, address in enumerate(self.addresses, 1)
        ]

    def start(self, timeout: float = PATIENCE_S) -> None:
        """Start the nodes, and wait until each has a vote (the first three, of more)."""
        for node in self.nodes:
            node.start(timeout)
        for node in self.nodes:
            node.wait_ready(timeout)
        wanted = min(len(self.nodes), 3)
        self._until(lambda: self._voters() >= wanted or None, timeout, "there are too few voters")

    def close(self) -> None:
        """Stop all nodes, paused ones included. Idempotent."""
        for node in self.nodes:
            self.resume(node)
        for node in self.nodes:
            node.close()

    def url(self, database: str = "default") -> str:
        """Where to connect, for `dqlite.connect`."""
        return f"dqlite://{','.join(self.addresses)}/{database}"

    def client(self) -> Client:
        """Return a client for the cluster itself."""
        return Client(self.addresses)

    def leader(self) -> Node:
        """Return the node that leads now; `dqlite.NoLeaderError` if none does."""
        with self.client() as client:
            return self._node(client.leader().address)

    def wait_for_leader(self, other_than: Node | None = None, timeout: float = PATIENCE_S) -> Node:
        """Return the node that leads, as soon as one does that is not `other_than`."""

        def led() -> Node | None:
            node = self.leader()
            return None if node is other_than else node

        return self._until(led, timeout, "there is no leader")

    def flip_leader(self, timeout: float = PATIENCE_S) -> Node:
        """Have another voter lead, and return it."""
        before = self.wait_for_leader(timeout=timeout)

        def flipped() -> Node | None:
            with self.client() as client:
                voters = [member for member in client.cluster() if member.role == Role.VOTER]
                others = [member for member in voters if member.address != before.address]
                if self.leader() is before and others:
                    client.transfer(others[0].id)
            after = self.leader()
            return None if after is before else after

        return self._until(flipped, timeout, "no other node takes the lead")

    def kill(self, node: Node | None = None) -> Node:
        """Kill the process of a node, by default the leader's; return the node.

        It may lead again afterwards: its supervisor starts it within half a second.
        """
        return self._signal(node, signal.SIGKILL)

    def kill_leader(self) -> Node:
        """Do `kill` to the node that leads."""
        return self.kill()

    def idle(self, within: float = PATIENCE_S) -> bool:
        """Whether the nodes come to rest within so many seconds: nothing computes there any more.

        That is the proof that a statement has ended which was given up.
        """
        deadline = time.monotonic() + within
        while True:
            before = self._computed()
            time.sleep(_REST_S)
            if self._computed() - before < _REST_S / 2:
                return True
            if time.monotonic() > deadline:
                return False

    def pause(self, node: Node | None = None) -> Node:
        """Stop the process of a node, by default the leader's, as a debugger would."""
        return self._signal(node, signal.SIGSTOP)

    def resume(self, node: Node) -> None:
        """Let a paused node go on; nothing happens to one that is not."""
        if node.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(node.pid, signal.SIGCONT)

    def __enter__(self) -> Cluster:
        """Start it."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _node(self, address: str) -> Node:
        return next(node for node in self.nodes if node.address == address)

    def _voters(self) -> int:
        with self.client() as client:
            return sum(member.role == Role.VOTER for member in client.cluster())

    def _computed(self) -> float:
        """Seconds of processor time of all nodes together."""
        total = 0.0
        for pid in [node.pid for node in self.nodes]:
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return total

    def _signal(self, node: Node | None, number: signal.Signals) -> Node:
        chosen = self.wait_for_leader() if node is None else node
        if chosen.pid is None:
            text = f"node {chosen.address} has no process now"
            raise exceptions.NodeNotRunningError(text, node_address=chosen.address)
        os.kill(chosen.pid, number)
        return chosen

    @staticmethod
    def _until(ask: Callable[[], T | None], timeout: float, otherwise: str) -> T:
        deadline = time.monotonic() + timeout
        while True:
            failed: exceptions.Error | None = None
            try:
                answer = ask()
            except exceptions.Error as error:
                answer, failed = None, error
            if answer is not None:
                return answer
            if time.monotonic() > deadline:
                text = f"{otherwise}, after {timeout:g} s"
                raise TimeoutError(text) from failed
            time.sleep(_PAUSE_S)


def free_addresses(count: int) -> list[str]:
    """Return so many addresses on 127.0.0.1 that nobody listens on.

    The system gives their ports to nobody else for a while: a connection went through each and was
    closed by the listening side, so that it rests in TIME_WAIT.
    """
    addresses: list[str] = []
    for _ in range(count):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            host, port = listener.getsockname()[:2]
            with socket.create_connection((host, port)) as dialled:
                listener.accept()[0].close()
                dialled.recv(1)
        addresses.append(f"{host}:{port}")
    return addresses
