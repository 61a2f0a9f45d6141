"""Parts of dqlite-client that need no server: addresses, timeouts, stores, policies, retries."""

from __future__ import annotations

import pickle

import pytest

from dqlite import Role
from dqliteclient import (
    ClusterClient,
    ClusterError,
    ClusterPolicyError,
    ConnectionPool,
    DqliteConnection,
    DqliteConnectionError,
    MemoryNodeStore,
    NodeInfo,
    NodeStore,
    OperationalError,
    YamlNodeStore,
    allowlist_policy,
    default_safe_redirect_policy,
    parse_address,
    retry_with_backoff,
    validate_positive_int_or_none,
    validate_timeout,
)
from dqliteclient.sql import leading_keyword, split_statements


@pytest.mark.parametrize(
    ("address", "parsed"),
    [
        ("h1:9001", ("h1", 9001)),
        ("LocalHost.:1", ("localhost", 1)),
        ("127.0.0.1:65535", ("127.0.0.1", 65535)),
        ("[::1]:9001", ("::1", 9001)),
        ("[2001:DB8:0:0:0:0:0:1]:9", ("2001:db8::1", 9)),
        ("[::ffff:10.0.0.1]:9", ("10.0.0.1", 9)),
        ("[fe80::1%25eth0]:9", ("fe80::1%eth0", 9)),
    ],
)
def test_addresses_are_canonical(address, parsed) -> None:
    assert parse_address(address) == parsed


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("h1", "expected 'host:port'"),
        (":9001", "empty hostname"),
        ("h1:", "is not a number"),
        ("h1:+1", "is not a number"),
        ("h1:0", "not in range 1-65535"),
        ("h1:-1", "not in range 1-65535"),
        ("h1:65536", "not in range 1-65535"),
        ("::1:9001", "must be bracketed"),
        ("[::1]", r"expected '\[host\]:port'"),
        ("[127.0.0.1]:1", "reserved for IPv6"),
        ("[fe80::1%]:1", "zone"),
        ("0.0.0.0:1", "unspecified"),
        ("[::]:1", "unspecified"),
        ("[::ffff:0.0.0.0]:1", "unspecified"),
        ("224.0.0.1:1", "multicast"),
        ("240.0.0.1:1", "reserved"),
        ("user@h1:1", "not a valid hostname"),
        ("hé:1", "non-ASCII"),
        ("h 1:1", "not a valid hostname"),
        ("h\0:1", "NUL"),
        ("h" * 300 + ":1", "exceeds maximum 256"),
        (7, "expected str"),
    ],
)
def test_bad_addresses(address, text) -> None:
    with pytest.raises(ValueError, match=text):
        parse_address(address)


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), True])
def test_timeouts_must_be_positive_and_finite(value) -> None:
    with pytest.raises(ValueError, match="dial_timeout must be a positive finite number, got"):
        validate_timeout(value, name="dial_timeout")


def test_timeouts_must_be_numbers_above_the_floor() -> None:
    assert validate_timeout(3) == 3.0
    with pytest.raises(TypeError, match="timeout must be a number, got str"):
        validate_timeout("3")
    with pytest.raises(ValueError, match=r"close_timeout must be >= 0.01; got 0.001. because"):
        validate_timeout(0.001, name="close_timeout", min_value=0.01, min_value_rationale="because")


def test_counts_are_ints_or_none() -> None:
    assert validate_positive_int_or_none(None, "n") is None
    assert validate_positive_int_or_none(5, "n") == 5
    for value in ("5", 5.0, True):
        with pytest.raises(TypeError, match="n must be int or None, got"):
            validate_positive_int_or_none(value, "n")
    with pytest.raises(ValueError, match="n must be > 0"):
        validate_positive_int_or_none(0, "n")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"timeout": 0}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"dial_timeout": -1}, ValueError),
        ({"attempt_timeout": float("nan")}, ValueError),
        ({"close_timeout": 0.001}, ValueError),
        ({"max_total_rows": 0}, ValueError),
        ({"max_total_rows": 1.5}, TypeError),
        ({"max_continuation_frames": 0}, ValueError),
        ({"max_message_size": 0}, ValueError),
    ],
)
def test_bad_arguments_of_a_connection(arguments, error) -> None:
    with pytest.raises(error):
        DqliteConnection("h1:9001", **arguments)
    if "close_timeout" not in arguments:
        with pytest.raises(error):
            ClusterClient.from_addresses(["h1:9001"], **arguments)
    with pytest.raises(error):
        ConnectionPool(["h1:9001"], **arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"min_size": -1}, ValueError, "min_size must be between 0 and max_size"),
        ({"min_size": 3, "max_size": 2}, ValueError, "min_size must be between 0 and max_size"),
        ({"max_size": 0, "min_size": 0}, ValueError, "max_size must be >= 1"),
        ({"min_size": 1.0}, TypeError, "min_size must be int"),
        ({"node_store": MemoryNodeStore(["h2:1"])}, ValueError, "at most one of"),
        ({"max_attempts": 0}, ValueError, "max_attempts must be at least 1"),
    ],
)
def test_bad_arguments_of_a_pool(arguments, error, text) -> None:
    with pytest.raises(error, match=text):
        ConnectionPool(["h1:9001"], **arguments)


def test_live_objects_cannot_be_pickled() -> None:
    for value in (DqliteConnection("h1:1"), ClusterClient.from_addresses(["h1:1"])):
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(value)


def test_node_info() -> None:
    info = NodeInfo(1, "h1:9001", 2)
    assert info.role is Role.SPARE
    assert info == NodeInfo(1, "h1:9001", Role.SPARE)
    for node_id, error in ((0, ValueError), (True, TypeError), ("1", TypeError)):
        with pytest.raises(error, match="node_id"):
            NodeInfo(node_id, "h1:9001", 0)
    with pytest.raises(ValueError, match="unknown role 3"):
        NodeInfo(1, "h1:9001", 3)


async def test_memory_store() -> None:
    store = MemoryNodeStore([" h1:1", "H1.:1", "h2:1"])
    assert isinstance(store, NodeStore)
    nodes = [(node.node_id, node.address, node.role) for node in await store.get_nodes()]
    assert nodes == [(1, "h1:1", Role.VOTER), (3, "h2:1", Role.VOTER)]
    await store.set_nodes([NodeInfo(9, "h9:1", 1)])
    assert [node.node_id for node in await store.get_nodes()] == [9]
    older = MemoryNodeStore(initial_addresses=["h3:1"])
    assert [node.address for node in await older.get_nodes()] == ["h3:1"]
    for bad, error in ((["h1"], ValueError), ([7], TypeError)):
        with pytest.raises(error):
            MemoryNodeStore(bad)


GO_DQLITE = """- Address: 127.0.0.1:9001
  ID: 3297041220608546238
  Role: 0
- Address: 127.0.0.1:9002
  ID: 1
  Role: 1
"""


async def test_yaml_store_reads_what_go_dqlite_writes(tmp_path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(GO_DQLITE)
    store = await YamlNodeStore.create(path)
    nodes = await store.get_nodes()
    assert nodes == (
        NodeInfo(3297041220608546238, "127.0.0.1:9001", Role.VOTER),
        NodeInfo(1, "127.0.0.1:9002", Role.STANDBY),
    )
    await store.set_nodes(nodes)
    assert path.read_text() == GO_DQLITE
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert pickle.loads(pickle.dumps(store)).path == path


async def test_yaml_store_reads_what_people_write(tmp_path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("---\n# ours\n- id: '5'\n  address: \"[::1]:9001\"  # here\n  role: stand-by\n")
    assert await YamlNodeStore(path).get_nodes() == (NodeInfo(5, "[::1]:9001", 1),)
    path.write_text("[]\n")
    assert await YamlNodeStore(path).get_nodes() == ()
    assert await YamlNodeStore(tmp_path / "absent").get_nodes() == ()


@pytest.mark.parametrize(
    "text",
    [
        "nodes: 1\n",
        "- ID: x\n  Address: h:1\n",
        "- ID: 1\n",
        "- ID: 1\n  Address: h\n",
        "- ID: 1\n  Address: h:1\n  Role: king\n",
        "x" * (2**20 + 1),
    ],
)
def test_yaml_store_refuses_other_files(tmp_path, text) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(ClusterError, match="YamlNodeStore: "):
        YamlNodeStore(path)


def test_policies() -> None:
    allowed = allowlist_policy(["H1:9001", "[::1]:9001"])
    assert [allowed(a) for a in ("h1.:9001", "[0:0::1]:9001", "h1:9002", "junk")] == [1, 1, 0, 0]
    safe = default_safe_redirect_policy()
    answers = {
        "10.0.0.1:1": True,
        "8.8.8.8:1": True,
        "name:1": True,
        "127.0.0.1:1": False,
        "169.254.1.1:1": False,
        "[fe80::1%25eth0]:1": False,
        "[::ffff:127.0.0.1]:1": False,
        "user@h:1": False,
        "junk": False,
    }
    assert {address: safe(address) for address in answers} == answers
    assert not default_safe_redirect_policy(include_rfc1918=False)("10.0.0.1:1")
    assert default_safe_redirect_policy(include_loopback=True)("127.0.0.1:1")


class Flaky:
    """Fails with these errors, then answers."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def test_retry_goes_on_while_it_is_worth_it() -> None:
    flaky = Flaky(OSError(), DqliteConnectionError("x"), ClusterError("x"))
    assert await retry_with_backoff(flaky, base_delay=0.001) == "done"
    assert flaky.calls == 4


@pytest.mark.parametrize("error", [ClusterPolicyError("x"), OperationalError("x", 1), KeyError()])
async def test_retry_leaves_the_rest_alone(error) -> None:
    flaky = Flaky(error)
    with pytest.raises(type(error)):
        await retry_with_backoff(flaky, base_delay=0)
    assert flaky.calls == 1


async def test_retry_gives_up() -> None:
    flaky = Flaky(*(OSError(n) for n in range(9)))
    with pytest.raises(OSError, match="2"):
        await retry_with_backoff(flaky, max_attempts=3, base_delay=0)
    flaky = Flaky(*(OSError(n) for n in range(9)))
    with pytest.raises(OSError, match=r"\d"):
        await retry_with_backoff(flaky, base_delay=0.02, max_elapsed_seconds=0.01)
    assert flaky.calls <= 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"max_attempts": 0}, ValueError),
        ({"max_attempts": "3"}, TypeError),
        ({"base_delay": -1}, ValueError),
        ({"max_delay": float("inf")}, ValueError),
        ({"jitter": 1}, ValueError),
        ({"jitter": True}, TypeError),
        ({"max_elapsed_seconds": 0}, ValueError),
    ],
)
async def test_retry_checks_its_arguments(arguments, error) -> None:
    with pytest.raises(error):
        await retry_with_backoff(Flaky(), **arguments)


def test_sql_helpers() -> None:
    assert split_statements("select ';'; -- x;\nselect 2") == ["select ';'", "select 2"]
    assert leading_keyword("  /* a */ -- b\n (select 1)") == "SELECT"
    assert leading_keyword("") == ""
