"""Node stores: where a client of a cluster keeps the addresses that it starts from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from dqlite import _nodefile
from dqlite._options import Host
from dqlite.aio._threads import in_thread
from dqlite.client import NodeInfo, Role


@runtime_checkable
class NodeStore(Protocol):
    """What `Client` keeps the members of a cluster in; `connect` and `create_pool` take it, too."""

    async def get_nodes(self) -> Sequence[NodeInfo]:
        """Return the nodes."""
        ...

    async def set_nodes(self, nodes: Sequence[NodeInfo]) -> None:
        """Replace the nodes."""
        ...

    def connection_targets(self) -> list[Host]:
        """Return the addresses in the order in which to try them: voters first."""
        ...


class MemoryNodeStore:
    """Nodes in memory::

        client = dqlite.aio.Client(dqlite.aio.MemoryNodeStore(["h1:9001", "h2:9001"]))

    The nodes of the beginning are voters with ids from 1, until the cluster says better.
    """

    def __init__(self, addresses: Iterable[str] = ()) -> None:
        """Start with the nodes at these addresses."""
        numbered = enumerate(addresses, 1)
        self._nodes = _unique(NodeInfo(number, address, Role.VOTER) for number, address in numbered)

    async def get_nodes(self) -> Sequence[NodeInfo]:
        """Return the nodes."""
        return self._nodes

    async def set_nodes(self, nodes: Sequence[NodeInfo]) -> None:
        """Replace the nodes."""
        self._nodes = _unique(nodes)

    def connection_targets(self) -> list[Host]:
        """Return the addresses, voters first."""
        return _addresses(self._nodes)


class YamlNodeStore:
    """Nodes in a file as go-dqlite writes it: a list of ``ID``, ``Address`` and ``Role``::

    store = dqlite.aio.YamlNodeStore("/var/lib/app/cluster.yaml")
    async with dqlite.create_pool(store) as pool: ...
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read the file; none is no nodes, anything unreadable is a ClusterError."""
        self._path = Path(path)
        self._nodes = _read(self._path)

    @classmethod
    async def create(cls, path: str | os.PathLike[str]) -> YamlNodeStore:
        """Read the file without blocking the event loop."""
        return await in_thread(lambda: cls(path))

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    async def get_nodes(self) -> Sequence[NodeInfo]:
        """Return the nodes last read or written."""
        return self._nodes

    async def set_nodes(self, nodes: Sequence[NodeInfo]) -> None:
        """Replace the nodes; the file changes as a whole or not at all."""
        unique = _unique(nodes)
        await in_thread(lambda: _nodefile.write(self._path, unique))
        self._nodes = unique

    def connection_targets(self) -> list[Host]:
        """Return the addresses, voters first."""
        return _addresses(self._nodes)


def _read(path: Path) -> tuple[NodeInfo, ...]:
    return _unique(NodeInfo(n, address, Role(role)) for n, address, role in _nodefile.read(path))


def _unique(nodes: Iterable[NodeInfo]) -> tuple[NodeInfo, ...]:
    """Return the nodes; of several with one address the first stays."""
    unique: dict[str, NodeInfo] = {}
    for node in nodes:
        unique.setdefault(node.address, node)
    return tuple(unique.values())


def _addresses(nodes: Sequence[NodeInfo]) -> list[Host]:
    return [node.address for node in sorted(nodes, key=lambda node: node.role)]
