"""The requests of cluster administration, one method each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from dqlite import Role, _native
from dqlite import exceptions as canonical
from dqliteclient._dial import DialFunc, hosts_through
from dqliteclient._errors import their_errors
from dqliteclient.node_store import NodeInfo

__all__ = ["AdminConnection"]

T = TypeVar("T")


class AdminConnection:
    """Asks the cluster that the given nodes belong to; each request dials anew."""

    def __init__(
        self,
        addresses: Sequence[str],
        timeout: float,
        connect_timeout: float,
        dial_func: DialFunc | None = None,
    ) -> None:
        """Nothing is sent yet; times in seconds."""
        self._addresses = list(addresses)
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._dial_func = dial_func

    async def get_leader(self) -> tuple[int, str]:
        """Return id and address of the leader."""
        return await self._call(_native.Admin.leader)

    async def cluster(self) -> list[NodeInfo]:
        """Return the members."""
        members = await self._call(_native.Admin.cluster)
        return [NodeInfo(node_id, address, Role(role)) for node_id, address, role in members]

    async def add(self, node_id: int, address: str, role: Role = Role.SPARE) -> None:
        """Add a node."""
        await self._call(lambda admin: admin.add(node_id, address, int(role), False))

    async def assign(self, node_id: int, role: Role) -> None:
        """Give a member another role."""
        await self._call(lambda admin: admin.assign(node_id, int(role)))

    async def remove(self, node_id: int) -> None:
        """Remove a member."""
        await self._call(lambda admin: admin.remove(node_id))

    async def transfer(self, target_node_id: int) -> None:
        """Let another voter lead."""
        await self._call(lambda admin: admin.transfer(target_node_id))

    async def describe(self, address: str | None = None) -> tuple[int, int]:
        """Return failure domain and weight of a node."""
        self._check_direct()
        return await self._call(lambda admin: admin.describe(address))

    async def weight(self, weight: int, address: str | None = None) -> None:
        """Set the weight of a node."""
        self._check_direct()
        await self._call(lambda admin: admin.set_weight(weight, address))

    async def dump(self, database: str) -> dict[str, bytes]:
        """Return the files of a database by name."""
        return await self._call(lambda admin: admin.dump(database))

    async def _call(self, request: Callable[[_native.Admin], T]) -> T:
        """Membership is no data path: a thread waits, the loop goes on."""
        with their_errors(", ".join(self._addresses)):
            through = hosts_through(self._dial_func, self._connect_timeout, self._addresses)
            async with through as hosts:
                config = _native.Config(hosts, connect_timeout=self._connect_timeout)
                admin = _native.Admin(config, self._timeout)
                return await asyncio.to_thread(request, admin)

    def _check_direct(self) -> None:
        """Refuse to dial a certain node past `dial_func`."""
        if self._dial_func is not None:
            text = "describe and weight dial the node itself: they do not work with dial_func"
            raise canonical.NotSupportedError(text)
