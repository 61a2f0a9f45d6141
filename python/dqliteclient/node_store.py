"""Where a cluster client learns addresses from: memory, or go-dqlite's YAML file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol, final, runtime_checkable

from dqlite import Role
from dqliteclient._checks import after_fork
from dqliteclient._validate import get_current_pid, parse_address
from dqliteclient.exceptions import InterfaceError

__all__ = ["MemoryNodeStore", "NodeInfo", "NodeStore"]


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
        if isinstance(self.node_id, bool) or not isinstance(self.node_id, int):
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
            if not isinstance(address, str):
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


def _unique(nodes: Iterable[NodeInfo]) -> tuple[NodeInfo, ...]:
    """Strip and check addresses; the first of equal ones stays."""
    unique: dict[tuple[str, int], NodeInfo] = {}
    for node in nodes:
        address = node.address.strip()
        try:
            canonical = parse_address(address)
        except ValueError as error:
            text = f"NodeInfo.address {address!r} is not a valid 'host:port': {error}"
            raise ValueError(text) from error
        unique.setdefault(canonical, NodeInfo(node.node_id, address, node.role))
    return tuple(unique.values())
