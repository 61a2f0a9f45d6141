"""The requests of cluster administration, one method each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from dqlite import Role, _native
from dqliteclient._errors import their_errors
from dqliteclient.node_store import NodeInfo

__all__ = ["AdminConnection"]

T = TypeVar("T")


class AdminConnection:
    """Asks the cluster that the given nodes belong to; each request dials anew."""

    def __init__(self, addresses: Sequence[str], timeout: float, connect_timeout: float) -> None:
        """Nothing is sent yet; times in seconds."""
        config = _native.Config(list(addresses), connect_timeout=connect_timeout)
        self._admin = _native.Admin(config, timeout)
        self._address = ", ".join(addresses)

    async def get_leader(self) -> tuple[int, str]:
        """Return id and address of the leader."""
        return await self._call(self._admin.leader)

    async def cluster(self) -> list[NodeInfo]:
        """Return the members."""
        members = await self._call(self._admin.cluster)
        return [NodeInfo(node_id, address, Role(role)) for node_id, address, role in members]

    async def add(self, node_id: int, address: str, role: Role = Role.SPARE) -> None:
        """Add a node."""
        await self._call(lambda: self._admin.add(node_id, address, int(role), False))

    async def assign(self, node_id: int, role: Role) -> None:
        """Give a member another role."""
        await self._call(lambda: self._admin.assign(node_id, int(role)))

    async def remove(self, node_id: int) -> None:
        """Remove a member."""
        await self._call(lambda: self._admin.remove(node_id))

    async def transfer(self, target_node_id: int) -> None:
        """Let another voter lead."""
        await self._call(lambda: self._admin.transfer(target_node_id))

    async def describe(self, address: str | None = None) -> tuple[int, int]:
        """Return failure domain and weight of a node."""
        return await self._call(lambda: self._admin.describe(address))

    async def weight(self, weight: int, address: str | None = None) -> None:
        """Set the weight of a node."""
        await self._call(lambda: self._admin.set_weight(weight, address))

    async def dump(self, database: str) -> dict[str, bytes]:
        """Return the files of a database by name."""
        return await self._call(lambda: self._admin.dump(database))

    async def _call(self, request: Callable[[], T]) -> T:
        """Membership is no data path: a thread waits, the loop goes on."""
        with their_errors(self._address):
            return await asyncio.to_thread(request)
