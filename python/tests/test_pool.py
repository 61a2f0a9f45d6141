"""The pool for threads: who gets a connection, what comes back, and what a lost leader does."""

from __future__ import annotations

import gc
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import dqlite
from dqlite.rows import dict_row


@pytest.fixture
def pool(url):
    with dqlite.ConnectionPool(url, min_size=1, max_size=3) as pool:
        yield pool


def test_shortcuts(pool):
    pool.execute("create table t(a)")
    assert pool.executemany("insert into t values (?)", [(1,), (2,)]).rowcount == 2
    assert pool.fetch("select a from t") == [(1,), (2,)]
    assert pool.fetchrow("select a from t") == (1,)
    assert pool.fetchval("select ? + ?", 1, 2) == 3
    assert pool.execute("select a from t").fetchall() == [(1,), (2,)]
    assert pool.fetchmany("insert into t values (?) returning a", [(3,), (4,)]) == [(3,), (4,)]
    with pytest.raises(KeyError), pool.transaction() as conn:
        conn.execute("delete from t")
        raise KeyError
    assert pool.fetchval("select count(*) from t") == 4


def test_a_cursor_of_the_pool_has_all_rows(url):
    many = (
        "with recursive n(i) as (select 1 union all select i+1 from n limit 20000) select i from n"
    )
    with dqlite.ConnectionPool(url, max_size=1, row_factory=dict_row) as pool:
        cursor = pool.execute(many)
        assert pool.fetchval("select 1") == 1
        assert cursor.fetchone() == {"i": 1}
        assert len(cursor.fetchall()) == 19999


def test_opened_in_the_constructor_and_closed_twice(url):
    pool = dqlite.ConnectionPool(url, min_size=2, max_size=5)
    assert (pool.get_size(), pool.get_idle_size()) == (2, 2)
    assert (pool.get_min_size(), pool.get_max_size()) == (2, 5)
    pool.wait()
    pool.close()
    pool.close()
    assert pool.closed
    with pytest.raises(dqlite.InterfaceError, match="closed"):
        pool.fetchval("select 1")


def test_opening_fails_as_a_whole(addresses):
    with pytest.raises(dqlite.NoLeaderError):
        dqlite.ConnectionPool(addresses(1)[0], min_size=3, connect_timeout=0.3)


@pytest.mark.parametrize("sizes", [(-1, 1), (2, 1), (0, 0)])
def test_sizes_are_checked(url, sizes):
    with pytest.raises(dqlite.ProgrammingError, match="sizes"):
        dqlite.ConnectionPool(url, min_size=sizes[0], max_size=sizes[1])


def test_eight_threads(url):
    with dqlite.ConnectionPool(url, min_size=0, max_size=4) as pool:
        pool.execute("create table t(a)")
        largest = []

        def work(i):
            with pool.acquire() as conn:
                largest.append(pool.get_size())
                conn.execute("insert into t values (?)", (i,))
                return conn.fetchval("select ?", i)

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(work, range(400))) == list(range(400))
        assert max(largest) <= 4
        assert pool.fetchval("select count(*), sum(a) from t") == 400
        stats = pool.get_stats()
        assert stats["acquired"] == 402
        assert stats["in_use"] == stats["waiting"] == 0
        assert stats["opened"] <= 4


def test_waiters_in_order(url, until):
    with dqlite.ConnectionPool(url, max_size=1) as pool:
        held, order = pool.acquire(), []

        def use(i):
            with pool.acquire():
                order.append(i)

        threads = []
        for i in range(8):
            threads.append(threading.Thread(target=use, args=(i,)))
            threads[-1].start()
            until(lambda i=i: pool.get_stats()["waiting"] == i + 1)
        pool.release(held)
        for thread in threads:
            thread.join(20)
        assert order == list(range(8))


def test_timeout_says_what_is_taken(pool):
    held = [pool.acquire() for _ in range(3)]
    with pytest.raises(dqlite.PoolTimeoutError, match=r"max_size=3, in use=3") as caught:
        pool.acquire(timeout=0.05)
    assert isinstance(caught.value, TimeoutError)
    for conn in held:
        pool.release(conn)
    assert pool.get_stats()["timeouts"] == 1
    assert pool.fetchval("select 1") == 1


def test_a_bounded_queue(url, until):
    with dqlite.ConnectionPool(url, max_size=1, max_waiting=1) as pool:
        held = pool.acquire()
        waiter = threading.Thread(target=lambda: pool.fetchval("select 1"))
        waiter.start()
        until(lambda: pool.get_stats()["waiting"] == 1)
        with pytest.raises(dqlite.PoolTimeoutError, match="wait"):
            pool.acquire()
        pool.release(held)
        waiter.join(20)


def test_who_waits_when_it_closes_is_told(url, until):
    pool, errors = dqlite.ConnectionPool(url, max_size=1), []
    held = pool.acquire()

    def wait():
        try:
            pool.acquire()
        except dqlite.InterfaceError as error:
            errors.append(str(error))

    waiter = threading.Thread(target=wait)
    waiter.start()
    until(lambda: pool.get_stats()["waiting"] == 1)
    pool.close(timeout=0.1)
    waiter.join(20)
    assert errors == ["pool is closed"]
    with pytest.raises(dqlite.InterfaceError, match="closed"):
        held.fetchval("select 1")
    held.close()
    pool.release(held)


def test_a_released_connection_refuses_use(pool, server):
    with pool.acquire() as conn:
        assert conn.fetchval("select 1") == 1
    with pytest.raises(dqlite.InterfaceError, match="released"):
        conn.fetchval("select 1")
    pool.release(conn)
    stranger = dqlite.connect(server.address)
    with pytest.raises(dqlite.InterfaceError, match="not one of"):
        pool.release(stranger)
    stranger.close()


def test_what_was_left_open_is_undone(pool):
    pool.execute("create table t(a)")
    with pool.acquire() as conn:
        conn.execute("begin immediate")
        conn.execute("insert into t values (1)")
    with pool.acquire() as conn:
        cursor = conn.execute(
            "with recursive n(i) as (select 1 union all select i+1 from n limit 100000)"
            " select i from n"
        )
        assert cursor.fetchone() == (1,)
    assert pool.fetchval("select count(*) from t") == 0
    pool.execute("insert into t values (2)", timeout=4)


def test_hooks(url):
    seen = []

    def hook(word):
        return lambda conn: seen.append((word, conn.fetchval("select 1")))

    hooks = {word: hook(word) for word in ("init", "check", "setup", "reset")}
    with dqlite.ConnectionPool(url, min_size=1, max_size=1, **hooks) as pool:
        assert seen == [("init", 1)]
        seen.clear()
        with pool.acquire():
            seen.append("use")
        assert seen == [("check", 1), ("setup", 1), "use", ("reset", 1)]
        pool.expire_connections()
        seen.clear()
        pool.fetchval("select 1")
        assert [word for word, _ in seen] == ["init", "check", "setup", "reset"]


def test_a_failing_check_costs_the_session(url):
    doubts = [True]

    def check(conn):
        if doubts and doubts.pop():
            raise dqlite.ConnectionFailedError
        dqlite.ConnectionPool.check_ping(conn)

    with dqlite.ConnectionPool(url, max_size=1, check=check) as pool, pool.acquire() as conn:
        assert conn.session_number == 2


def test_a_failing_setup_gives_the_place_back(url):
    def setup(conn):
        raise KeyError(conn.name)

    with dqlite.ConnectionPool(url, max_size=1, setup=setup) as pool:
        for _ in range(3):
            with pytest.raises(KeyError):
                pool.acquire(timeout=5)
        assert pool.get_size() == 0


def test_idle_connections_above_the_minimum_are_closed(url):
    with dqlite.ConnectionPool(url, min_size=1, max_size=4, max_idle=0.1) as pool:
        held = [pool.acquire() for _ in range(4)]
        for conn in held:
            pool.release(conn)
        deadline = time.monotonic() + 10
        while pool.get_size() > 1:
            assert time.monotonic() < deadline
            pool.fetchval("select 1")


def test_an_old_session_is_renewed(url):
    with dqlite.ConnectionPool(url, max_size=1, max_lifetime=0.001) as pool:
        deadline = time.monotonic() + 10
        while pool.get_stats()["opened"] < 2:
            assert time.monotonic() < deadline
            assert pool.fetchval("select 1") == 1
        assert pool.get_size() == 1


def test_resize(url):
    with dqlite.ConnectionPool(url, min_size=1, max_size=2) as pool:
        pool.resize(3, 4)
        assert (pool.get_size(), pool.get_min_size(), pool.get_max_size()) == (3, 3, 4)
        pool.resize(0, 1)
        assert pool.get_size() == 1
        with pytest.raises(dqlite.ProgrammingError, match="sizes"):
            pool.resize(2, 1)


def test_a_borrower_that_forgets_its_connection(url):
    with dqlite.ConnectionPool(url, max_size=1) as pool:
        conn = pool.acquire()
        with pytest.warns(ResourceWarning, match="given back"):
            del conn
            gc.collect()
        assert pool.fetchval("select 1", timeout=5) == 1


def test_an_open_pool_warns_when_collected(url):
    pool = dqlite.ConnectionPool(url)
    with pytest.warns(ResourceWarning, match="garbage-collected open"):
        del pool
        gc.collect()


def test_no_pickle_and_no_fork(pool):
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(pool)
    pid = os.fork()
    if pid == 0:
        try:
            pool.fetchval("select 1")
        except dqlite.InterfaceError as error:
            os._exit(0 if "used after fork; reconstruct" in str(error) else 2)
        except BaseException:
            os._exit(3)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert pool.fetchval("select 1") == 1


def test_descriptors_are_given_back(url):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with dqlite.ConnectionPool(url, min_size=4, max_size=4) as pool:
            pool.fetchval("select 1")
    assert len(os.listdir("/proc/self/fd")) == before


def test_run_transaction(pool):
    def add(conn, first, second):
        conn.execute("insert into t values (?)", (first + second,))
        return first + second

    pool.execute("create table t(a)")
    pool.execute("create table u(a unique)")
    assert pool.run_transaction(add, 2, 3) == 5
    assert pool.run_transaction(add, 4, 5, token="order 1") == 9
    with pytest.raises(dqlite.AlreadyAppliedError) as caught:
        pool.run_transaction(add, 4, 5, token="order 1")
    assert caught.value.outcome is dqlite.Outcome.REFUSED
    assert pool.run_transaction(add, 4, 5, token="order 1", if_applied=0) == 0
    with pytest.raises(dqlite.IntegrityError):
        pool.run_transaction(lambda conn: conn.execute("insert into u values (1), (1)"))
    assert pool.fetch("select a from t") == [(5,), (9,)]


def test_run_transaction_runs_again_when_it_may(conn):
    conn.execute("create table t(a)")
    runs = []

    def once_lost(connection):
        connection.execute("insert into t values (1)")
        runs.append(connection.session_number)
        if len(runs) == 1:
            raise dqlite.BusyError(outcome="refused", retry="transaction")
        return len(runs)

    assert conn.run_transaction(once_lost) == 2
    assert conn.fetchval("select count(*) from t") == 1


@pytest.mark.cluster
@pytest.mark.slow
def test_a_killed_leader_loses_no_acknowledged_row(own_trio):
    with dqlite.ConnectionPool(own_trio.addresses, max_size=4, database="app") as pool:
        pool.execute("create table t(a)")
        acked, unknown, end = [], [], time.monotonic() + 4

        def write(_):
            while time.monotonic() < end:
                assert pool.fetchval("select count(*) from t") is not None
                try:
                    pool.execute("insert into t values ('k')")
                    acked.append(1)
                except dqlite.OutcomeUnknownError:
                    unknown.append(1)

        with ThreadPoolExecutor(8) as threads:
            writing = [threads.submit(write, i) for i in range(8)]
            own_trio.kill_leader()
            for one in writing:
                one.result()
        found = pool.fetchval("select count(*) from t where a = 'k'")
        assert 0 < len(acked) <= found <= len(acked) + len(unknown)
        assert pool.get_size() <= 4
