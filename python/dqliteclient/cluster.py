"""`ClusterClient`: who leads, who is a member, and changes of both."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeVar, final

from dqlite import Role
from dqliteclient._checks import after_fork
from dqliteclient._dial import DialFunc
from dqliteclient._policies import (
    RedirectPolicy,
    allowlist_policy,
    default_safe_redirect_policy,
)
from dqliteclient._validate import (
    DEFAULT_CLOSE_TIMEOUT_SECONDS,
    DEFAULT_MAX_CONTINUATION_FRAMES,
    DEFAULT_MAX_TOTAL_ROWS,
    DEFAULT_TIMEOUT_SECONDS,
    check_address,
    get_current_pid,
    is_int,
    parse_address,
    validate_limits,
    validate_max_attempts,
    validate_seconds,
    validate_timeouts,
)
from dqliteclient.connection import DqliteConnection
from dqliteclient.exceptions import ClusterError, ClusterPolicyError, InterfaceError
from dqliteclient.node_store import MemoryNodeStore, NodeInfo, NodeStore
from dqliteclient.protocol import AdminConnection
from dqliteclient.retry import retry_with_backoff

__all__ = [
    "ClusterClient",
    "LeaderInfo",
    "NodeMetadata",
    "RedirectPolicy",
    "allowlist_policy",
    "default_safe_redirect_policy",
]

T = TypeVar("T")

_CONNECT_ATTEMPTS = 3


@final
@dataclass(frozen=True)
class LeaderInfo:
    """The node that leads."""

    node_id: int
    address: str


@final
@dataclass(frozen=True)
class NodeMetadata:
    """What a node says about itself."""

    failure_domain: int
    weight: int


class ClusterClient:
    """Finds the leader among the nodes of a store and talks to it.

    `redirect_policy` says of an address that a node names whether it may be used.
    """

    def __init__(
        self,
        node_store: NodeStore,
        *,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        dial_timeout: float | None = None,
        attempt_timeout: float | None = None,
        concurrent_leader_conns: int = 10,
        redirect_policy: RedirectPolicy | None = None,
        max_total_rows: int | None = DEFAULT_MAX_TOTAL_ROWS,
        max_continuation_frames: int | None = DEFAULT_MAX_CONTINUATION_FRAMES,
        max_message_size: int | None = None,
        trust_server_heartbeat: bool = False,
        dial_func: DialFunc | None = None,
    ) -> None:
        """Check the arguments; nothing is sent."""
        validate_timeouts(timeout, dial_timeout, attempt_timeout)
        validate_limits(
            concurrent_leader_conns=concurrent_leader_conns,
            max_total_rows=max_total_rows,
            max_continuation_frames=max_continuation_frames,
            max_message_size=max_message_size,
        )
        self.dial_func = dial_func
        self._store = node_store
        self._timeout = timeout
        self._dial_timeout = dial_timeout
        self.attempt_timeout = min(dial_timeout or timeout, attempt_timeout or timeout)
        self._redirect_policy = redirect_policy
        self._max_total_rows = max_total_rows
        self._max_continuation_frames = max_continuation_frames
        self._max_message_size = max_message_size
        self._trust_server_heartbeat = trust_server_heartbeat
        self._pid = get_current_pid()

    @classmethod
    def from_addresses(
        cls,
        addresses: Sequence[str],
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        *,
        dial_timeout: float | None = None,
        attempt_timeout: float | None = None,
        concurrent_leader_conns: int = 10,
        redirect_policy: RedirectPolicy | None = None,
        max_total_rows: int | None = DEFAULT_MAX_TOTAL_ROWS,
        max_continuation_frames: int | None = DEFAULT_MAX_CONTINUATION_FRAMES,
        max_message_size: int | None = None,
        trust_server_heartbeat: bool = False,
        dial_func: DialFunc | None = None,
    ) -> ClusterClient:
        """Return a client of the cluster with these nodes."""
        return cls(
            MemoryNodeStore(addresses),
            timeout=timeout,
            dial_timeout=dial_timeout,
            attempt_timeout=attempt_timeout,
            concurrent_leader_conns=concurrent_leader_conns,
            redirect_policy=redirect_policy,
            max_total_rows=max_total_rows,
            max_continuation_frames=max_continuation_frames,
            max_message_size=max_message_size,
            trust_server_heartbeat=trust_server_heartbeat,
            dial_func=dial_func,
        )

    async def nodes(self) -> Sequence[NodeInfo]:
        """Return what the store knows; ClusterError if that is nothing."""
        self._check_pid()
        nodes = await self._store.get_nodes()
        if not nodes:
            text = "No nodes configured"
            raise ClusterError(text)
        return nodes

    async def find_leader(
        self, *, trust_server_heartbeat: bool = False, policy: RedirectPolicy | None = None
    ) -> str:
        """Return the address of the leader; ClusterError if no node knows one."""
        del trust_server_heartbeat  # every wait here has a deadline of its own
        _, address = await (await self._cluster()).get_leader()
        self._check_policy(address, policy)
        return address

    async def leader_info(self, *, policy: RedirectPolicy | None = None) -> LeaderInfo | None:
        """Return id and address of the leader; ClusterError if no node knows one."""
        node_id, address = await (await self._cluster()).get_leader()
        self._check_policy(address, policy)
        return LeaderInfo(node_id, address)

    async def cluster_info(self, *, policy: RedirectPolicy | None = None) -> list[NodeInfo]:
        """Return the members, without those whose address the policy forbids."""
        accept = policy or self._redirect_policy
        members = await (await self._cluster()).cluster()
        return [member for member in members if accept is None or accept(member.address)]

    async def connect(
        self,
        database: str = "default",
        *,
        max_total_rows: int | None = DEFAULT_MAX_TOTAL_ROWS,
        max_continuation_frames: int | None = DEFAULT_MAX_CONTINUATION_FRAMES,
        trust_server_heartbeat: bool = False,
        close_timeout: float = DEFAULT_CLOSE_TIMEOUT_SECONDS,
        max_attempts: int | None = None,
        max_elapsed_seconds: float | None = None,
        policy: RedirectPolicy | None = None,
        max_message_size: int | None = None,
    ) -> DqliteConnection:
        """Return a connection to the leader; tries 3 times unless told otherwise."""

        async def attempt() -> DqliteConnection:
            connection = DqliteConnection(
                await self.find_leader(policy=policy),
                database=database,
                timeout=self._timeout,
                dial_timeout=self._dial_timeout,
                attempt_timeout=self.attempt_timeout,
                max_total_rows=max_total_rows,
                max_continuation_frames=max_continuation_frames,
                trust_server_heartbeat=trust_server_heartbeat,
                close_timeout=close_timeout,
                max_message_size=max_message_size or self._max_message_size,
                dial_func=self.dial_func,
            )
            await connection.connect()
            return connection

        return await self.retried(attempt, max_attempts, max_elapsed_seconds)

    async def retried(
        self,
        attempt: Callable[[], Awaitable[T]],
        max_attempts: int | None,
        max_elapsed_seconds: float | None,
    ) -> T:
        """Return what `attempt` does, trying it again while the cluster is not there."""
        validate_max_attempts(max_attempts)
        if max_elapsed_seconds is not None:
            validate_seconds(max_elapsed_seconds, "max_elapsed_seconds", zero=False)
        return await retry_with_backoff(
            attempt,
            max_attempts=max_attempts or _CONNECT_ATTEMPTS,
            max_delay=1.0,
            max_elapsed_seconds=max_elapsed_seconds,
        )

    async def add_node(self, node_id: int, address: str, *, role: Role = Role.SPARE) -> None:
        """Add a node that runs and answers at `address`."""
        _check_node_id(node_id)
        check_address("add_node", address)
        await (await self._cluster()).add(node_id, address, Role(role))

    async def assign_role(self, node_id: int, role: Role) -> None:
        """Give a member another role."""
        _check_node_id(node_id)
        await (await self._cluster()).assign(node_id, Role(role))

    async def remove_node(self, node_id: int) -> None:
        """Remove a member; leadership moves away from it first."""
        _check_node_id(node_id)
        await (await self._cluster()).remove(node_id)

    async def transfer_leadership(self, target_node_id: int) -> None:
        """Let another voter lead."""
        _check_node_id(target_node_id, "target_node_id")
        await (await self._cluster()).transfer(target_node_id)

    async def describe(self, *, address: str | None = None) -> NodeMetadata:
        """Return failure domain and weight of a node, of the leader if none is named."""
        check_address("describe", address)
        failure_domain, weight = await (await self._cluster()).describe(address)
        return NodeMetadata(failure_domain, weight)

    async def set_weight(self, weight: int, *, address: str | None = None) -> None:
        """Set the weight of a node, of the leader if none is named."""
        if not is_int(weight):
            text = f"weight must be int, got {type(weight).__name__}"
            raise TypeError(text)
        if weight < 0:
            text = f"weight must be >= 0, got {weight}"
            raise ValueError(text)
        check_address("set_weight", address)
        await (await self._cluster()).weight(weight, address)

    async def dump(self, database: str) -> dict[str, bytes]:
        """Return the files of a database by name."""
        if not database:
            text = "database must be a non-empty str"
            raise TypeError(text)
        return await (await self._cluster()).dump(database)

    @contextlib.asynccontextmanager
    async def open_admin_connection(self, address: str) -> AsyncGenerator[AdminConnection, None]:
        """Lend an object that asks the node at `address`, for a block."""
        self._check_pid()
        parse_address(address)
        yield AdminConnection([address], self._timeout, self.attempt_timeout, self.dial_func)

    def __reduce__(self) -> NoReturn:
        """Refuse: it belongs to one process."""
        text = "cannot pickle 'ClusterClient'; make one from its addresses instead"
        raise TypeError(text)

    async def _cluster(self) -> AdminConnection:
        addresses = [node.address for node in await self.nodes()]
        return AdminConnection(addresses, self._timeout, self.attempt_timeout, self.dial_func)

    def _check_policy(self, address: str, policy: RedirectPolicy | None) -> None:
        accept = policy or self._redirect_policy
        if accept is not None and not accept(address):
            text = f"redirect to {address!r} rejected by the redirect policy"
            raise ClusterPolicyError(text, address=address)

    def _check_pid(self) -> None:
        if get_current_pid() != self._pid:
            raise InterfaceError(after_fork("ClusterClient", self._pid))


def _check_node_id(node_id: int, name: str = "node_id") -> None:
    if not is_int(node_id):
        text = f"{name} must be int, got {type(node_id).__name__}"
        raise TypeError(text)
    if node_id < 1:
        text = f"{name} must be >= 1, got {node_id}"
        raise ValueError(text)
