"""`Client` for asyncio: who is in a cluster, who leads it, and changing that."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dqlite import client as sync
from dqlite._options import TLS, Host, Target
from dqlite.aio._threads import in_thread
from dqlite.aio.connection import Connecting, connect
from dqlite.aio.stores import NodeStore
from dqlite.client import LeaderAddress, NodeInfo, NodeMetadata, Role

if TYPE_CHECKING:
    from dqlite.aio.pool import Pool


class Client:
    """Administers a cluster; has no database and needs no engine::

        async with dqlite.aio.Client(["10.0.0.1:9001", "10.0.0.2:9001"]) as client:
            print(await client.leader())
            for node in await client.cluster():
                print(node.id, node.address, node.role_name)

    The twin of `dqlite.Client`, whose methods say more. A node store as target is brought up to
    date by `cluster`.
    """

    def __init__(
        self,
        target: Target | NodeStore | None = None,
        /,
        *,
        cluster: Iterable[str] | None = None,
        hosts: Iterable[str] | None = None,
        timeout: float = 10.0,
        connect_timeout: float = 10.0,
        tls: TLS | bool | None = None,
    ) -> None:
        """Take the addresses of some nodes; `cluster` and `hosts` are other names for `target`.

        `timeout` bounds each call, `connect_timeout` its search for the leader, in seconds.
        """
        self._store = target if isinstance(target, NodeStore) else None
        self._sync = sync.Client(
            target,
            cluster=cluster,
            hosts=hosts,
            timeout=timeout,
            connect_timeout=connect_timeout,
            tls=tls,
        )

    @property
    def cluster_addresses(self) -> list[str]:
        """The addresses this client knows: those given and those learned. A copy."""
        return self._sync.cluster_addresses

    async def leader(self) -> LeaderAddress:
        """Return the leader's address, a `str` with `.address` and `.id`."""
        return await in_thread(self._sync.leader)

    async def cluster(self) -> list[NodeInfo]:
        """Return the members, as the leader knows them."""
        members = await in_thread(self._sync.cluster)
        if self._store is not None:
            await self._store.set_nodes(members)
        return members

    async def add(
        self,
        node_id: int,
        address: str,
        role: int = Role.SPARE,
        *,
        force: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Add a node that runs at `address`, then give it `role`; see `dqlite.Client.add`."""
        add = partial(self._sync.add, force=force, timeout=timeout)
        await in_thread(lambda: add(node_id, address, role))

    async def assign(self, node_id: int, role: int) -> None:
        """Give a member another role."""
        await in_thread(lambda: self._sync.assign(node_id, role))

    async def remove(self, node_id: int, *, force: bool = False) -> None:
        """Remove a member; see `dqlite.Client.remove`."""
        await in_thread(lambda: self._sync.remove(node_id, force=force))

    async def transfer(self, node_id: int = 0) -> None:
        """Make another voter the leader; 0 lets the leader choose."""
        await in_thread(lambda: self._sync.transfer(node_id))

    async def describe(self, address: str | None = None) -> NodeMetadata:
        """Return failure domain and weight of a node, the leader by default."""
        return await in_thread(lambda: self._sync.describe(address))

    async def set_weight(self, weight: int, address: str | None = None) -> None:
        """Set the weight of a node, the leader by default; it is kept in that node's memory."""
        await in_thread(lambda: self._sync.set_weight(weight, address))

    async def dump(self, database: str, *, address: str | None = None) -> dict[str, bytes]:
        """Return the files of a database, by name; see `dqlite.Client.dump`."""
        return await in_thread(lambda: self._sync.dump(database, address=address))

    async def forget_tokens(self, database: str, older_than: float) -> int:
        """Forget tokens of `run_transaction` that are older, in seconds; return how many."""
        return await in_thread(lambda: self._sync.forget_tokens(database, older_than))

    def connect(self, database: str | None = None, **options: Any) -> Connecting:
        """Open a connection to a database of this cluster; options as for `dqlite.aio.connect`."""
        return connect(self, database=database, **options)

    def create_pool(self, database: str | None = None, **options: Any) -> Pool:
        """Make a pool for a database of this cluster; options as for `dqlite.create_pool`."""
        from dqlite.aio.pool import create_pool  # noqa: PLC0415 - administration needs no pool

        return create_pool(self, database=database, **options)

    def connection_targets(self) -> list[Host]:
        """Addresses in the order in which to try them."""
        return self._sync.connection_targets()

    def connection_tls(self) -> TLS | bool | None:
        """Certificates to connect with, if they were given."""
        return self._sync.connection_tls()

    async def close(self) -> None:
        """Refuse further use; idempotent."""
        self._sync.close()

    async def __aenter__(self) -> Client:
        """Return the client itself."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.close()

    def __repr__(self) -> str:
        """Name the addresses and the state."""
        return f"<dqlite.aio.{self._sync!r}>"
