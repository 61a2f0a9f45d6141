"""Where a cluster client learns addresses from: memory, or go-dqlite's YAML file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, Protocol, final, runtime_checkable

from dqlite import Role, _nodefile
from dqliteclient._checks import after_fork
from dqliteclient._validate import get_current_pid, is_int, is_str, parse_address
from dqliteclient.exceptions import InterfaceError

__all__ = ["MemoryNodeStore", "NodeInfo", "NodeStore", "YamlNodeStore"]


_NODES_MAX: Final = 10_000
"""No server names more members."""


@final
@dataclass(frozen=True)
class NodeInfo:
    """A member of a cluster."""

    node_id: int
    address: str
    role: Role

    def __post_init__(self) -> None:
        """Accept any int from 0 to 2 as role."""
        try:
            object.__setattr__(self, "role", Role(self.role))
        except ValueError as error:
            text = f"NodeInfo: unknown role {self.role!r}; 0 is voter, 1 stand-by, 2 spare"
            raise ValueError(text) from error
        if not is_int(self.node_id):
            text = f"NodeInfo.node_id must be int, got {type(self.node_id).__name__}"
            raise TypeError(text)
        if self.node_id < 1:
            text = f"NodeInfo.node_id must be >= 1, got {self.node_id}"
            raise ValueError(text)


@runtime_checkable
class NodeStore(Protocol):
    """What a cluster client reads the known nodes from."""

    async def get_nodes(self) -> Sequence[NodeInfo]:
        """Return the nodes; not to be changed by the caller."""
        ...

    async def set_nodes(self, nodes: Sequence[NodeInfo]) -> None:
        """Replace the nodes."""
        ...


class MemoryNodeStore:
    """Nodes in memory, at first those of the addresses given, as voters."""

    def __init__(
        self,
        addresses: Sequence[str] | None = None,
        *,
        initial_addresses: Sequence[str] | None = None,
    ) -> None:
        """Take `addresses`; `initial_addresses` is their older name."""
        self._pid = get_current_pid()
        given = addresses if addresses is not None else initial_addresses or ()
        for address in given:
            if not is_str(address):
                text = f"addresses must be 'host:port' strings, got {type(address).__name__}"
                raise TypeError(text)
        numbered = enumerate(given, 1)
        self._nodes = _unique(NodeInfo(n, address, Role.VOTER) for n, address in numbered)

    async def get_nodes(self) -> Sequence[NodeInfo]:
        """Return the nodes."""
        self._check_pid()
        return self._nodes

    async def set_nodes(self, nodes: Sequence[NodeInfo]) -> None:
        """Replace the nodes."""
        self._check_pid()
        self._nodes = _unique(nodes)

    def __reduce__(self) -> NoReturn:
        """Refuse: a copy would not follow."""
        text = "cannot pickle 'MemoryNodeStore'; make one from its addresses instead"
        raise TypeError(text)

    def _check_pid(self) -> None:
        if get_current_pid() != self._pid:
            raise InterfaceError(after_fork(type(self).__name__, self._pid))


class YamlNodeStore:
    """Nodes in a file as go-dqlite writes it: a list of ``ID``, ``Address`` and ``Role``."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read the file; none is no nodes, anything unreadable is a ClusterError."""
        self._pid = get_current_pid()
        self._path = Path(path)
        self._nodes = _read(self._path)

    @classmethod
    async def create(cls, path: str | os.PathLike[str]) -> YamlNodeStore:
        """Read the file without blocking the event loop."""
        return await asyncio.to_thread(cls, path)

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    async def get_nodes(self) -> Sequence[NodeInfo]:
        """Return the nodes last read or written."""
        self._check_pid()
        return self._nodes

    async def set_nodes(self, nodes: Sequence[NodeInfo]) -> None:
        """Replace the nodes, the file as a whole or not at all."""
        self._check_pid()
        unique = _unique(nodes)
        entries = [(node.node_id, node.address, int(node.role)) for node in unique]
        await asyncio.to_thread(_nodefile.write, self._path, entries)
        self._nodes = unique

    def __reduce__(self) -> tuple[type[YamlNodeStore], tuple[str]]:
        """Pickle as the path."""
        return YamlNodeStore, (str(self._path),)

    def _check_pid(self) -> None:
        if get_current_pid() != self._pid:
            raise InterfaceError(after_fork(type(self).__name__, self._pid))


def _read(path: Path) -> tuple[NodeInfo, ...]:
    entries = _nodefile.read(path)
    try:
        return _unique(NodeInfo(n, address, Role(role)) for n, address, role in entries)
    except (TypeError, ValueError) as error:
        raise _nodefile.bad(path, f"has a bad entry: {error!r}") from error


def _unique(nodes: Iterable[NodeInfo]) -> tuple[NodeInfo, ...]:
    """Strip and check addresses; the first of equal ones stays."""
    unique: dict[tuple[str, int], NodeInfo] = {}
    for node in nodes:
        if not is_str(node.address):
            text = f"NodeInfo.address must be str, got {type(node.address).__name__}"
            raise TypeError(text)
        address = node.address.strip()
        if not address:
            text = "NodeInfo.address must be a non-empty 'host:port'"
            raise ValueError(text)
        try:
            canonical = parse_address(address)
        except ValueError as error:
            text = f"NodeInfo.address {address!r} is not a valid 'host:port': {error}"
            raise ValueError(text) from error
        unique.setdefault(canonical, NodeInfo(node.node_id, address, node.role))
    if len(unique) > _NODES_MAX:
        text = f"too many nodes: {len(unique)}, at most {_NODES_MAX} are allowed"
        raise ValueError(text)
    return tuple(unique.values())
