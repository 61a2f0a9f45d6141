"""`dqliteclient.ClusterClient` against real nodes."""

from __future__ import annotations

import pytest

import dqliteclient
from dqlite import Role
from dqliteclient import ClusterClient, LeaderInfo, NodeMetadata, allowlist_policy
from dqlitepy import Node

pytestmark = pytest.mark.cluster


@pytest.fixture
def cluster(trio) -> ClusterClient:
    return ClusterClient.from_addresses(trio.addresses)


async def test_leader(cluster, trio) -> None:
    leader = await cluster.find_leader()
    assert type(leader) is str
    assert leader in trio.addresses
    info = await cluster.leader_info()
    assert isinstance(info, LeaderInfo)
    assert info.address == leader


async def test_members(cluster, trio) -> None:
    members = await cluster.cluster_info()
    assert {member.address for member in members} == set(trio.addresses)
    assert {member.role for member in members} == {Role.VOTER}
    assert all(member.node_id > 0 for member in members)


async def test_connect(cluster) -> None:
    conn = await cluster.connect("app", max_attempts=2)
    assert await conn.fetchval("SELECT 1") == 1
    assert conn.address == await cluster.find_leader()
    await conn.close()


async def test_policies_forbid_redirects(trio) -> None:
    leader = trio.leader().address
    others = [address for address in trio.addresses if address != leader]
    strict = ClusterClient.from_addresses(others, redirect_policy=allowlist_policy(others))
    for call in (strict.find_leader(), strict.leader_info(), strict.connect()):
        with pytest.raises(
            dqliteclient.ClusterPolicyError, match="rejected by the redirect policy"
        ):
            await call
    assert await strict.find_leader(policy=lambda _: True) == leader
    kept = await ClusterClient.from_addresses(trio.addresses).cluster_info(
        policy=allowlist_policy(others)
    )
    assert {member.address for member in kept} == set(others)


async def test_no_leader(addresses) -> None:
    nobody = addresses(2)
    cluster = ClusterClient.from_addresses(nobody, timeout=2)
    with pytest.raises(dqliteclient.ClusterError, match="Could not find leader") as info:
        await cluster.find_leader()
    assert all(address in str(info.value) for address in nobody)
    with pytest.raises(dqliteclient.ClusterError, match="No nodes configured"):
        await ClusterClient.from_addresses([]).find_leader()


async def test_membership(own_trio, addresses, tmp_path) -> None:
    cluster = ClusterClient.from_addresses(own_trio.addresses)
    with Node(addresses(1)[0], tmp_path / "4", node_id=44) as node:
        await cluster.add_node(44, node.address, role=2)
        assert 44 in {member.node_id for member in await cluster.cluster_info()}
        await cluster.assign_role(44, Role.STANDBY)
        roles = {member.node_id: member.role for member in await cluster.cluster_info()}
        assert roles[44] is Role.STANDBY
        await cluster.remove_node(44)
        assert 44 not in {member.node_id for member in await cluster.cluster_info()}


async def test_transfer(own_trio, until) -> None:
    cluster = ClusterClient.from_addresses(own_trio.addresses)
    target = own_trio.follower()
    await cluster.transfer_leadership(target.id)
    assert (await cluster.leader_info()).node_id == target.id


async def test_describe_and_weight(cluster, trio) -> None:
    address = trio.addresses[0]
    await cluster.set_weight(7, address=address)
    assert await cluster.describe(address=address) == NodeMetadata(0, 7)
    await cluster.set_weight(0, address=address)


async def test_dump(cluster) -> None:
    async with await cluster.connect("dumped") as conn:
        await conn.execute("CREATE TABLE t (a)")
    files = await cluster.dump("dumped")
    assert files["dumped"].startswith(b"SQLite format 3\0")
    with pytest.raises(TypeError):
        await cluster.dump("")


async def test_admin_connection(cluster, trio) -> None:
    async with cluster.open_admin_connection(trio.addresses[0]) as admin:
        assert (await admin.get_leader())[1] == await cluster.find_leader()
        assert len(await admin.cluster()) == 3


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda c: c.add_node(0, "h:1"), ValueError),
        (lambda c: c.add_node(True, "h:1"), TypeError),
        (lambda c: c.add_node(1, "h"), ValueError),
        (lambda c: c.add_node(1, "h:1", role=3), ValueError),
        (lambda c: c.assign_role(0, 0), ValueError),
        (lambda c: c.remove_node("1"), TypeError),
        (lambda c: c.transfer_leadership(0), ValueError),
        (lambda c: c.set_weight(-1), ValueError),
        (lambda c: c.set_weight("1"), TypeError),
    ],
)
async def test_bad_arguments(cluster, call, error) -> None:
    with pytest.raises(error):
        await call(cluster)
