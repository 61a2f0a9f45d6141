"""A node from start to stop, and everything that can be wrong with one."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import dqlite

ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"

pytestmark = pytest.mark.usefixtures("no_children_left")


@pytest.fixture
def address(addresses):
    return addresses(1)[0]


def test_three_lines_and_nothing_left_behind(address, tmp_path):
    with dqlite.Node(address, tmp_path / "n1") as node, node.connect("app") as conn:
        node.wait_ready(30)
        conn.execute("create table x(a)")
        assert conn.fetchval("select count(*) from x") == 0
        assert node.is_leader
        assert conn.address == node.address
        assert node.state == "ready"
        assert node.role == "voter"
    assert not node.is_running
    assert node.pid is None


def test_exec_and_query(address, tmp_path):
    with dqlite.Node(address, tmp_path) as node:
        node.open_db("app")
        assert node.exec("create table t(id integer primary key, a)") == (0, 0)
        assert node.exec("insert into t(a) values (?)", ["x"]) == (1, 1)
        assert node.exec("insert into t(a) values (:a)", {"a": "it's ?"}) == (2, 1)
        assert node.query("select * from t") == [{"id": 1, "a": "x"}, {"id": 2, "a": "it's ?"}]
        assert node.exec("update t set a = 'z'") == (0, 2)
        node.begin()
        node.exec("delete from t")
        node.rollback()
        node.begin()
        node.exec("insert into t(a) values ('y')")
        node.commit()
        assert node.query("select count(*) as n from t") == [{"n": 3}]
        with pytest.raises(dqlite.DatabaseError):
            node.commit()
        with pytest.raises(dqlite.DatabaseError):
            node.rollback()


def test_each_database_is_its_own(address, tmp_path):
    with dqlite.Node(address, tmp_path) as node:
        with pytest.raises(dqlite.DatabaseError, match="open_db"):
            node.query("select 1")
        for name in ("a", "b"):
            node.open_db(name)
            node.exec("create table t(name)")
            node.exec("insert into t values (?)", [name])
        node.open_db("a")
        assert node.query("select name from t") == [{"name": "a"}]


def test_identity_and_data_survive_a_restart(address, tmp_path):
    node = dqlite.Node(address, tmp_path)
    node.start()
    first = node.id
    node.open_db()
    node.exec("create table t(a)")
    node.exec("insert into t values (1)")
    stopped = node.stop()
    assert not stopped.killed
    assert not node.is_running
    assert node.stop().ending == stopped.ending
    node.start()
    assert node.id == first > 0
    node.open_db()
    assert node.query("select a from t") == [{"a": 1}]
    node.close()
    with pytest.raises(dqlite.NodeNotRunningError, match="closed"):
        node.start()


def test_a_killed_process_is_started_again(address, tmp_path, until):
    with dqlite.Node(address, tmp_path) as node, node.connect() as conn:
        conn.execute("create table t(a)")
        os.kill(node.pid, signal.SIGKILL)
        until(lambda: node.restarts == 1 and node.state == "ready")
        assert conn.fetchval("select count(*) from t") == 0
        assert conn.session_number == 2


def test_start_twice_is_refused_but_once_in_a_block(address, tmp_path):
    with dqlite.Node(address, tmp_path) as node:
        node.start()
        with pytest.raises(dqlite.NodeAlreadyRunningError, match=address):
            node.start()


def test_calls_need_a_running_node(address, tmp_path):
    node = dqlite.Node(address, tmp_path)
    for call in (node.open_db, node.connect, node.handover, node.begin):
        with pytest.raises(dqlite.NodeNotRunningError, match="not running"):
            call()
    assert node.state == "stopped"
    assert node.stop().ending == ""
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("", "empty"),
        ("127.0.0.1", "port"),
        ("127.0.0.1:0", "port 0"),
        ("127.0.0.1:65536", "65535"),
        ("127.0.0.1:-1", ""),
        ("127.0.0.1:http", ""),
        ("0.0.0.0:9001", "wildcard|dial"),
        ("[::]:9001", "wildcard|dial"),
        ("*:9001", ""),
        ("::1:9001", ""),
        ("a b:9001", ""),
        ("@name", ""),
    ],
)
def test_malformed_addresses(tmp_path, address, text):
    with pytest.raises(dqlite.NodeConfigError, match=f"(?s)address.*({text})") as caught:
        dqlite.Node(address, tmp_path)
    assert isinstance(caught.value, ValueError)
    assert 'address "' not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_all_complaints_come_at_once(address, tmp_path):
    with pytest.raises(dqlite.NodeConfigError) as caught:
        dqlite.Node(address, tmp_path, network_latency_ms=0, voters=2, colour="red")
    for part in ("network_latency_ms", "voters", "colour"):
        assert part in str(caught.value)


def test_options_that_are_no_json(address, tmp_path):
    with pytest.raises(dqlite.NodeConfigError):
        dqlite.Node(address, tmp_path, engine=object())


def test_port_in_use(address, tmp_path):
    host, _, port = address.partition(":")
    with socket.create_server((host, int(port))):
        node = dqlite.Node(address, tmp_path)
        with pytest.raises(dqlite.NodeStartError, match="in use") as caught:
            node.start()
    assert caught.value.stage == "bind"
    assert address in str(caught.value)
    assert not node.is_running
    node.start()
    node.close()


def test_directory_in_use(addresses, tmp_path):
    first, second = addresses(2)
    with dqlite.Node(first, tmp_path), pytest.raises(dqlite.NodeStartError) as caught:
        dqlite.Node(second, tmp_path).start()
    assert caught.value.stage == "lock"
    assert str(tmp_path) in str(caught.value)


def test_address_of_another_machine(tmp_path):
    with pytest.raises(dqlite.NodeStartError, match="set bind_address") as caught:
        dqlite.Node("192.0.2.1:9001", tmp_path).start()
    assert caught.value.stage == "bind"


def test_directory_that_is_a_file(address, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(dqlite.NodeStartError) as caught:
        dqlite.Node(address, tmp_path / "file").start()
    assert caught.value.stage == "data_dir"
    assert str(tmp_path / "file") in str(caught.value)
    assert "must be a directory" in str(caught.value)


def test_directory_that_cannot_be_made(address):
    with pytest.raises(dqlite.NodeStartError) as caught:
        dqlite.Node(address, "/proc/nowhere").start()
    assert caught.value.stage == "data_dir"
    assert "/proc/nowhere" in str(caught.value)


def test_no_engine(address, tmp_path):
    node = dqlite.Node(address, tmp_path / "data", engine=tmp_path / "missing")
    with pytest.raises(dqlite.EngineNotFoundError) as caught:
        node.start()
    assert isinstance(caught.value, dqlite.NodeStartError)
    assert str(tmp_path / "missing") in str(caught.value)
    assert str(tmp_path / "missing") in caught.value.tried[0][0]
    assert str(caught.value).count(caught.value.tried[0][0]) == 1


OLD_ENGINE = """
const char dqlite_old[] = "an engine without the functions of 1.18";
int dqlite_version_number(void) { return 11101; }
int dqlite_node_create(unsigned long id, const char *a, const char *d, void **n) { return 1; }
"""


def test_engine_too_old(address, tmp_path):
    source, library = tmp_path / "old.c", tmp_path / "libdqlite.so.0"
    source.write_text(OLD_ENGINE)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    with pytest.raises(dqlite.NodeStartError, match=r"1\.18") as caught:
        dqlite.Node(address, tmp_path / "data", engine=library).start()
    assert str(library) in str(caught.value)


def test_no_executable(address, tmp_path):
    node = dqlite.Node(address, tmp_path, executable=tmp_path / "nowhere")
    with pytest.raises(dqlite.NodeStartError) as caught:
        node.start()
    assert caught.value.stage == "launch"
    assert str(tmp_path / "nowhere") in str(caught.value)


def test_hundred_cycles_leak_nothing(address, tmp_path):
    def descriptors():
        return sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")[:-1])

    def threads():
        return len(os.listdir("/proc/self/task"))

    node = dqlite.Node(address, tmp_path)
    node.start()
    node.stop()
    fds, running = len(os.listdir("/proc/self/fd")), threads()
    for _ in range(100):
        node.start()
        node.open_db()
        node.query("select 1")
        assert not node.stop().killed
    assert len(os.listdir("/proc/self/fd")) == fds
    assert threads() == running


test_hundred_cycles_leak_nothing = pytest.mark.slow(
    pytest.mark.timeout(180)(test_hundred_cycles_leak_nothing)
)

CHILD = """
import sys, time, dqlite
node = dqlite.Node(sys.argv[1], sys.argv[2])
node.start()
print(node.pid, flush=True)
{rest}
"""


def run_child(
    address: str, directory: Path, rest: str, *flags: str
) -> tuple[subprocess.Popen[str], int]:
    code = CHILD.format(rest=textwrap.dedent(rest))
    command = [sys.executable, *flags, "-c", code, address, str(directory)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return child, int(child.stdout.readline())


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False


def test_a_killed_application_takes_its_node_along(address, tmp_path, until):
    child, node = run_child(address, tmp_path, "time.sleep(60)")
    assert is_alive(node)
    child.kill()
    child.communicate()
    until(lambda: not is_alive(node))


def test_a_fork_does_not_keep_the_node_alive(address, tmp_path, until):
    rest = """
    import os
    forked = os.fork()
    if forked == 0:
        try: node.query("select 1")
        except dqlite.InterfaceError: print("refused", flush=True)
        time.sleep(60)
    print(forked, flush=True)
    time.sleep(60)
    """
    child, node = run_child(address, tmp_path, rest)
    said = {child.stdout.readline().strip() for _ in range(2)}
    assert "refused" in said
    forked = int((said - {"refused"}).pop())
    child.kill()
    child.wait()
    until(lambda: not is_alive(node))
    assert is_alive(forked)
    os.kill(forked, signal.SIGKILL)
    child.communicate()


def is_held(lock) -> bool:
    if lock.acquire(blocking=False):
        lock.release()
        return False
    return True


def test_stop_does_not_wait_for_a_statement(address, tmp_path, until):
    with dqlite.Node(address, tmp_path) as node:
        node.open_db("app")
        ended = []

        def ask():
            try:
                node.query(ENDLESS)
            except dqlite.Error as error:
                ended.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        until(lambda: is_held(node._lock))  # noqa: SLF001 - the statement holds it
        begun = time.monotonic()
        node.stop(5)
        assert time.monotonic() - begun < 20
        asking.join(20)
        assert [type(error) for error in ended] == [dqlite.NodeNotRunningError]
        assert ended[0].outcome is ended[0].__cause__.outcome


def test_exit_closes_what_the_node_opened(address, tmp_path):
    rest = """
    import os
    node.open_db("app")
    node.query("select 1")
    forked = os.fork()
    if forked:
        os.waitpid(forked, 0)
    """
    child, node = run_child(address, tmp_path, rest, "-W", "always")
    _, errors = child.communicate(timeout=40)
    assert not is_alive(node)
    assert "garbage-collected" not in errors


@pytest.mark.parametrize("rest", ["", "sys.exit(3)", "raise KeyError('x')", "node.stop()"])
def test_interpreter_exit_stops_the_node(address, tmp_path, rest):
    child, node = run_child(address, tmp_path, rest)
    _, errors = child.communicate(timeout=40)
    assert not is_alive(node)
    assert child.returncode == {"sys.exit(3)": 3, "raise KeyError('x')": 1}.get(rest, 0)
    assert errors == "" or "KeyError" in errors


def test_a_running_node_warns_when_collected(address, tmp_path):
    code = f"import dqlite; n = dqlite.Node({address!r}, {str(tmp_path)!r}); n.start(); del n"
    run = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True
    )
    assert "ResourceWarning" in run.stderr
    assert "garbage-collected" in run.stderr


def test_ctrl_c_during_start_leaves_nothing(addresses, tmp_path):
    first, second = addresses(2)
    node = dqlite.Node(second, tmp_path, cluster=[first, second], ready_grace=30)
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        node.start()
    assert time.monotonic() - begun < 20
    assert not node.is_running


def test_a_node_without_its_cluster_serves_and_says_who_is_missing(addresses, tmp_path):
    first, second = addresses(2)
    with dqlite.Node(second, tmp_path, cluster=[first, second]) as node:
        with pytest.raises(dqlite.NoLeaderError) as caught:
            node.wait_ready(0.5)
        assert first in str(caught.value) + str(caught.value.attempts)
        assert node.is_running


def test_nodes_are_not_pickled(address, tmp_path):
    with pytest.raises(TypeError, match="cannot pickle 'Node'"):
        pickle.dumps(dqlite.Node(address, tmp_path))


def test_a_node_tells_of_itself(address, tmp_path):
    with dqlite.Node(address, tmp_path) as node:
        node.wait_ready(20)
        status = node.status()
        assert status["schema"] == 1
        assert status["disk"]["data_dir_bytes"] > 0
        assert set(node.explain()) == {"last", "now"}
        node.set_log_level("debug")
        with pytest.raises(dqlite.NodeError, match="loud"):
            node.set_log_level("loud")
        with pytest.raises(dqlite.NodeError, match=r"(?i)tls") as caught:
            node.reload_tls()
        assert caught.value.node_address == address
        assert node.is_running


def test_what_a_node_tells_needs_a_running_one(address, tmp_path):
    node = dqlite.Node(address, tmp_path)
    calls = (node.status, node.explain, node.reload_tls, node.leave)
    for call in (*calls, lambda: node.set_log_level("info")):
        with pytest.raises(dqlite.NodeNotRunningError, match=address):
            call()


def test_the_only_node_does_not_leave(address, tmp_path):
    with dqlite.Node(address, tmp_path) as node:
        node.wait_ready(20)
        with pytest.raises(dqlite.NodeError):
            node.leave(5)
        assert node.is_running
        node.open_db("app")
        assert node.query("select 1 as one") == [{"one": 1}]


def test_a_node_leaves_for_good(own_trio, until):
    leader = own_trio.leader()
    leader.leave(30)
    assert not leader.is_running
    others = [node.address for node in own_trio.nodes if node is not leader]
    with dqlite.Client(others) as client:
        until(lambda: sorted(member.address for member in client.cluster()) == sorted(others))
    with pytest.raises(dqlite.NodeStartError, match=r"left|removed"):
        leader.start()


def test_events_come_to_a_function(address, tmp_path, until):
    events = []

    def tell(event):
        events.append(event)
        if event["type"] == "identity":
            raise ValueError

    node = dqlite.Node(address, tmp_path, on_event=tell)
    before = threading.active_count()
    for _ in range(2):
        events.clear()
        node.start()
        node.wait_ready(30)
        node.stop()
        states = [event["to"] for event in events if event["type"] == "state"]
        assert states[0] == "starting"
        assert "ready" in states
        assert states[-1] == "stopped"
        assert {"engine", "serving", "identity", "leader", "ready"} <= {
            event["type"] for event in events
        }
    until(lambda: threading.active_count() == before)


def test_a_start_that_fails_ends_its_telling(address, tmp_path, until):
    events = []
    node = dqlite.Node(address, "/proc/nowhere", on_event=events.append)
    before = threading.active_count()
    with pytest.raises(dqlite.NodeStartError):
        node.start()
    until(lambda: threading.active_count() == before)
    assert [event["to"] for event in events if event["type"] == "state"][-1] == "failed"
    node = dqlite.Node(address, tmp_path, on_event=events.append, executable="/none")
    with pytest.raises(dqlite.NodeStartError):
        node.start()
    until(lambda: threading.active_count() == before)


def test_options_change_while_a_node_runs(address, tmp_path):
    with dqlite.Node(address, tmp_path) as node:
        node.set(trace_sql="debug", slow_statement_ms=250, leader_probe_limit=3)
        settings = {"trace_sql": "debug", "slow_statement_ms": 250, "leader_probe_limit": 3}
        assert node.status()["settings"] == settings
        for name, wrong in {"trace_sql": "on", "leader_probe_limit": 0}.items():
            with pytest.raises(dqlite.NodeError, match=name):
                node.set(slow_statement_ms=1, **{name: wrong})
        assert node.status()["settings"] == settings


def test_damage_has_its_option(address, tmp_path):
    with pytest.raises(dqlite.NodeConfigError, match=r"on_damage.*rejoin, fail"):
        dqlite.Node(address, tmp_path, on_damage="ignore")
    assert dqlite.Node(address, tmp_path, on_damage="fail").state == "stopped"


def test_a_database_of_a_node_without_its_cluster(addresses, tmp_path):
    first, second = addresses(2)
    with dqlite.Node(second, tmp_path, cluster=[first, second]) as node:
        assert node.state == "joining"
        with pytest.raises(dqlite.NoLeaderError) as caught:
            node.connect("app", connect_timeout=1)
        assert first in str(caught.value)
        assert node.is_running
