"""Cluster administration against real nodes."""

from __future__ import annotations

import pickle
import time

import pytest

import dqlite

pytestmark = pytest.mark.cluster


@pytest.fixture
def client(trio):
    with dqlite.Client(trio.addresses) as client:
        yield client


def test_leader_is_an_address_with_an_id(client, trio):
    leader = client.leader()
    assert leader in trio.addresses
    assert leader.address == str(leader) == f"{leader}"
    assert leader.id == trio.leader().id
    assert pickle.loads(pickle.dumps(leader)).id == leader.id


def test_members(client, trio):
    members = client.cluster()
    assert sorted(member.address for member in members) == sorted(trio.addresses)
    assert {member.role_name for member in members} == {"Voter"}
    assert {member.id for member in members} == {node.id for node in trio.nodes}
    assert members[0].node_id == members[0].id


def test_membership_is_idempotent(client, trio, addresses, tmp_path):
    address = addresses(1)[0]
    node = dqlite.Node(address, tmp_path, node_id=77)
    node.start()
    for _ in range(2):
        client.add(77, address, dqlite.Role.STANDBY)
    assert dqlite.NodeInfo(77, address, dqlite.Role.STANDBY) in client.cluster()
    client.assign(77, dqlite.Role.SPARE)
    client.assign(77, dqlite.Role.SPARE)
    for _ in range(2):
        client.remove(77)
    assert 77 not in [member.id for member in client.cluster()]
    node.close()


def test_a_voter_must_answer(client, addresses):
    address = addresses(1)[0]
    with pytest.raises(dqlite.ClusterError, match=address):
        client.add(78, address, dqlite.Role.VOTER)
    assert 78 not in [member.id for member in client.cluster()]


def test_the_id_0_never_reaches_a_server(client, addresses):
    members = client.cluster()
    with pytest.raises(dqlite.ProgrammingError, match="id from 1 on"):
        client.add(0, addresses(1)[0])
    assert client.cluster() == members


def test_the_last_voter_stays_one(addresses, tmp_path):
    host = addresses(1)[0]
    with dqlite.Node(host, tmp_path) as node, dqlite.Client([host]) as client:
        for call in (
            lambda: client.assign(node.id, dqlite.Role.SPARE),
            lambda: client.remove(node.id),
            client.transfer,
        ):
            with pytest.raises(dqlite.ClusterError, match="voter"):
                call()
        assert client.leader() == host


def test_transfer(client, trio, until):
    old = client.leader()
    other = next(node for node in trio.nodes if node.address != old)
    client.transfer(other.id)
    assert until(lambda: client.leader() == other.address)


def test_describe_and_weight(client):
    client.set_weight(3)
    assert client.describe() == dqlite.NodeMetadata(0, 3)
    client.set_weight(0)


def test_dump(client):
    with client.connect("dumped") as conn:
        conn.execute("create table t(a)")
    files = client.dump("dumped")
    assert files["dumped"].startswith(b"SQLite format 3\0")
    with pytest.raises(dqlite.ProgrammingError):
        client.dump("nowhere")


def test_closed_client(trio):
    client = dqlite.Client(cluster=trio.addresses)
    client.close()
    client.close()
    with pytest.raises(dqlite.InterfaceError, match="closed"):
        client.leader()
    assert "status=closed" in repr(client)


def test_nobody_there(addresses):
    host = addresses(1)[0]
    client = dqlite.Client([host], timeout=0.5, connect_timeout=0.5)
    with pytest.raises(dqlite.NoLeaderError, match=host) as caught:
        client.leader()
    assert caught.value.attempts[0][0] == host


def test_numbers_that_cannot_be_sent(addresses):
    host = addresses(1)[0]
    client = dqlite.Client([host])
    for call in (
        lambda: client.assign(1, 9),
        lambda: client.add(2**64, host),
        lambda: client.remove(-1),
        lambda: client.transfer("1"),
        lambda: client.set_weight(-1),
    ):
        with pytest.raises(dqlite.ProgrammingError, match="must be"):
            call()


def test_a_change_looks_for_the_leader_no_longer_than_other_calls(addresses):
    client = dqlite.Client(addresses(1), connect_timeout=0.3)
    begun = time.monotonic()
    with pytest.raises(dqlite.NoLeaderError):
        client.assign(1, dqlite.Role.VOTER)
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("hosts", [[], ["host:0"], [""], ["a:99999"]])
def test_malformed_hosts(hosts):
    with pytest.raises(dqlite.ProgrammingError):
        dqlite.Client(hosts)
    with pytest.raises(dqlite.ProgrammingError):
        dqlite.Client(hosts, cluster=hosts)
