"""The client of dqlitepy: ask a cluster who leads it, list, add and remove its nodes."""

from __future__ import annotations

from types import TracebackType

import dqlite
from dqlite import LeaderAddress, Role
from dqlitepy import exceptions
from dqlitepy._translate import client_errors

__all__ = ["Client", "NodeInfo"]


class NodeInfo(dqlite.NodeInfo):
    """A member of the cluster: `id`, `address`, `role` as a number, `role_name` as a word."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return it with the word for the role."""
        return f"NodeInfo(id={self.id}, address={self.address!r}, role={self.role_name})"


class Client:
    """Client for managing a cluster; it needs no node of its own and is safe to share by threads.

    Everything it raises is a ClientError, NoLeaderError if nobody leads.
    """

    def __init__(self, cluster: list[str]) -> None:
        """Find the leader from any of the addresses; ClientConnectionError if that fails."""
        self._closed = False
        self._addresses = list(cluster)
        with client_errors("client_create", exceptions.ClientConnectionError):
            self._admin = dqlite.Client(self._addresses)
            self._admin.leader()

    @property
    def cluster_addresses(self) -> list[str]:
        """The addresses this client knows: those given and those learned; a copy."""
        known = self._admin.cluster_addresses
        return self._addresses + [address for address in known if address not in self._addresses]

    def leader(self) -> LeaderAddress:
        """Return the address of the current leader, a str that also has `address` and `id`."""
        with client_errors("client_leader"):
            return self._open("client_leader").leader()

    def add(self, node_id: int, address: str) -> None:
        """Add a node as a voter; it must be running and answer at this address."""
        with client_errors("client_add"):
            self._open("client_add").add(node_id, address, Role.VOTER)

    def remove(self, node_id: int) -> None:
        """Remove a node; the leader is refused, an unknown id is done already."""
        with client_errors("client_remove"):
            admin = self._open("client_remove")
            if admin.leader().id == node_id:
                text = f"node {node_id} leads; transfer leadership first"
                raise exceptions.ClientError(-1, "client_remove", text)
            admin.remove(node_id)

    def cluster(self) -> list[NodeInfo]:
        """Return the members of the cluster."""
        with client_errors("client_cluster"):
            return [NodeInfo(*member) for member in self._open("client_cluster").cluster()]

    def close(self) -> None:
        """Close the client; idempotent, and what garbage collection does without a warning."""
        self._closed = True
        self._admin.close()

    def __enter__(self) -> Client:
        """Return the client."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close the client; exceptions pass."""
        self.close()

    def __repr__(self) -> str:
        """Return the addresses and whether it is open."""
        status = "closed" if self._closed else "open"
        return f"Client(cluster={self._addresses}, status={status})"

    def _open(self, context: str) -> dqlite.Client:
        if self._closed:
            text = "client is closed"
            raise exceptions.ClientClosedError(-1, context, text)
        return self._admin
