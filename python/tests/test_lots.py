"""`executemany` of plain rows, which go many to an execution: nobody can tell, but for the time."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import dqlite
import dqlite.aio

PLAIN = "insert into t(id, a) values (?, ?)"
ROWS = 1300
"""Two lots of 512 rows, and some more."""


@pytest.fixture
def conn(url):
    with dqlite.connect(url) as connection:
        connection.execute("create table t(id integer primary key, a)")
        yield connection


def rows(count=ROWS, **others):
    """Rows that fit, but for some: `n5=("id", "a")` says what row 5 is."""
    made = [(n, f"row {n}") for n in range(count)]
    for n, row in others.items():
        made[int(n[1:])] = row
    return made


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 1024, 5000])
@pytest.mark.parametrize(
    "sql",
    [PLAIN, "REPLACE INTO main.t VALUES (:id, @a);", "insert or ignore into [t](id, a)values(?,?)"],
)
def test_all_rows_are_there_in_their_order(conn, count, sql):
    sets = [{"id": n, "a": a} for n, a in rows(count)] if ":id" in sql else iter(rows(count))
    assert conn.executemany(sql, sets).rowcount == count
    assert conn.fetch("select id, a from t order by rowid") == rows(count)


@pytest.mark.parametrize("bad", [0, 1, 511, 512, 800, 1023, 1024, 1299])
def test_an_error_names_its_row_and_leaves_nothing(conn, bad):
    conn.execute("insert into t values (5000, 'there')")
    with pytest.raises(dqlite.IntegrityError, match=r"t\.id") as caught:
        conn.executemany(PLAIN, rows(**{f"n{bad}": (5000, "twice")}))
    assert (caught.value.index, caught.value.outcome) == (bad, "refused")
    assert conn.fetch("select id from t") == [(5000,)]
    assert not conn.in_transaction


def test_the_first_of_several_errors_counts(conn):
    """Row 600 meets row 3 of an earlier lot; row 5 of a later lot would meet row 700 then."""
    with pytest.raises(dqlite.IntegrityError) as caught:
        conn.executemany(PLAIN, rows(n600=(3, "x"), n700=(4, "x"), n1200=(600, "x")))
    assert caught.value.index == 600


def test_inside_a_transaction_what_was_before_stays(conn):
    with conn.transaction():
        conn.execute("insert into t values (-1, 'before')")
        with pytest.raises(dqlite.IntegrityError):
            conn.executemany(PLAIN, rows(n700=(-1, "twice")))
        assert conn.executemany(PLAIN, rows(600)).rowcount == 600
    assert conn.fetchval("select count(*) from t") == 601


@pytest.mark.parametrize(("how", "left"), [("replace", "again 2"), ("ignore", "row 7")])
def test_conflicts_that_are_resolved(conn, how, left):
    sets = rows(n600=(7, "again 1"), n1100=(7, "again 2"))
    done = conn.executemany(f"insert or {how} into t values (?, ?)", sets).rowcount
    assert done == (ROWS if how == "replace" else ROWS - 2)
    assert conn.fetchval("select count(*) from t") == ROWS - 2
    assert conn.fetchval("select a from t where id = 7") == left


@pytest.mark.parametrize("resolution", ["rollback", "fail", "abort"])
@pytest.mark.parametrize("bad", [700, 1250])
def test_a_table_may_resolve_conflicts_its_own_way(conn, resolution, bad):
    conn.execute(f"create table s(a, b unique on conflict {resolution})")
    conn.execute("insert into s values ('there', -1)")
    with pytest.raises(dqlite.Error) as caught:
        conn.executemany("insert into s(b, a) values (?, ?)", rows(**{f"n{bad}": (-1, "twice")}))
    told = isinstance(caught.value, dqlite.OutcomeUnknownError)
    assert told or isinstance(caught.value, dqlite.IntegrityError)
    left = conn.fetchval("select count(*) from s")
    assert left == 1 or (told and resolution == "rollback")
    assert not conn.in_transaction
    assert conn.executemany(PLAIN, rows()).rowcount == ROWS


@pytest.mark.parametrize("returning", ["", " returning b"])
def test_a_block_whose_transaction_a_conflict_ended_can_only_end(conn, returning):
    conn.execute("create table s(b unique on conflict rollback)")
    conn.execute("insert into s values (-1)")
    sets = [(1,), (-1,), (2,)]
    with pytest.raises(dqlite.Error, match="rolled back"), conn.transaction():
        conn.execute("insert into s values (3)")
        with pytest.raises(dqlite.OutcomeUnknownError):
            conn.executemany(f"insert into s values (?){returning}", sets)
        conn.execute("insert into s values (4)")
    assert not conn.in_transaction
    assert conn.fetchval("select count(*) from s where b in (1, 3, 4)") == 0


def test_triggers_see_each_row(conn):
    conn.execute("create table log(n)")
    conn.execute(
        "create trigger g after insert on t begin "
        "insert into log select count(*) from t; select raise(abort, 'no') where new.id = 900; end"
    )
    conn.executemany(PLAIN, rows(800))
    assert conn.fetch("select n from log") == [(n + 1,) for n in range(800)]
    with pytest.raises(dqlite.IntegrityError, match="no") as caught:
        conn.executemany(PLAIN, [(n, "") for n in range(800, 1500)])
    assert caught.value.index == 100


def test_large_rows_and_small_ones(conn):
    sets = [(n, "x" * (3000 if n % 700 > 650 else 3)) for n in range(2500)]
    sets[1000] = (1000, b"y" * 3_000_000)
    assert conn.executemany(PLAIN, sets).rowcount == 2500
    assert conn.fetchval("select sum(length(a)) from t") == sum(len(a) for _, a in sets)


@pytest.mark.parametrize("bad", [3, 600, 1299])
def test_what_cannot_be_bound_is_named(conn, bad):
    with pytest.raises(dqlite.ProgrammingError) as caught:
        conn.executemany(PLAIN, rows(**{f"n{bad}": (1, object())}))
    assert caught.value.index == bad
    assert conn.fetchval("select count(*) from t") == 0


def test_a_source_that_fails(conn):
    def source():
        yield from rows(700)
        raise KeyError(len("gone"))

    with pytest.raises(KeyError):
        conn.executemany(PLAIN, source())
    assert conn.fetchval("select count(*) from t") == 0


async def test_with_a_loop(url):
    async with dqlite.aio.connect(url) as conn:
        await conn.execute("create table t(id integer primary key, a)")
        assert await conn.executemany(PLAIN, rows()) == ROWS
        with pytest.raises(dqlite.IntegrityError) as caught:
            await conn.executemany(PLAIN, [(n + 2000, "") for n in range(700)] + [(5, "")])
        assert caught.value.index == 700

        async def source():
            for row in rows(5000, n4321=(5, "twice")):
                yield row[0] + 10_000 * (row[1] != "twice"), row[1]

        with pytest.raises(dqlite.IntegrityError) as caught:
            await conn.executemany(PLAIN, source())
        assert caught.value.index == 4321
        assert await conn.fetchval("select count(*) from t") == ROWS


async def test_cancelled_anywhere(url):
    async with dqlite.aio.connect(url) as conn:
        await conn.execute("create table t(id integer primary key, a)")
        for rounds in range(0, 60, 3):
            task = asyncio.ensure_future(conn.executemany(PLAIN, rows(3000)))
            for _ in range(rounds):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            if not task.cancelled():
                await conn.execute("delete from t")
            assert await conn.fetchval("select count(*) from t") == 0


def test_too_late(conn):
    conn.execute("create table slow(a)")
    conn.execute(
        "create trigger g before insert on slow begin select count(*) from (with recursive "
        "n(i) as (select 1 union all select i + 1 from n limit 10000000) select i from n); end"
    )
    with pytest.raises(dqlite.StatementTimeoutError) as caught:
        conn.executemany("insert into slow values (?)", [(n,) for n in range(3000)], timeout=0.5)
    assert caught.value.index == 0
    assert conn.fetchval("select count(*) from slow") == 0
