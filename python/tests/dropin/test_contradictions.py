"""Where the published pages contradict each other (python-api chapter 11.1): both sides hold.

What other files prove in passing is not repeated: addresses that redirect (13), dict and list rows
(14), NULL (15), fork (17), Python versions and installation (21).
"""

from __future__ import annotations

import pytest

import dqlitepy
from dqlitepy import Client, Node

pytestmark = pytest.mark.cluster


def test_enter_starts_and_one_explicit_start_is_accepted(addresses, tmp_path) -> None:
    with Node(addresses(1)[0], tmp_path) as node:
        assert node.is_running
        node.start()
        with pytest.raises(dqlitepy.NodeAlreadyRunningError):
            node.start()
    assert not node.is_running


def test_leaving_the_block_hands_over(own_trio) -> None:
    leader = own_trio.leader()
    leader.__exit__(None, None, None)
    assert not leader.is_running
    assert own_trio.leader() is not leader


def test_add_takes_both_forms(own_trio, addresses, tmp_path) -> None:
    four, five = addresses(2)
    with (
        Client(own_trio.addresses) as client,
        Node(four, tmp_path / "4", node_id=4),
        Node(five, tmp_path / "5", node_id=5),
    ):
        client.add(4, four)
        client.add(node_id=5, address=five)
        assert {4, 5} < {member.id for member in client.cluster()}


def test_everything_around_statements_can_be_caught_by_any_name(node) -> None:
    for name in ("NodeError", "DqliteError", "DatabaseError"):
        with pytest.raises(getattr(dqlitepy, name)):
            node.exec("nonsense")


@pytest.mark.slow
def test_no_leader_is_every_promised_class(own_trio, until) -> None:
    survivor = own_trio.follower()
    survivor.open_db()
    for node in own_trio.nodes:
        if node is not survivor:
            node.close()
    error = until(lambda: refusal(survivor))
    for cls in (
        dqlitepy.ClientError,
        dqlitepy.ClusterError,
        dqlitepy.NodeError,
        dqlitepy.DatabaseError,
        dqlitepy.ClusterQuorumLostError,
    ):
        assert isinstance(error, cls)


def refusal(node) -> dqlitepy.NoLeaderError | None:
    """What a write gets once the last leader has noticed that it is alone."""
    try:
        node.exec("CREATE TABLE IF NOT EXISTS t (a)")
    except dqlitepy.NoLeaderError as error:
        return error
    except dqlitepy.ClusterQuorumLostError:
        return None
    return None


def test_stop_is_graceful_with_and_without_the_bypass(addresses, tmp_path, monkeypatch) -> None:
    for bypass in ("0", "1"):
        monkeypatch.setenv("DQLITEPY_BYPASS_STOP", bypass)
        node = Node(addresses(1)[0], tmp_path / bypass)
        node.start()
        assert node.stop() is None
        assert not node.is_running


def test_nodes_form_or_join_in_any_order(addresses, tmp_path, until) -> None:
    three = addresses(3)
    nodes = [Node(address, tmp_path / address, cluster=three) for address in three]
    try:
        for node in reversed(nodes):
            node.start()
        with Client(three[:1]) as client:
            until(lambda: len(client.cluster()) == 3)
            ids = [member.id for member in client.cluster()]
        assert sorted(ids) == sorted(node.id for node in nodes)
        assert len(set(ids)) == 3
    finally:
        for node in nodes:
            node.close()


@pytest.mark.slow
def test_a_node_with_another_id_waits_to_be_added(addresses, tmp_path) -> None:
    with Node(addresses(1)[0], tmp_path, node_id=2) as node:
        assert node.is_running
        with pytest.raises(dqlitepy.ClientConnectionError) as info:
            Client([node.address])
        assert isinstance(info.value, dqlitepy.NoLeaderError)


def test_statements_go_to_the_leader_from_any_node(trio) -> None:
    follower = trio.follower()
    follower.open_db("anywhere.db")
    follower.exec("CREATE TABLE t (a)")
    leader = trio.leader()
    leader.open_db("anywhere.db")
    assert leader.query("SELECT * FROM t") == []


def test_begin_cannot_fail_halfway(node) -> None:
    """BEGIN takes the write lock: a stale read cannot spoil the transaction later."""
    node.exec("CREATE TABLE t (a)")
    node.begin()
    assert node.query("SELECT count(*) AS n FROM t") == [{"n": 0}]
    assert node.exec("INSERT INTO t VALUES (1)")[1] == 1
    node.commit()


def test_two_nodes_both_vote(addresses, tmp_path) -> None:
    one, two = addresses(2)
    with (
        Node(one, tmp_path / "1", node_id=1),
        Node(two, tmp_path / "2", node_id=2),
        Client([one]) as client,
    ):
        client.add(2, two)
        roles = [member.role_name for member in client.cluster()]
    assert roles == ["Voter", "Voter"]


def test_data_dir_takes_text_and_path(tmp_path) -> None:
    assert Node("127.0.0.1:9001", str(tmp_path)).data_dir == tmp_path
    assert Node("127.0.0.1:9001", tmp_path).data_dir == tmp_path
