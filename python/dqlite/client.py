"""`Client`: who is in a cluster, who leads it, and changing that."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from types import TracebackType
from typing import Any, NamedTuple

from dqlite import _native, exceptions
from dqlite._options import TLS, HasTLS, Host, Target, security
from dqlite._options import hosts as hosts_of
from dqlite._rerun import FORGET, is_missing_table
from dqlite.connection import Connection, connect


class Role(enum.IntEnum):
    """What a node does for its cluster."""

    VOTER = 0
    """Stores the data and votes."""
    STANDBY = 1
    """Stores the data, ready to become a voter."""
    SPARE = 2
    """Stores nothing, until it gets another role."""

    def __str__(self) -> str:
        """Return the number, as text."""
        return str(self.value)


_ROLE_NAMES = {Role.VOTER: "Voter", Role.STANDBY: "StandBy", Role.SPARE: "Spare"}


class NodeInfo(NamedTuple):
    """A member of a cluster."""

    id: int
    address: str
    role: Role

    @property
    def role_name(self) -> str:
        """``"Voter"``, ``"StandBy"`` or ``"Spare"``."""
        return _ROLE_NAMES[self.role]

    @property
    def node_id(self) -> int:
        """The same as `id`."""
        return self.id


class NodeMetadata(NamedTuple):
    """What a node says of itself."""

    failure_domain: int
    weight: int


class LeaderAddress(str):
    """The address of the leader: a text that also has `address` and `id`."""

    __slots__ = ("id",)

    id: int

    def __new__(cls, address: str, id: int) -> LeaderAddress:
        """Make one of an address and the node's id."""
        made = super().__new__(cls, address)
        made.id = id
        return made

    @property
    def address(self) -> str:
        """The address as plain text."""
        return str.__str__(self)

    def __reduce__(self) -> tuple[type[LeaderAddress], tuple[str, int]]:
        """Pickle with the id."""
        return LeaderAddress, (self.address, self.id)


class Client:
    """Administers a cluster; has no database and needs no engine::

        with dqlite.Client(["10.0.0.1:9001", "10.0.0.2:9001"]) as client:
            print(client.leader())
            for node in client.cluster():
                print(node.id, node.address, node.role_name)

    Each call finds the leader, asks it and disconnects; the constructor does no I/O. Membership
    calls may be repeated after any error: what is done already is done. Threads may share it.
    Raises NoLeaderError if nobody leads, ClusterError if a change is refused.
    """

    def __init__(
        self,
        target: Target | None = None,
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
        lists = (None if one is None else list(one) for one in (cluster, hosts))
        given = [one for one in (target, *lists) if one is not None]
        if len(given) > 1:
            text = "give one of target, cluster and hosts"
            raise exceptions.ProgrammingError(text)
        where = given[0] if given else None
        self._closed = True
        self._tls = where.connection_tls() if tls is None and isinstance(where, HasTLS) else tls
        self._given = None if where is None else hosts_of(where)
        config = _native.Config(
            self._given,
            connect_timeout=connect_timeout,
            tls=security(where, tls),
        )
        self._config = config
        self._admin = _native.Admin(config, timeout)
        self._closed = False

    @property
    def cluster_addresses(self) -> list[str]:
        """The addresses this client knows: those given and those learned. A copy."""
        return self._admin.hosts

    def leader(self) -> LeaderAddress:
        """Return the leader's address, a `str` with `.address` and `.id`."""
        node_id, address = self._open().leader()
        return LeaderAddress(address, node_id)

    def cluster(self) -> list[NodeInfo]:
        """Return the members, as the leader knows them."""
        members = self._open().cluster()
        return [NodeInfo(node_id, address, Role(role)) for node_id, address, role in members]

    def add(
        self,
        node_id: int,
        address: str,
        role: int = Role.SPARE,
        *,
        force: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Add a node that runs at `address`, then give it `role`.

        A node that is to be a voter must answer there, unless `force`; else ClusterError, and
        nothing has changed. A voter must catch up first, which takes time: `timeout` seconds, if
        that is not what the client has.
        """
        admin = self._open()
        if timeout is not None:
            admin = _native.Admin(self._config, timeout)
        admin.add(_whole("node_id", node_id), address, _role(role), force)

    def assign(self, node_id: int, role: int) -> None:
        """Give a member another role."""
        self._open().assign(_whole("node_id", node_id), _role(role))

    def remove(self, node_id: int, *, force: bool = False) -> None:
        """Remove a member; an id that is none is no error. A leader hands over first.

        Refused for the last voter, and where of the voters that stay no majority answers, unless
        `force`.
        """
        self._open().remove(_whole("node_id", node_id), force)

    def transfer(self, node_id: int = 0) -> None:
        """Make another voter the leader; 0 lets the leader choose."""
        self._open().transfer(_whole("node_id", node_id))

    def describe(self, address: str | None = None) -> NodeMetadata:
        """Return failure domain and weight of a node, the leader by default."""
        return NodeMetadata(*self._open().describe(address))

    def set_weight(self, weight: int, address: str | None = None) -> None:
        """Set the weight of a node, the leader by default; it is kept in that node's memory."""
        self._open().set_weight(_whole("weight", weight), address)

    def dump(self, database: str, *, address: str | None = None) -> dict[str, bytes]:
        """Return the files of a database, by name; the leader stands still while it copies.

        With `address` they are those of that node, whose copy may lag behind.
        """
        return self._open().dump(database, address)

    def forget_tokens(self, database: str, older_than: float) -> int:
        """Forget tokens of `run_transaction` that are older, in seconds; return how many.

        Who uses one of these again has its transaction run again.
        """
        given: Any = older_than
        if not isinstance(given, (int, float)):
            text = f"older_than must be a number of seconds, not {given!r}"
            raise exceptions.ProgrammingError(text, outcome="not_sent")
        with self.connect(database) as connection:
            try:
                return connection.execute(FORGET, (older_than,)).rowcount
            except exceptions.OperationalError as error:
                if not is_missing_table(error):
                    raise
                return 0

    def connect(self, database: str | None = None, **options_: Any) -> Connection:
        """Open a connection to a database of this cluster; options as for `dqlite.connect`."""
        self._open()
        return connect(self, database=database, **options_)

    def connection_targets(self) -> list[Host]:
        """Addresses in the order in which to try them."""
        known = self._admin.hosts
        if isinstance(self._given, list):  # sockets among them, which have no address as text
            return [*self._given, *known[len(self._given) :]]
        return list(known)

    def connection_tls(self) -> TLS | bool | None:
        """Certificates to connect with, if they were given."""
        return self._tls

    def close(self) -> None:
        """Refuse further use; idempotent."""
        self._closed = True

    def __enter__(self) -> Client:
        """Return the client itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Name the addresses and the state."""
        status = "closed" if self._closed else "open"
        return f"Client(cluster={self.cluster_addresses!r}, status={status})"

    def _open(self) -> _native.Admin:
        if self._closed:
            text = "client is closed"
            raise exceptions.InterfaceError(text)
        return self._admin


def _role(role: int) -> Role:
    try:
        return Role(role)
    except ValueError:
        text = f"role must be 0 (voter), 1 (stand-by) or 2 (spare), not {role!r}"
        raise exceptions.ProgrammingError(text) from None


def _whole(what: str, number: object) -> int:
    if isinstance(number, int) and 0 <= number < 1 << 64:
        return number
    text = f"{what} must be a whole number of 64 bits without sign, not {number!r}"
    raise exceptions.ProgrammingError(text)
