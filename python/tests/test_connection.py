"""The synchronous connection against a real node."""

from __future__ import annotations

import datetime as dt
import gc
import math
import os
import pickle
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from uuid import UUID

import pytest

import dqlite
import dqlite.connection

ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"


class Colour(IntEnum):
    RED = 7


def test_rows_by_every_verb(conn):
    conn.execute("create table t(id integer primary key, a)")
    assert conn.execute("insert into t(a) values (?)", ["x"]).lastrowid == 1
    assert conn.execute("insert into t(a) values (?), (?)", ("y", "z")).rowcount == 2
    assert conn.fetch("select id, a from t order by id") == [(1, "x"), (2, "y"), (3, "z")]
    assert conn.fetchrow("select a from t where id = ?", 2) == ("y",)
    assert conn.fetchrow("select a from t where id = 99") is None
    assert conn.fetchval("select id, a from t where id = 3", column=1) == "z"
    assert conn.fetchval("select a from t where id = 99") is None
    cursor = conn.execute("select id, a from t order by id")
    assert [column[0] for column in cursor.description] == ["id", "a"]
    assert [column[1] for column in cursor.description] == [1, 3]
    assert cursor.fetchone()["a"] == "x"
    assert cursor.fetchmany(1) == [(2, "y")]
    assert list(cursor) == [(3, "z")]
    assert cursor.fetchone() is None


def test_values_keep_type_and_size(conn):
    values = (2**63 - 1, -(2**63), b"\0\xff", None, 1.5, b"", "", "žluťoučký", math.inf)
    row = conn.fetchrow("select ?,?,?,?,?,?,?,?,?", *values)
    assert row == values
    assert [type(value) for value in row] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (True, 1),
        (Colour.RED, 7),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (dt.date(2001, 2, 3), "2001-02-03"),
        (dt.time(4, 5, 6), "04:05:06"),
        (dt.datetime(2001, 2, 3, 4, 5, 6, 7), "2001-02-03 04:05:06.000007"),
        (dt.datetime(2001, 2, 3, tzinfo=dt.timezone.utc), "2001-02-03 00:00:00+00:00"),
        (math.nan, None),
    ],
)
def test_values_that_change_their_type(conn, given, kept):
    assert conn.fetchval("select ?", given) == kept


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (2**63, dqlite.DataError, "beyond 64 bits"),
        (-(2**63) - 1, dqlite.DataError, "beyond 64 bits"),
        ("a\0b", dqlite.DataError, "NUL"),
        ("\ud800", dqlite.DataError, "surrogate"),
        (UUID(int=1), dqlite.ProgrammingError, "type 'UUID' is not supported"),
        (1 + 2j, dqlite.ProgrammingError, "type 'complex' is not supported"),
        (object(), dqlite.ProgrammingError, "type 'object' is not supported"),
    ],
)
def test_values_that_cannot_be_bound(conn, value, error, text):
    with pytest.raises(error, match=text) as caught:
        conn.fetchval("select ?", value)
    assert "parameter 1" in str(caught.value)
    assert conn.fetchval("select 1") == 1


@pytest.mark.parametrize(
    ("sql", "args"),
    [
        ("select ?, ?", [[1]]),
        ("select ?", [[1, 2]]),
        ("select 1", [[1]]),
        ("select :a", [[1]]),
        ("select ?", [{"a": 1}]),
        ("select :a", [{"b": 1}]),
        ("select 1; select 2", []),
        ("select ?250001", [[1]]),
        ("select '\0'", []),
        ("select '\ud800'", []),
    ],
)
def test_wrong_calls_are_refused_before_they_are_sent(conn, sql, args):
    with pytest.raises(dqlite.ProgrammingError) as caught:
        conn.execute(sql, *args)
    assert caught.value.outcome in {None, dqlite.Outcome.NOT_SENT}
    assert conn.fetchval("select 1") == 1


@pytest.mark.parametrize("params", ["ab", b"ab", {1, 2}, iter([1]), 5])
def test_what_is_no_parameter_set(conn, params):
    with pytest.raises(dqlite.ProgrammingError, match="must be a sequence or a mapping"):
        conn.execute("select ?", params)


def test_named_and_numbered_parameters(conn):
    assert conn.fetchrow("select :v, @v, $v, :v", {"v": 7, "w": 8}) == (7, 7, 7, 7)
    assert conn.fetchrow("select ?2, ?1", "a", "b") == ("b", "a")
    assert conn.fetchrow("select ?, ?", [1, 2]) == (1, 2)


def test_many_parameters(conn):
    marks = ",".join(["(?)"] * 1000)
    rows = conn.fetch(f"values {marks}", *range(1000))
    assert [row[0] for row in rows] == list(range(1000))


def test_names_longer_than_one_message(conn):
    columns = ", ".join(f'{i} as "{i:050}"' for i in range(100))
    assert [tuple(row) for row in conn.fetch(f"select {columns}")] == [tuple(range(100))]
    assert conn.fetchval("select 1") == 1


def test_declared_types_come_back_as_python_types(conn):
    now = dt.datetime(2001, 2, 3, 4, 5, 6, 7)
    aware = now.replace(tzinfo=dt.timezone(dt.timedelta(hours=-3, minutes=-30)))
    conn.execute("create table k(w datetime, d date, f boolean)")
    conn.executemany(
        "insert into k values (?,?,?)",
        [
            (now, now.date(), True),
            (aware, dt.time(1, 2), False),
            (None, None, None),
            ("soon", 5, 7),
        ],
    )
    utc5 = dt.datetime(1970, 1, 1, 0, 0, 5, tzinfo=dt.timezone.utc)
    rows = conn.fetch("select * from k")
    assert rows == [
        (now, now.date(), True),
        (aware, dt.time(1, 2), False),
        (None, None, None),
        ("soon", utc5, 7),
    ]
    assert rows[0]["f"] is True


def test_types_as_the_wire_has_them(url):
    with dqlite.connect(url, types="raw") as raw, dqlite.connect(url, types="strict") as strict:
        raw.execute("create table k(d date, f boolean)")
        raw.execute("insert into k values ('2001-02-03', 1), ('soon', 7)")
        assert raw.fetch("select * from k") == [("2001-02-03", 1), ("soon", 7)]
        assert strict.fetchrow("select * from k where f = 1") == (dt.date(2001, 2, 3), True)
        with pytest.raises(dqlite.DataError, match="holds"):
            strict.fetch("select * from k")
        with pytest.raises(dqlite.DataError, match="NaN"):
            strict.fetch("select ?", math.nan)
        assert strict.fetchval("select 1") == 1


def test_text_that_is_not_utf8_spoils_nothing_else(conn):
    with pytest.raises(dqlite.DataError, match="not UTF-8"):
        conn.fetch("select cast(x'ff' as text)")
    assert conn.fetchval("select 1") == 1


def test_duplicate_key_is_an_integrity_error(conn):
    conn.execute("create table t(id integer primary key, u unique, n not null)")
    conn.execute("insert into t values (1, 1, 1)")
    for sql, constraint in [
        ("insert into t values (1, 2, 2)", "primary_key"),
        ("insert into t values (2, 1, 2)", "unique"),
        ("insert into t values (2, 2, null)", "not_null"),
    ]:
        with pytest.raises(dqlite.IntegrityError) as caught:
            conn.execute(sql)
        error = caught.value
        assert error.constraint == constraint
        assert error.sqlite_errorname.startswith("SQLITE_CONSTRAINT_")
        assert error.outcome == "refused"
        assert not error.retryable
        assert error.address == conn.address
        assert pickle.loads(pickle.dumps(error)).constraint == constraint


@pytest.mark.parametrize("sql", ["select * from nowhere", "selec 1", "select nothing()"])
def test_sql_errors_are_operational_errors(conn, sql):
    with pytest.raises(dqlite.OperationalError) as caught:
        conn.execute(sql)
    assert caught.value.outcome == "refused"
    assert conn.fetchval("select 1") == 1


def test_large_results_and_values(conn):
    conn.execute("create table t(i, text)")
    conn.executemany("insert into t values (?, ?)", ((i, "x" * 100) for i in range(500)))
    rows = conn.fetch("select a.i, b.text from t a, t b limit 100000")
    assert len(rows) == 100_000
    blob = os.urandom(3_000_000)
    assert conn.fetchval("select ?", blob) == blob


def test_wide_rows(conn):
    columns = ", ".join(f"{i} as c{i}" for i in range(500))
    assert conn.fetchrow(f"select {columns}") == tuple(range(500))


def test_transaction_commits_or_rolls_back(conn):
    conn.execute("create table t(a)")
    with conn.transaction():
        conn.execute("insert into t values (1)")
        assert conn.in_transaction
    with pytest.raises(KeyError), conn.transaction():
        conn.execute("insert into t values (2)")
        raise KeyError
    with conn.transaction(force_rollback=True):
        conn.execute("insert into t values (3)")
    assert not conn.in_transaction
    assert conn.fetch("select a from t") == [(1,)]


def test_inner_transaction_is_a_savepoint(conn):
    conn.execute("create table t(a)")
    with conn.transaction():
        conn.execute("insert into t values (1)")
        with pytest.raises(KeyError), conn.transaction():
            conn.execute("insert into t values (2)")
            raise KeyError
        assert conn.in_transaction
        with conn.transaction():
            conn.execute("insert into t values (3)")
    assert conn.fetch("select a from t") == [(1,), (3,)]


def test_raw_transaction_statements_are_followed(conn):
    for begin, end in [("begin", "commit"), ("savepoint s", "release S"), ("BEGIN", "end")]:
        conn.execute(begin)
        assert conn.in_transaction
        conn.execute("savepoint inner")
        conn.execute("rollback to inner")
        conn.execute("release inner")
        assert conn.in_transaction
        conn.execute(end)
        assert not conn.in_transaction
    with pytest.raises(dqlite.OperationalError, match="no transaction is active"):
        conn.execute("rollback")


def test_executemany_is_all_or_nothing(conn):
    conn.execute("create table t(id integer primary key)")
    assert conn.executemany("insert into t values (?)", ((i,) for i in range(100))).rowcount == 100
    with pytest.raises(dqlite.IntegrityError) as caught:
        conn.executemany("insert into t values (?)", [(100,), (5,), (101,)])
    assert caught.value.index == 1
    assert conn.fetchval("select count(*) from t") == 100


def test_returning_counts_its_rows(conn):
    conn.execute("create table t(a)")
    cursor = conn.execute("insert into t values (1), (2) returning a")
    assert cursor.rowcount == 2
    assert cursor.fetchall() == [(1,), (2,)]


def test_statements_that_change_no_rows_report_none(conn):
    conn.execute("create table t(a)")
    conn.execute("insert into t values (1), (2)")
    cursor = conn.execute("create table u(a)")
    assert cursor.rowcount == -1
    assert cursor.lastrowid is None
    assert conn.execute("  -- nothing\n").rowcount == -1
    assert conn.fetch("") == []


def test_deadline_leaves_the_connection_usable(conn):
    begun = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        conn.fetch(ENDLESS + " limit 1", timeout=0.2)
    assert isinstance(caught.value, dqlite.StatementTimeoutError)
    assert "within 0.2 s" in str(caught.value)
    assert conn.fetchval("select 1") == 1
    assert time.monotonic() - begun < 5


def test_deadline_ends_the_statement_on_the_server(conn):
    conn.execute("create table t(a)")
    for _ in range(3):
        with pytest.raises(dqlite.StatementTimeoutError):
            conn.execute(f"insert into t {ENDLESS}", timeout=0.1)
        assert conn.fetchval("select count(*) from t", timeout=5) == 0
    assert conn.session_number == 1


def test_a_call_that_sends_nothing_breaks_no_transaction(conn):
    class Odd:
        def __index__(self):
            raise KeyError

    conn.execute("create table t(a)")
    with conn.transaction():
        conn.execute("insert into t values (1)")
        with pytest.raises(KeyError):
            conn.execute("insert into t values (?)", [Odd()])
        with pytest.raises(dqlite.ProgrammingError, match="surrogate") as caught:
            conn.execute("select '\ud800'")
        assert caught.value.__context__ is None
        with pytest.raises(TypeError):
            conn.execute(None)
    assert conn.fetchval("select count(*) from t") == 1


def test_a_request_beyond_the_limit_is_a_data_error(conn):
    with pytest.raises(dqlite.DataError, match="exceeds the limit") as caught:
        conn.execute("select ?", [bytes(70_000_000)])
    assert caught.value.outcome is dqlite.Outcome.NOT_SENT
    assert conn.fetchval("select 1") == 1


def test_deadline_in_a_transaction_leads_to_rollback(conn):
    conn.execute("create table t(a)")
    with pytest.raises(dqlite.OperationalError, match="must be rolled back"), conn.transaction():
        conn.execute("insert into t values (1)")
        with pytest.raises(dqlite.StatementTimeoutError):
            conn.fetch(ENDLESS, timeout=0.1)
        conn.execute("insert into t values (2)")
    assert conn.fetchval("select count(*) from t") == 0


@pytest.fixture
def ctrl_c():
    """Ctrl-C works as at a terminal, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_a_long_query_at_once(conn, busy, until):
    sent = []

    def interrupt():
        until(busy.computes)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        conn.fetch(ENDLESS)
    assert time.monotonic() - sent[0] < 5
    thread.join()
    assert conn.fetchval("select 1") == 1


def test_threads_share_a_connection(conn):
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda i: conn.fetchval("select ?", i), range(800))
        assert list(answers) == list(range(800))


def test_threads_wait_for_the_block_of_another(conn):
    conn.execute("create table t(a)")
    inside, done = threading.Event(), threading.Event()

    def block():
        with conn.transaction():
            conn.execute("insert into t values (1)")
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=block)
    thread.start()
    assert inside.wait(10)
    with pytest.raises(dqlite.StatementTimeoutError, match="a transaction") as caught:
        conn.fetchval("select 1", timeout=0.05)
    assert caught.value.outcome == "not_sent"
    done.set()
    assert conn.fetchval("select count(*) from t") == 1
    thread.join()


def test_closing_from_another_thread_ends_the_call(conn, busy, until):
    def close():
        until(busy.computes)
        conn.close()

    thread = threading.Thread(target=close)
    thread.start()
    with pytest.raises(dqlite.InterfaceError, match="closed"):
        conn.fetch(ENDLESS)
    thread.join()
    with pytest.raises(dqlite.InterfaceError, match="closed"):
        conn.fetchval("select 1")


def test_fork_is_refused_and_harmless(conn):
    pid = os.fork()
    if pid == 0:
        try:
            conn.fetchval("select 1")
        except dqlite.InterfaceError as error:
            os._exit(0 if "used after fork" in str(error) else 2)
        except BaseException:
            os._exit(3)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert conn.fetchval("select 2") == 2


def test_open_connection_warns_when_collected(url):
    connection = dqlite.connect(url, name="forgotten")
    with pytest.warns(ResourceWarning, match="'forgotten' was garbage-collected open"):
        del connection
        gc.collect()


def test_connections_are_not_pickled(conn):
    with pytest.raises(TypeError, match="cannot pickle 'Connection'"):
        pickle.dumps(conn)


def test_a_cluster_that_is_not_there(addresses):
    hosts = addresses(2)
    begun = time.monotonic()
    with pytest.raises(dqlite.NoLeaderError) as caught:
        dqlite.connect(hosts, connect_timeout=0.5)
    assert time.monotonic() - begun < 10
    assert [attempt[0] for attempt in caught.value.attempts] == hosts
    assert all(host in str(caught.value) for host in hosts)
    assert "connection refused" in str(caught.value)
    assert caught.value.outcome == "not_sent"


def test_a_server_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(dqlite.NoLeaderError) as caught:
            dqlite.connect(address, connect_timeout=0.5)
    assert address in str(caught.value)


@pytest.mark.parametrize(
    "target",
    [
        "",
        "app.db",
        ":memory:",
        "host:0",
        "host:65536",
        "host:port",
        "dqlite://user:secret@host/app",
        "postgres://host/app",
        "dqlite://host/app?colour=red",
        "dqlite://host/:memory:",
        [],
        ["host:1", ""],
        ["host:1", 5],
        5,
    ],
)
def test_malformed_targets(target):
    with pytest.raises(dqlite.ProgrammingError) as caught:
        dqlite.connect(target)
    assert str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": math.nan},
        {"timeout": "5"},
        {"connect_timeout": 0},
        {"connect_timeout": math.inf},
        {"types": "guess"},
        {"database": ""},
        {"database": ":memory:"},
        {"database": "x" * 600},
        {"database": "a\0b"},
    ],
)
def test_malformed_options(options):
    with pytest.raises(dqlite.ProgrammingError):
        dqlite.connect("localhost:1", **options)


def test_url_environment_and_keyword(url, monkeypatch):
    monkeypatch.setenv("DQLITE_URL", url + "?timeout=7s")
    with dqlite.connect(database="other") as connection:
        assert connection.database == "other"
        assert connection.fetchval("select 1") == 1
