"""Rows of the check-list of the published pages that no other file proves."""

from __future__ import annotations

from importlib import metadata

import pytest

import dqlitepy
from dqlitepy import Client, Node

pytestmark = pytest.mark.cluster


def test_generated_ids_are_kept_and_each_joiner_has_its_own(addresses, tmp_path, until) -> None:
    """Contradiction 12: "auto-generated", and the engine forms a cluster with two ids only."""
    three = addresses(3)
    nodes = [Node(address, tmp_path / str(i), cluster=three) for i, address in enumerate(three)]
    try:
        for node in nodes:
            node.start()
        with Client(three) as client:
            until(lambda: len(client.cluster()) == 3)
        ids = [node.id for node in nodes]
        assert len(set(ids)) == 3
        assert ids[0] in {1, 0x2DC171858C3155BE}
        assert all(0 < generated < 2**64 for generated in ids)
        nodes[2].stop()
        nodes[2].start()
        assert nodes[2].id == ids[2]
        assert Node(three[1], tmp_path / "1").id == ids[1]
    finally:
        for node in nodes:
            node.close()


def test_the_printed_ids_are_those_given(addresses, tmp_path) -> None:
    one, two = addresses(2)
    with (
        Node(one, tmp_path / "1", node_id=1),
        Node(two, tmp_path / "2", node_id=2),
        Client([one]) as client,
    ):
        client.add(2, two)
        lines = [f"Node {node.id}: {node.address} - {node.role_name}" for node in client.cluster()]
    assert lines == [f"Node 1: {one} - Voter", f"Node 2: {two} - Voter"]


@pytest.mark.slow
def test_a_client_whose_cluster_has_gone(addresses, tmp_path) -> None:
    """Every call says so with the promised class, and `close` is still fine."""
    with Node(addresses(1)[0], tmp_path / "n") as node:
        client = Client([node.address])
    for call in (client.cluster, lambda: client.remove(7)):
        with pytest.raises(dqlitepy.ClientError) as caught:
            call()
        assert isinstance(caught.value, dqlitepy.NoLeaderError)
    client.close()
    client.close()


def test_the_distribution_is_for_python_from_3_10_on() -> None:
    """Contradiction 21: the pages say 3.13."""
    about = metadata.metadata("dqlite")
    assert about["Requires-Python"] == ">=3.10"
    assert "MIT" in (about["License-Expression"] or about["License"])


def test_two_databases_in_parallel(node) -> None:
    """Contradiction 4: `exec` means the database opened last, `connect` names one."""
    node.open_db("one.db")
    node.open_db("two.db")
    node.exec("CREATE TABLE t (a)")
    with node.connect("one.db") as other:
        assert other.fetchval("SELECT count(*) FROM sqlite_master") == 0
    with node.connect("two.db") as same:
        assert same.fetchval("SELECT count(*) FROM sqlite_master") == 1
