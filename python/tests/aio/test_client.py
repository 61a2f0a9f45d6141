"""The asyncio face of cluster administration, of node stores and of a node."""

from __future__ import annotations

import asyncio

import pytest

import dqlite
import dqlite.aio

pytestmark = pytest.mark.cluster


@pytest.fixture
async def client(trio):
    async with dqlite.aio.Client(trio.addresses) as client:
        yield client


async def test_who_is_there(client, trio):
    leader = await client.leader()
    assert leader in trio.addresses
    assert leader.id == trio.leader().id
    members = await client.cluster()
    assert sorted(member.address for member in members) == sorted(trio.addresses)
    assert sorted(client.cluster_addresses) == sorted(trio.addresses)
    assert dqlite.aio.ClusterClient is dqlite.aio.Client


async def test_membership_and_a_node_of_asyncio(client, trio, addresses, tmp_path, request):
    address = addresses(1)[0]
    async with dqlite.aio.Node(address, tmp_path, node_id=77) as node:
        await node.start()  # as the guide of the sync twin does
        assert node.is_running
        assert (node.address, node.data_dir, node.id) == (address, tmp_path, 77)
        assert (node.bind_address, node.restarts, node.is_leader) == (None, 0, False)
        await client.add(77, address, dqlite.Role.STANDBY)
        request.addfinalizer(lambda: dqlite.Client(trio.addresses).remove(77))
        assert dqlite.NodeInfo(77, address, dqlite.Role.STANDBY) in await client.cluster()
        await client.assign(77, dqlite.Role.SPARE)
        await client.set_weight(7, address)
        assert (await client.describe(address)).weight == 7
        assert (await node.status())["node"]["address"] == address
        for _ in range(2):
            await client.remove(77)
        assert 77 not in [member.id for member in await client.cluster()]
    assert not node.is_running
    with pytest.raises(dqlite.NodeNotRunningError):
        await node.handover()


async def test_a_node_serves_asyncio(tmp_path, addresses):
    async with dqlite.aio.Node(addresses(1)[0], tmp_path) as node:
        await node.wait_ready()
        async with node.connect("app") as conn:
            await conn.execute("create table t(a)")
        assert node.pid is not None
        assert node.engine is not None
        stopped = await node.stop()
    assert not stopped.killed


async def test_leadership_moves(client, until):
    before = await client.leader()
    await client.transfer()
    await asyncio.to_thread(until, lambda: _leader(client) != before.id)


def _leader(client):
    with dqlite.Client(client.cluster_addresses) as sync:
        return sync.leader().id


async def test_database_of_the_cluster(client):
    async with client.connect("app") as conn:
        await conn.execute("create table if not exists t(a)")
    async with client.create_pool("app", max_size=2) as pool:
        assert await pool.fetchval("select count(*) from t") == 0
    files = await client.dump("app")
    assert files["app"].startswith(b"SQLite format 3")


async def test_the_loop_goes_on_meanwhile(addresses):
    async with dqlite.aio.Client(addresses(1), timeout=0.5, connect_timeout=0.5) as client:
        asking = asyncio.create_task(client.leader())
        turns = 0
        while not asking.done():
            await asyncio.sleep(0)
            turns += 1
        with pytest.raises(dqlite.NoLeaderError):
            await asking
    assert turns > 1
    with pytest.raises(dqlite.InterfaceError, match="closed"):
        await client.leader()


async def test_errors_are_those_of_the_sync_twin(client, addresses):
    with pytest.raises(dqlite.ClusterError, match="answers"):
        await client.add(78, addresses(1)[0], dqlite.Role.VOTER)
    with pytest.raises(dqlite.ProgrammingError, match="role"):
        await client.assign(78, 9)
    with pytest.raises(dqlite.ProgrammingError, match="one of"):
        dqlite.aio.Client(["h1:9001"], hosts=["h2:9001"])


async def test_a_store_learns_the_members_and_is_a_target(trio, tmp_path):
    path = tmp_path / "cluster.yaml"
    seed = dqlite.aio.MemoryNodeStore([trio.addresses[0]])
    assert isinstance(seed, dqlite.aio.NodeStore)
    async with dqlite.aio.Client(seed) as client:
        members = await client.cluster()
    assert list(await seed.get_nodes()) == members
    store = await dqlite.aio.YamlNodeStore.create(path)
    assert list(await store.get_nodes()) == []
    await store.set_nodes(members)
    assert path.stat().st_mode & 0o777 == 0o600
    again = dqlite.aio.YamlNodeStore(path)
    assert list(await again.get_nodes()) == members
    assert sorted(again.connection_targets()) == sorted(trio.addresses)
    async with dqlite.aio.connect(again) as conn:
        assert await conn.fetchval("select 1") == 1
    async with dqlite.aio.connect(path) as conn:
        assert await conn.fetchval("select 2") == 2


@pytest.mark.parametrize("text", ["nonsense", "- ID: x\n  Address: h:1\n", "- Address: h:1\n"])
def test_a_file_that_is_no_list_of_nodes(tmp_path, text):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(dqlite.ClusterError, match=r"cluster\.yaml"):
        dqlite.aio.YamlNodeStore(path)
