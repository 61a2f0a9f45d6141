"""What dqlitepy's page promises of `Client`, line by line, on real nodes."""

from __future__ import annotations

import gc

import pytest

import dqlite
import dqlitepy
from dqlitepy import Client, Node

pytestmark = pytest.mark.cluster


@pytest.fixture
def client(trio):
    with Client(trio.addresses[:1]) as connected:
        yield connected


def test_leader_prints_as_address_and_has_one(client, trio) -> None:
    leader = client.leader()
    assert isinstance(leader, str)
    assert f"{leader}" == leader.address == str(leader)
    assert leader in trio.addresses
    assert leader.id in {member.id for member in client.cluster()}


def test_cluster_lists_members(client, trio) -> None:
    members = client.cluster()
    assert sorted(member.address for member in members) == sorted(trio.addresses)
    for member in members:
        assert (member.role, int(member.role), member.role_name) == (0, 0, "Voter")
        assert str(member.role) == "0"
        assert isinstance(member.id, int)


def test_cluster_addresses_are_a_copy(client, trio) -> None:
    known = client.cluster_addresses
    assert trio.addresses[0] in known
    known.clear()
    assert client.cluster_addresses


def test_closed_client_says_so(client) -> None:
    client.close()
    client.close()
    calls = (client.leader, client.cluster, lambda: client.add(9, "h:1"), lambda: client.remove(9))
    for call in calls:
        with pytest.raises(dqlitepy.ClientClosedError) as info:
            call()
        assert info.value.code == -1
        assert isinstance(info.value, dqlite.InterfaceError)


def test_repr(client, trio) -> None:
    assert repr(client) == f"Client(cluster={trio.addresses[:1]}, status=open)"
    client.close()
    assert repr(client) == f"Client(cluster={trio.addresses[:1]}, status=closed)"


def test_unreachable_cluster_fails_in_the_constructor(addresses) -> None:
    nobody = addresses(1)
    with pytest.raises(dqlitepy.ClientConnectionError, match=nobody[0]) as info:
        Client(nobody)
    assert isinstance(info.value, dqlite.ConnectionFailedError)


def test_add_wants_a_node_that_answers(client, addresses) -> None:
    before = client.cluster()
    with pytest.raises(dqlitepy.ClientError) as info:
        client.add(4, addresses(1)[0])
    assert isinstance(info.value, dqlitepy.ClusterError)
    assert client.cluster() == before


def test_add_and_remove(client, addresses, tmp_path) -> None:
    with Node(addresses(1)[0], tmp_path, node_id=77) as node:
        client.add(node_id=77, address=node.address)
        added = next(member for member in client.cluster() if member.id == 77)
        assert added.role_name in {"Voter", "StandBy"}
        client.remove(77)
        assert 77 not in {member.id for member in client.cluster()}
        client.remove(77)


def test_the_leader_cannot_be_removed(client) -> None:
    leader = client.leader()
    with pytest.raises(dqlitepy.ClientError, match="transfer"):
        client.remove(leader.id)
    assert leader.id in {member.id for member in client.cluster()}


def test_garbage_collection_is_silent(trio, recwarn) -> None:
    Client(trio.addresses)
    gc.collect()
    assert not recwarn.list


def test_block_passes_exceptions(trio) -> None:
    with pytest.raises(KeyError), Client(trio.addresses) as client:
        raise KeyError
    with pytest.raises(dqlitepy.ClientClosedError):
        client.leader()
