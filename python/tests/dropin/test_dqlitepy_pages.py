"""The code blocks of dqlitepy's three pages, as published, on real nodes."""

from __future__ import annotations

import os
import re
import signal

import pytest

import dqlitepy
from dqlitepy import Client, Node, NodeError

PORT = "127.0.0.1:9001"
A, B, C, D = (f"127.0.0.1:900{i}" for i in range(1, 5))


@pytest.fixture(autouse=True)
def _environment(monkeypatch) -> None:
    """Blocks set the variable; each test gets its own copy."""
    monkeypatch.delenv("DQLITEPY_BYPASS_STOP", raising=False)
    monkeypatch.setenv("DQLITEPY_BYPASS_STOP", "0")


def voter(address, directory, node_id) -> Node:
    node = Node(address, directory / str(node_id), node_id=node_id)
    node.start()
    return node


def test_client_overview(page, addresses, tmp_path, capsys) -> None:
    one, two, three = addresses(3)
    with voter(one, tmp_path, 1), voter(two, tmp_path, 2), voter(three, tmp_path, 3):
        with Client([one]) as client:
            client.add(2, two)
        page("client_overview", {}, replace={A: one, B: two, "127.0.0.1:9003": three})
    assert capsys.readouterr().out.splitlines() == [
        f"Current leader: {one}",
        f"Node 1: {one} (Voter)",
        f"Node 2: {two} (Voter)",
        f"Node 3: {three} (Voter)",
    ]


def test_client_add_then_cluster(page, addresses, tmp_path, capsys, printed) -> None:
    one, two = addresses(2)
    with voter(one, tmp_path, 1):
        names: dict = {}
        page("client_add", names, replace={A: one, B: two, "/data/node2": tmp_path / "2"})
        page("client_cluster", {"Client": Client}, replace={A: one})
        assert names["node2"].is_running
    expected = printed("client_cluster").replace(A, one).replace(B, two)
    assert capsys.readouterr().out == expected


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_node_overview(page, addresses, tmp_path, until) -> None:
    single, *three = addresses(4)
    published = [f"172.20.0.1{i}:9001" for i in (1, 2, 3)]
    others = [Node(address, tmp_path / address, cluster=three) for address in three[1:]]
    with others[0], others[1]:
        names = {"Node": Node}
        replace = dict(zip(published, three, strict=True))
        replace |= {PORT: single, "/tmp/dqlite-data": tmp_path / "1", "/data/node1": tmp_path / "2"}
        page("node_overview", names, replace=replace)
        assert names["node"].is_running
        with Client(three) as client:
            until(lambda: len(client.cluster()) == 3)


def test_guide_from_start_to_stop(page, addresses, tmp_path, capsys) -> None:
    names: dict = {}
    place = {PORT: addresses(1)[0], "/tmp/dqlite-data": tmp_path / "n"}
    page("guide_start", names, replace=place)
    node = names["node"]
    for block in ("open", "exec", "query", "transaction"):
        page(f"guide_{block}", names)
    assert [row["name"] for row in node.query("SELECT name FROM users")] == ["Bob", "Charlie"]
    page("guide_stop", names)
    assert not node.is_running
    assert capsys.readouterr().out.splitlines() == [
        f"Node {node.id} is running: True",
        "Inserted user with ID: 1",
        "Updated 1 rows",
        "Total users: 0",
    ]


def test_guide_query_prints_rows(page, node, capsys) -> None:
    names = {"node": node}
    page("guide_exec", names)
    node.exec("INSERT INTO users VALUES (5, 'Zoe', 'z@example.com')")
    page("guide_query", names)
    out = capsys.readouterr().out.splitlines()
    assert out[-2:] == ["ID: 5, Name: Zoe, Email: z@example.com", "Total users: 1"]


def test_guide_transaction_rolls_back_after_an_error(page, node, capsys) -> None:
    node.exec("CREATE TABLE users (name TEXT CHECK (name <> 'Charlie'))")
    page("guide_transaction", {"node": node})
    assert capsys.readouterr().out.startswith("Transaction rolled back: ")
    assert node.query("SELECT * FROM users") == []


@pytest.mark.parametrize("block", ["guide_bypass", "guide_environment"])
def test_guide_bypass_variable_is_inert(page, block, addresses, tmp_path) -> None:
    names: dict = {}
    page(block, names, replace={PORT: addresses(1)[0], '"/tmp/dqlite"': repr(str(tmp_path))})
    assert os.environ["DQLITEPY_BYPASS_STOP"] == "1"
    node = names["node"]
    assert node.is_running == (block == "guide_environment")
    node.stop()
    assert not node.is_running


def test_guide_client(page, addresses, tmp_path, capsys) -> None:
    four = addresses(4)
    with (
        voter(four[0], tmp_path, 1),
        voter(four[1], tmp_path, 2),
        voter(four[2], tmp_path, 3),
        voter(four[3], tmp_path, 12345),
    ):
        with Client(four[:1]) as client:
            client.add(2, four[1])
            client.add(3, four[2])
        names: dict = {}
        page("guide_client", names, replace=dict(zip([A, B, C, D], four, strict=True)))
        assert re.match(r"Current leader: 127\.", capsys.readouterr().out)
        with Client(four[:3]) as client:
            assert [member.id for member in client.cluster()] == [1, 2, 3]
        with pytest.raises(dqlitepy.ClientClosedError):
            names["client"].leader()


def test_guide_errors_every_branch(page, addresses, tmp_path, capsys) -> None:
    address = addresses(1)[0]
    names: dict = {}
    place = {PORT: address, '"/tmp/dqlite"': repr(str(tmp_path / "n"))}
    page("guide_errors", names, replace=place)
    assert "dqlite error: " in capsys.readouterr().out
    page("guide_errors", {}, replace={PORT: address, '"/tmp/dqlite"': repr(str(tmp_path / "m"))})
    assert capsys.readouterr().out.startswith("Failed to start node: ")


@pytest.mark.slow
def test_guide_errors_without_a_leader(page, addresses, tmp_path, capsys) -> None:
    """A cluster of which only one node ever starts has no leader."""
    one, other = addresses(2)
    place = {f'"{PORT}"': f'"{one}"', '"/tmp/dqlite"': f"{str(tmp_path)!r}, cluster={[one, other]}"}
    names: dict = {}
    page("guide_errors", names, replace=place)
    assert capsys.readouterr().out == "No leader elected yet, retry later\n"


def test_guide_context(page, addresses, tmp_path, capsys) -> None:
    place = {PORT: addresses(1)[0], '"/tmp/dqlite"': repr(str(tmp_path / "n"))}
    with Node(place[PORT], tmp_path / "n") as node:
        node.open_db("myapp.db")
        node.exec("CREATE TABLE users (id INTEGER)")
        node.exec("INSERT INTO users VALUES (7)")
    names: dict = {}
    page("guide_context", names, replace=place)
    assert capsys.readouterr().out == "[{'id': 7}]\n"
    assert not names["node"].is_running


def test_guide_addresses_good_runs_and_avoid_is_refused(page) -> None:
    names = {"Node": Node}
    with pytest.raises(NodeError, match=r"0\.0\.0\.0"):
        page("guide_addresses", names)
    assert names["node"].address == "192.168.1.10:9001"


@pytest.mark.cluster
@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_guide_retry_survives_the_leader(page, own_trio, until, end) -> None:
    follower, leader = own_trio.follower(), own_trio.leader()
    follower.open_db()
    follower.exec("CREATE TABLE users (name TEXT)")
    if end == "stopped":
        leader.stop()
    else:
        dead = leader.pid
        os.kill(dead, signal.SIGKILL)
        until(lambda: leader.pid != dead)
    page("guide_retry", {"node": follower})
    assert follower.query("SELECT count(*) AS n FROM users") == [{"n": 1}]


def test_guide_atomic(page, node) -> None:
    node.exec("CREATE TABLE accounts (name TEXT, balance INTEGER)")
    node.exec("CREATE TABLE transactions (account TEXT, amount INTEGER)")
    page("guide_atomic", {"node": node})
    assert node.query("SELECT count(*) AS n FROM accounts") == [{"n": 2}]
    node.exec("DROP TABLE transactions")
    with pytest.raises(dqlitepy.DatabaseError, match="no such table"):
        page("guide_atomic", {"node": node})
    assert node.query("SELECT count(*) AS n FROM accounts") == [{"n": 2}]


def test_guide_close(page, node) -> None:
    names = {"Client": Client}
    page("guide_close", names, replace={PORT: node.address})
    names["client"].close()
