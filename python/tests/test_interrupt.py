"""`interrupt()`: a call ends because another thread says so."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import dqlite
import dqlite.connection
import dqlite.dbapi
from dqlite import codes, wire

ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
COUNT = ENDLESS.replace("count(*)", "i")
SPARSE = f"{COUNT} where i < 10000 or i > 1000000000000"
"""Some messages of rows at once, and the next one never."""


@pytest.fixture
def soon(busy, until):
    """Run a function in a thread as soon as the shared node computes."""
    threads = []

    def start(function):
        def work():
            until(busy.computes)
            function()

        busy.mark()
        thread = threading.Thread(target=work)
        thread.start()
        threads.append(thread)

    yield start
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


@contextlib.contextmanager
def interrupted(**attributes):
    with pytest.raises(dqlite.StatementTimeoutError, match=r"^interrupted") as caught:
        yield
    assert caught.value.code == codes.SQLITE_INTERRUPT == 9
    assert caught.value.sqlite_errorname == "SQLITE_INTERRUPT"
    for name, value in attributes.items():
        assert getattr(caught.value, name) == value


def test_a_read_ends_here_and_on_the_server(conn, soon, busy, until):
    for _ in range(3):
        soon(conn.interrupt)
        with interrupted(outcome="refused", address=conn.address):
            conn.fetch(ENDLESS)
        assert conn.fetchval("select 1") == 1

    def rests():
        busy.mark()
        time.sleep(0.1)
        return not busy.computes()

    until(rests)


def test_a_write_is_in_doubt_and_leaves_nothing(conn, soon):
    conn.execute("create table t(a)")
    soon(conn.interrupt)
    with interrupted(outcome="unknown", retryable=False):
        conn.execute(f"insert into t {ENDLESS}")
    assert conn.fetchval("select count(*) from t") == 0


def test_a_transaction_can_only_be_rolled_back(conn, soon):
    conn.execute("create table t(a)")
    with pytest.raises(dqlite.OperationalError, match="must be rolled back"), conn.transaction():
        conn.execute("insert into t values (1)")
        soon(conn.interrupt)
        with interrupted(outcome="refused"):
            conn.fetch(ENDLESS)
        conn.execute("insert into t values (2)")
    assert conn.fetchval("select count(*) from t") == 0
    assert not conn.in_transaction


def test_nothing_happens_when_nothing_runs(url):
    with dqlite.connect(url) as conn:
        for _ in range(3):
            conn.interrupt()
        assert conn.fetchval("select 1") == 1
        conn.interrupt()
        with conn.transaction():
            conn.interrupt()
            conn.execute("create table t(a)")
            conn.interrupt()
        assert conn.fetchval("select count(*) from t") == 0
    conn.interrupt()
    with pytest.raises(dqlite.InterfaceError, match="closed"):
        conn.fetchval("select 1")


def test_a_hundred_races(conn):
    """Before, during and after: each call gives its own answer, or says that it was interrupted."""
    chance, ended = random.Random(1), 0
    with ThreadPoolExecutor(1) as other:
        for number in range(100):
            pause = chance.uniform(0, 0.002)

            def interrupt(pause=pause):
                time.sleep(pause)
                conn.interrupt()

            done = other.submit(interrupt)
            try:
                assert conn.fetchval("select ?", number) == number
                assert conn.fetchrow("select ?, 1", number) == (number, 1)
                rows = conn.fetch(f"select i, ? from ({COUNT} limit 500)", number)
                assert [tuple(row) for row in rows] == [(i, number) for i in range(1, 501)]
            except dqlite.StatementTimeoutError as error:
                assert error.code == codes.SQLITE_INTERRUPT  # noqa: PT017 - either is right
                ended += 1
            done.result()
            assert conn.fetchval("select ?", -number) == -number
    print(f"{ended} of 100 calls were interrupted")


def test_fetching_on_ends(conn, soon):
    for inside in (False, True):
        with contextlib.ExitStack() as stack:
            if inside:
                stack.enter_context(pytest.raises(dqlite.OperationalError, match="rolled back"))
                stack.enter_context(conn.transaction())
            cursor = conn.execute(SPARSE)
            assert cursor.fetchone()[0] == 1
            soon(conn.interrupt)
            with interrupted(outcome="refused"):
                cursor.fetchall()
            if inside:
                conn.execute("select 1")
        assert conn.fetchval("select 1") == 1


def test_executemany_is_all_or_nothing(conn, soon):
    conn.execute("create table t(a)")
    soon(conn.interrupt)
    with interrupted():
        conn.executemany(f"insert into t select ? where ({ENDLESS}) > 0", [[1], [2], [3]])
    assert conn.fetchval("select count(*) from t") == 0
    assert not conn.in_transaction


@pytest.mark.parametrize("pause", [0, 0.3])
def test_waiting_for_the_write_lock_ends(url, pause):
    """It is asked once: before the statement is sent, or while the server lets it wait."""
    with (
        dqlite.connect(url) as holder,
        dqlite.connect(url, busy_timeout=60, timeout=60) as conn,
        ThreadPoolExecutor(1) as other,
    ):
        holder.execute("create table t(a)")
        holder.begin()
        begins = threading.Event()
        conn.set_trace_callback(lambda _: begins.set())
        waiting = other.submit(conn.execute, "insert into t values (1)")
        assert begins.wait(30)
        time.sleep(pause)
        conn.interrupt()
        with interrupted():
            waiting.result(20)
        assert conn.fetchval("select count(*) from t", timeout=20) == 0
        holder.rollback()
        conn.execute("insert into t values (2)")
        assert conn.fetchval("select a from t") == 2


class Once:
    """Interrupts a connection once, some time after the first statement of a call begins."""

    def __init__(self, conn):
        self.conn, self.chance = conn, random.Random(1)
        self.other, self.done = ThreadPoolExecutor(1), None

    def __enter__(self):
        self.conn.set_trace_callback(self.begins)
        return self

    def __exit__(self, *_):
        self.conn.set_trace_callback(None)
        self.other.shutdown()

    def begins(self, _):
        if self.done is None:
            self.done = self.other.submit(self.interrupt, self.chance.uniform(0, 0.003))

    def interrupt(self, pause):
        time.sleep(pause)
        self.conn.interrupt()

    @contextlib.contextmanager
    def ends(self):
        self.done = None
        with interrupted():
            yield
        self.done.result()


RACES = 40


@pytest.mark.parametrize("kind", ["begin", "script", "many", "transaction"])
def test_it_is_not_lost_between_two_statements(url, kind):
    calls = {
        "begin": lambda: conn.execute(f"insert into t {ENDLESS}"),
        "script": lambda: conn.executescript(f"select 1; select 2; select 3; {ENDLESS}"),
        "many": lambda: conn.executemany(f"insert into t select ? where ({ENDLESS})", [[1], [2]]),
        "transaction": lambda: conn.run_transaction(twice),
    }
    ran = []

    def twice(conn):
        ran.append(None)
        for _ in range(5):
            conn.execute("insert into t values (1)")
        conn.execute(ENDLESS)

    with contextlib.closing(
        dqlite.dbapi.connect(url) if kind == "begin" else dqlite.connect(url)
    ) as conn:
        conn.execute("create table t(a)")
        with Once(conn) as once:
            for number in range(RACES):
                with once.ends():
                    calls[kind]()
                conn.rollback()
                assert not conn.in_transaction
                assert conn.execute("select ?", [number]).fetchone()[0] == number
        assert conn.execute("select count(*) from t").fetchone()[0] == 0
        assert len(ran) <= RACES


def test_it_waits_for_the_next_statement_of_the_same_call(conn):
    conn.execute("create table t(a)")

    def work(connection, then):
        connection.execute("insert into t values (1)")
        connection.interrupt()
        then()

    with interrupted(outcome="not_sent"):
        conn.run_transaction(work, lambda: conn.execute("insert into t values (2)"))
    with interrupted(outcome="not_sent"):  # which is COMMIT
        conn.run_transaction(work, lambda: None)
    with pytest.raises(ZeroDivisionError):
        conn.run_transaction(work, lambda: 1 / 0)
    with interrupted():
        conn.executemany("insert into t values (?)", ([conn.interrupt()] for _ in range(2)))
    assert (conn.in_transaction, conn.session_number) == (False, 1)
    assert conn.fetchval("select count(*) from t") == 0


def test_it_ends_with_the_call(conn):
    """Whom nobody ended before the end was not interrupted, nor is who comes next."""
    conn.execute("create table t(a)")
    conn.run_transaction(lambda conn: conn.execute("insert into t values (1)"))
    conn.interrupt()
    cursor = conn.execute(f"{COUNT} limit 100000")
    conn.interrupt()
    assert sum(1 for _ in cursor) == 100000
    conn.interrupt()
    conn.executemany("insert into t values (?)", [[1], [2]])
    conn.interrupt()
    conn.executescript("select 1; select 2")
    assert conn.fetchval("select count(*) from t") == 3


def test_pauses_between_attempts_end(conn):
    """Between the runs of a transaction, too."""
    ran = []

    def work(_):
        ran.append(None)
        if len(ran) == 4:
            conn.interrupt()
        raise dqlite.BusyError(outcome="refused", retry="transaction")

    with pytest.raises(dqlite.OperationalError):
        conn.run_transaction(work)
    assert len(ran) == 4
    assert conn.fetchval("select 1") == 1


def waiting_ended(waiting):
    with contextlib.suppress(Exception):
        waiting.result(0.05)


def test_looking_for_a_leader_ends():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        checked = dqlite.connection.options(
            f"{host}:{port}",
            database=None,
            timeout=60,
            connect_timeout=60,
            busy_timeout=5,
            types="auto",
            reconnect=True,
            name=None,
        )
        conn = dqlite.Connection(checked)
        with ThreadPoolExecutor(1) as other:
            looking = other.submit(conn.open)
            begun = time.monotonic()
            while not looking.done() and time.monotonic() - begun < 30:
                conn.interrupt()
                waiting_ended(looking)
            with interrupted(outcome="not_sent"):
                looking.result()
        assert time.monotonic() - begun < 30
        conn.close()


def test_who_waits_for_a_turn_is_not_meant(conn, soon):
    with ThreadPoolExecutor(1) as other:
        asked = []

        def ask_and_interrupt():
            asked.append(other.submit(conn.fetchval, "select 7"))
            conn.interrupt()

        soon(ask_and_interrupt)
        with interrupted():
            conn.fetch(ENDLESS)
    assert asked[0].result() == 7


def test_from_a_signal_handler(conn, busy, until):
    """The handler runs in the thread that waits."""
    before = signal.signal(signal.SIGUSR1, lambda *_: conn.interrupt())
    try:

        def send():
            until(busy.computes)
            os.kill(os.getpid(), signal.SIGUSR1)

        busy.mark()
        thread = threading.Thread(target=send)
        thread.start()
        with interrupted():
            conn.fetch(ENDLESS)
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert conn.fetchval("select 1") == 1


POURING = """
import os, signal, sys, threading, dqlite
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
with dqlite.connect(sys.argv[1]) as conn:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        conn.fetch(sys.argv[2])
    except KeyboardInterrupt:
        print(conn.fetchval("select 'interrupted'"))
"""


def test_a_signal_is_seen_while_rows_pour_in(url):
    """Waits are short then, and see no signal by themselves."""
    command = [sys.executable, "-c", POURING, url, f"{COUNT} limit 100000000"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert told.stdout == "interrupted\n", told.stderr


def test_a_child_does_not_reach_its_parent(conn, soon):
    def fork():
        pid = os.fork()
        if pid == 0:
            try:
                conn.interrupt()
            except dqlite.InterfaceError as error:
                os._exit(0 if "used after fork" in str(error) else 2)
            os._exit(1)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        conn.interrupt()

    statuses = []
    soon(fork)
    with interrupted():
        conn.fetch(ENDLESS)
    assert statuses == [0]


def test_descriptors_are_given_back(url):
    def opened():
        return len(os.listdir("/proc/self/fd"))

    with dqlite.connect(url) as conn:
        conn.fetchval("select 1")
    before, kept = opened(), []
    for _ in range(20):
        with dqlite.connect(url) as conn:
            conn.fetchval("select 1")
            conn.interrupt()
            kept.append(conn)
    assert opened() <= before


def test_pep_249_connections(url, soon):
    with contextlib.closing(dqlite.dbapi.connect(url)) as conn:
        soon(conn.interrupt)
        with interrupted():
            conn.execute(ENDLESS).fetchall()
        assert conn.execute("select 1").fetchone() == (1,)


def test_pools(url, soon):
    with dqlite.ConnectionPool(url, max_size=1) as pool:
        with pool.acquire() as conn:
            soon(conn.interrupt)
            with interrupted():
                conn.fetch(ENDLESS)
        conn.interrupt()
        assert pool.fetchval("select 1") == 1


ANSWERS = {
    "LEADER": lambda address: wire.encode("SERVER", id=1, address=address),
    "CLIENT": lambda _: wire.encode("WELCOME", heartbeat_timeout_ms=15000),
    "OPEN": lambda _: wire.encode("DB"),
    "CLUSTER": lambda address: wire.encode("SERVERS", nodes=[(1, address, "voter")]),
    "PREPARE": lambda _: wire.encode("STMT", id=0, params=0),
    "FINALIZE": lambda _: wire.encode("EMPTY"),
}


class Slow:
    """A server that is none of ours: it ends nothing, and answers a query when it may."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self.listener.getsockname())
        self.asked, self.may_answer = threading.Event(), threading.Event()
        self.seen, self.sessions = [], 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, contextlib.suppress(OSError, ConnectionError):
            assert len(client.recv(8, socket.MSG_WAITALL)) == 8
            while len(head := client.recv(8, socket.MSG_WAITALL)) == 8:
                size = int.from_bytes(head[:4], "little") * 8
                body = client.recv(size, socket.MSG_WAITALL) if size else b""
                request = wire.decode(head + body, direction="requests")[0]
                self.seen.append(request.name)
                client.sendall(self.answer(request))

    def answer(self, request):
        if request.name == "OPEN":
            self.sessions += 1
        if request.name in ANSWERS:
            return ANSWERS[request.name](self.address)
        sql = request.fields.get("sql", "")
        if "slow" in sql:
            self.asked.set()
            self.may_answer.wait(30)
        return wire.encode("ROWS", columns=["a"], rows=[(7,)])


@pytest.mark.parametrize("answers", [True, False])
def test_other_servers_are_waited_for_or_left(answers):
    server = Slow()
    with server.listener, dqlite.connect(server.address) as conn, ThreadPoolExecutor(1) as other:

        def interrupt():
            server.asked.wait(30)
            conn.interrupt()
            if answers:
                server.may_answer.set()

        done = other.submit(interrupt)
        with interrupted():
            conn.fetch("select slow")
        done.result()
        assert conn.fetchval("select a") == 7
        # What comes within a second is read, else the session is left.
        assert conn.session_number in ({1, 2} if answers else {2})
        server.may_answer.set()
    assert "INTERRUPT" not in server.seen
