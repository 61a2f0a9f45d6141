"""What dqlitepy's page promises of `Node`, line by line, on real nodes."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

import dqlite
import dqlitepy
from dqlitepy import Node


def test_exec_returns_id_and_count(node) -> None:
    assert node.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, a)") == (0, 0)
    assert node.exec("INSERT INTO t(a) VALUES ('x')") == (1, 1)
    assert node.exec("INSERT INTO t(a) VALUES (?), (?)", ("y?", "z")) == (3, 2)
    assert node.exec("UPDATE t SET a = 1")[1] == 3
    assert node.exec("CREATE TABLE u (a)") == (0, 0)
    assert node.exec("DELETE FROM t WHERE id = 1")[1] == 1


def test_query_returns_dicts(node) -> None:
    assert node.query("SELECT 1 AS a, 'x' AS b, NULL AS c, x'00ff' AS d, 1e999 AS e") == [
        {"a": 1, "b": "x", "c": None, "d": b"\0\xff", "e": float("inf")}
    ]
    assert node.query("SELECT 1 AS a, 2 AS a") == [{"a": 2}]
    assert node.query("SELECT ? AS a", ("it's",)) == [{"a": "it's"}]
    assert node.query(f"SELECT {2**63 - 1} AS a") == [{"a": 2**63 - 1}]
    assert node.query("CREATE TABLE IF NOT EXISTS q (a)") == []


@pytest.mark.parametrize(
    ("sql", "cls"),
    [
        ("SELEC 1", dqlite.OperationalError),
        ("INSERT INTO missing VALUES (1)", dqlite.OperationalError),
        ("INSERT INTO t VALUES (1)", dqlite.IntegrityError),
    ],
)
def test_failures_are_every_promised_class(node, sql, cls) -> None:
    node.exec("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    node.exec("INSERT INTO t VALUES (1)")
    with pytest.raises(cls) as info:
        node.exec(sql)
    for base in (dqlitepy.NodeError, dqlitepy.DqliteError, dqlitepy.DatabaseError, RuntimeError):
        assert isinstance(info.value, base)
    assert str(info.value).startswith(f"node_exec failed with code {info.value.code} (SQLITE_")
    assert (info.value.node_id, info.value.node_address) == (node.id, node.address)


def test_wrong_parameters_are_node_errors(node) -> None:
    for params in ((), (1, 2)):
        with pytest.raises(dqlite.ProgrammingError) as info:
            node.query("SELECT ?", params)
        assert isinstance(info.value, dqlitepy.NodeError)


def test_transactions(node) -> None:
    node.exec("CREATE TABLE t (a)")
    node.begin()
    node.exec("INSERT INTO t VALUES (1)")
    node.rollback()
    node.begin()
    node.exec("INSERT INTO t VALUES (2)")
    node.commit()
    assert node.query("SELECT a FROM t") == [{"a": 2}]


def test_misplaced_transaction_calls(node) -> None:
    for call in (node.commit, node.rollback):
        with pytest.raises(dqlitepy.DatabaseError):
            call()
    node.begin()
    with pytest.raises(dqlitepy.DatabaseError):
        node.begin()
    node.rollback()


def test_databases_are_separate_and_the_last_opened_is_current(node) -> None:
    node.open_db("one.db")
    node.exec("CREATE TABLE t (a)")
    node.begin()
    node.exec("INSERT INTO t VALUES (1)")
    node.open_db("two.db")
    with pytest.raises(dqlitepy.DatabaseError, match="no such table"):
        node.query("SELECT * FROM t")
    node.open_db("one.db")
    node.commit()
    assert node.query("SELECT a FROM t") == [{"a": 1}]


def test_a_database_must_be_open(addresses, tmp_path) -> None:
    with Node(addresses(1)[0], tmp_path) as node:
        for call in (node.exec, node.query):
            with pytest.raises(dqlitepy.DatabaseError, match="no database is open"):
                call("SELECT 1")


def test_a_stopped_node_says_so(node) -> None:
    node.stop()
    for call in (node.open_db, node.handover, lambda: node.exec("SELECT 1"), node.begin):
        with pytest.raises(dqlitepy.NodeNotRunningError):
            call()
    node.stop()
    assert not node.is_running


def test_properties(addresses, tmp_path) -> None:
    address, bind = addresses(2)
    node = Node(address, str(tmp_path / "n"), bind_address=bind, node_id=2**63 + 5)
    assert (node.address, node.bind_address, node.id) == (address, bind, 2**63 + 5)
    assert node.data_dir == tmp_path / "n"
    assert isinstance(node.data_dir, Path)
    assert not node.is_running
    assert not node.data_dir.exists()
    assert Node(address, tmp_path).bind_address is None


def test_start_failures_say_why(node, tmp_path, addresses) -> None:
    with pytest.raises(dqlitepy.NodeAlreadyRunningError):
        _start_twice(node)
    taken = Node(node.address, tmp_path / "other")
    with pytest.raises(dqlitepy.NodeStartError, match=node.address.rpartition(":")[2]):
        taken.start()
    assert not taken.is_running
    locked = Node(addresses(1)[0], node.data_dir)
    with pytest.raises(dqlitepy.NodeStartError, match=str(node.data_dir)):
        locked.start()


def _start_twice(node) -> None:
    node.start()  # accepted once, inside the block of the fixture
    node.start()


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "0.0.0.0:9001", "[::]:9001"]
)
def test_bad_addresses_are_refused_at_once(address, tmp_path) -> None:
    with pytest.raises(dqlitepy.NodeError) as info:
        Node(address, tmp_path / "n")
    assert isinstance(info.value, ValueError)
    assert not (tmp_path / "n").exists()


def test_bad_options_are_refused_at_once(tmp_path) -> None:
    with pytest.raises(dqlitepy.NodeError, match="network_latency_ms"):
        Node("127.0.0.1:9001", tmp_path, network_latency_ms=0)
    with pytest.raises(dqlitepy.NodeError, match="busy_timeout_ms"):
        Node("127.0.0.1:9001", tmp_path, busy_timeout_ms=-1)


def test_missing_engine_is_both_errors(addresses, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DQLITE_ENGINE", str(tmp_path / "nowhere"))
    node = Node(addresses(1)[0], tmp_path / "n")
    with pytest.raises(dqlitepy.NodeStartError) as info:
        node.start()
    assert isinstance(info.value, dqlitepy.DqliteLibraryNotFound)
    assert isinstance(info.value, dqlite.EngineNotFoundError)
    assert any(str(tmp_path / "nowhere") in place for place, _ in info.value.attempts)


def test_rollback_after_a_rollback_by_the_engine_hides_nothing(node) -> None:
    node.exec("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    node.exec("INSERT INTO t VALUES (1)")
    node.begin()
    with pytest.raises(dqlite.IntegrityError):
        node.exec("INSERT OR ROLLBACK INTO t VALUES (1)")
    node.rollback()
    with pytest.raises(dqlite.DatabaseError):
        node.rollback()


def test_each_database_has_its_own_transaction_to_roll_back(node) -> None:
    node.exec("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    node.exec("INSERT INTO t VALUES (1)")
    node.begin()
    with pytest.raises(dqlite.IntegrityError):
        node.exec("INSERT OR ROLLBACK INTO t VALUES (1)")
    node.open_db("other.db")
    node.begin()
    node.commit()
    node.open_db()
    node.rollback()


def test_threads_share_the_transaction(node) -> None:
    node.exec("CREATE TABLE t (a)")
    node.begin()
    threads = [
        threading.Thread(target=node.exec, args=("INSERT INTO t VALUES (?)", (n,)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    node.rollback()
    assert node.query("SELECT * FROM t") == []


def test_restart_keeps_identity_and_data(node) -> None:
    node.exec("CREATE TABLE t (a)")
    before = node.id
    node.stop()
    node.start()
    node.open_db()
    assert (node.id, node.query("SELECT * FROM t")) == (before, [])


def test_closed_node_cannot_start(node) -> None:
    node.close()
    node.close()
    with pytest.raises(dqlitepy.NodeError):
        node.start()


def test_nothing_is_left_behind(addresses, tmp_path) -> None:
    address = addresses(1)[0]
    node = Node(address, tmp_path)
    node.start()
    pid = node.pid
    assert pid is not None
    node.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    host, _, port = address.rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_an_exception_in_the_block_is_never_hidden(addresses, tmp_path) -> None:
    with pytest.raises(KeyError), Node(addresses(1)[0], tmp_path) as node:
        raise KeyError
    assert not node.is_running
