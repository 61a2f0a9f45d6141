"""Names, signatures and versions of dqlite-client 0.8.0 (and the names only 0.2.1 has)."""

from __future__ import annotations

import inspect
import re
from enum import IntEnum

import pytest

import dqlite
import dqliteclient
from dqliteclient import (
    cluster,
    connection,
    exceptions,
    node_store,
    pool,
    protocol,
    retry,
    sql,
)

NAMES = """CLOSE_TIMEOUT_FLOOR CLOSE_TIMEOUT_FLOOR_RATIONALE DEFAULT_CLOSE_TIMEOUT_SECONDS
DEFAULT_TIMEOUT_SECONDS AmbiguousCommitError ClusterClient ClusterError ClusterPolicyError
ConnectionPool DataError DialFunc DqliteConnection DqliteConnectionError DqliteError InterfaceError
LeaderInfo MemoryNodeStore NodeInfo NodeMetadata NodeStore OperationalError ProtocolError
RedirectPolicy YamlNodeStore __version__ allowlist_policy connect create_pool
default_safe_redirect_policy parse_address retry_with_backoff validate_timeout
DEFAULT_MAX_MESSAGE_SIZE get_current_pid validate_positive_int_or_none"""

_CONNECT = (
    "database='default', timeout=10.0, dial_timeout=None, attempt_timeout=None, "
    "max_total_rows=10000000, max_continuation_frames=100000, trust_server_heartbeat=False, "
    "close_timeout=0.5, dial_func=None, max_message_size=None"
)
_SIZES = (
    "database='default', min_size=1, max_size=10, timeout=10.0, dial_timeout=None, "
    "attempt_timeout=None, cluster=None, node_store=None, max_total_rows=10000000, "
    "max_continuation_frames=100000, trust_server_heartbeat=False, close_timeout=0.5"
)
_RETRY = "max_attempts=None, max_elapsed_seconds=None, dial_func=None, concurrent_leader_conns=None"
_CLUSTER = (
    "dial_timeout=None, attempt_timeout=None, concurrent_leader_conns=10, redirect_policy=None, "
    "max_total_rows=10000000, max_continuation_frames=100000, max_message_size=None, "
    "trust_server_heartbeat=False, dial_func=None"
)


def test_every_name_is_there() -> None:
    assert set(NAMES.split()) == set(dqliteclient.__all__)
    assert all(hasattr(dqliteclient, name) for name in dqliteclient.__all__)
    assert dqliteclient.__dqlite_face__ is True


def test_submodules_that_users_import() -> None:
    assert callable(connection.is_no_transaction_error)
    for module in (cluster, connection, exceptions, node_store, pool, protocol, retry, sql):
        assert all(hasattr(module, name) for name in module.__all__)


def test_constants_and_version() -> None:
    assert dqliteclient.DEFAULT_TIMEOUT_SECONDS == 10.0
    assert dqliteclient.DEFAULT_CLOSE_TIMEOUT_SECONDS == 0.5
    assert dqliteclient.CLOSE_TIMEOUT_FLOOR == 0.01
    assert dqliteclient.DEFAULT_MAX_MESSAGE_SIZE == 64 * 2**20
    assert dqliteclient.__version__ == f"0.8.0+dqlite.{dqlite.__version__}"


@pytest.mark.parametrize(
    ("name", "recorded"),
    [
        ("connect", f"(address, *, {_CONNECT})"),
        (
            "create_pool",
            f"(addresses=None, *, {_SIZES}, {_RETRY}, redirect_policy=None, max_message_size=None)",
        ),
        ("DqliteConnection.__init__", f"(self, address, *, {_CONNECT})"),
        ("DqliteConnection.execute", "(self, sql, params=None)"),
        ("DqliteConnection.fetch", "(self, sql, params=None)"),
        ("DqliteConnection.fetchall", "(self, sql, params=None)"),
        ("DqliteConnection.fetchone", "(self, sql, params=None)"),
        ("DqliteConnection.fetchval", "(self, sql, params=None)"),
        ("DqliteConnection.query_raw", "(self, sql, params=None)"),
        ("DqliteConnection.query_raw_typed", "(self, sql, params=None)"),
        ("DqliteConnection.transaction", "(self)"),
        ("DqliteConnection.connect", "(self)"),
        ("DqliteConnection.close", "(self)"),
        ("DqliteConnection.terminate", "(self)"),
        (
            "ConnectionPool.__init__",
            (
                f"(self, addresses=None, *, {_SIZES}, max_message_size=None, {_RETRY}, "
                "redirect_policy=None)"
            ),
        ),
        ("ConnectionPool.acquire", "(self)"),
        ("ConnectionPool.initialize", "(self)"),
        ("ConnectionPool.close", "(self)"),
        ("ConnectionPool.execute", "(self, sql, params=None)"),
        ("ConnectionPool.fetch", "(self, sql, params=None)"),
        ("ConnectionPool.fetchall", "(self, sql, params=None)"),
        ("ConnectionPool.fetchone", "(self, sql, params=None)"),
        ("ConnectionPool.fetchval", "(self, sql, params=None)"),
        ("ClusterClient.__init__", f"(self, node_store, *, timeout=10.0, {_CLUSTER})"),
        ("ClusterClient.from_addresses", f"(addresses, timeout=10.0, *, {_CLUSTER})"),
        (
            "ClusterClient.connect",
            (
                "(self, database='default', *, max_total_rows=10000000, "
                "max_continuation_frames=100000, trust_server_heartbeat=False, close_timeout=0.5, "
                "max_attempts=None, max_elapsed_seconds=None, policy=None, max_message_size=None)"
            ),
        ),
        ("ClusterClient.find_leader", "(self, *, trust_server_heartbeat=False, policy=None)"),
        ("ClusterClient.leader_info", "(self, *, policy=None)"),
        ("ClusterClient.cluster_info", "(self, *, policy=None)"),
        ("ClusterClient.add_node", "(self, node_id, address, *, role=2)"),
        ("ClusterClient.assign_role", "(self, node_id, role)"),
        ("ClusterClient.remove_node", "(self, node_id)"),
        ("ClusterClient.transfer_leadership", "(self, target_node_id)"),
        ("ClusterClient.describe", "(self, *, address=None)"),
        ("ClusterClient.set_weight", "(self, weight, *, address=None)"),
        ("ClusterClient.dump", "(self, database)"),
        ("ClusterClient.open_admin_connection", "(self, address)"),
        ("LeaderInfo.__init__", "(self, node_id, address)"),
        ("NodeMetadata.__init__", "(self, failure_domain, weight)"),
        ("NodeInfo.__init__", "(self, node_id, address, role)"),
        ("MemoryNodeStore.__init__", "(self, addresses=None, *, initial_addresses=None)"),
        ("MemoryNodeStore.set_nodes", "(self, nodes)"),
        ("YamlNodeStore.__init__", "(self, path)"),
        ("YamlNodeStore.create", "(path)"),
        ("allowlist_policy", "(addresses)"),
        (
            "default_safe_redirect_policy",
            "(*, include_rfc1918=True, include_loopback=False)",
        ),
        ("parse_address", "(address)"),
        (
            "validate_timeout",
            "(value, *, name='timeout', min_value=0.0, min_value_rationale=None)",
        ),
        (
            "retry_with_backoff",
            (
                "(func, max_attempts=5, base_delay=0.1, max_delay=10.0, jitter=0.1, "
                "max_elapsed_seconds=None, "
                "retryable_exceptions=(OSError, ConnectionFailedError, ClusterError), "
                "excluded_exceptions=(ClusterPolicyError,))"
            ),
        ),
    ],
)
def test_signatures(name, recorded) -> None:
    function = dqliteclient
    for part in name.split("."):
        function = getattr(function, part)
    signature = inspect.signature(function)
    plain = [bare(parameter) for parameter in signature.parameters.values()]
    shown = str(signature.replace(parameters=plain, return_annotation=signature.empty))
    assert re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", shown) == recorded


def bare(parameter: inspect.Parameter) -> inspect.Parameter:
    default = parameter.default
    return parameter.replace(
        annotation=parameter.empty,
        default=int(default) if isinstance(default, IntEnum) else default,
    )


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("DqliteError", "Error"),
        ("DqliteConnectionError", "ConnectionFailedError"),
        ("InterfaceError", "InterfaceError"),
        ("DataError", "DataError"),
        ("ClusterError", "ClusterError"),
        ("ClusterPolicyError", "ClusterPolicyError"),
        ("ProtocolError", "ProtocolError"),
    ],
)
def test_aliases(name, ours) -> None:
    assert getattr(dqliteclient, name) is getattr(dqlite.exceptions, ours)


def test_operational_error_stands_apart() -> None:
    theirs = dqliteclient.OperationalError
    assert issubclass(theirs, dqliteclient.DqliteError)
    assert not issubclass(dqliteclient.DqliteConnectionError, theirs)
    assert issubclass(dqliteclient.AmbiguousCommitError, theirs)
    assert issubclass(dqliteclient.AmbiguousCommitError, dqlite.exceptions.AmbiguousCommitError)
    error = theirs("x" * 5000, 5, raw_message="y" * 5000)
    assert (error.code, len(error.raw_message)) == (5, 4096)
    assert str(error) == "x" * 1024 + "... [truncated, 3976 chars]"
