"""Transactions that are run again until it is certain that they took effect once."""

from __future__ import annotations

import pytest

import dqlite
import dqlite.aio
from dqlite._rerun import Reruns, new_token


def fault(outcome, retry, cls=dqlite.OperationalError):
    return cls("x", outcome=outcome, retry=retry)


@pytest.mark.parametrize(
    ("error", "without", "with_token"),
    [
        (fault("not_sent", "elsewhere"), True, True),
        (fault("not_sent", "no"), False, False),
        (fault("refused", "transaction"), True, True),
        (fault("refused", "no"), False, False),
        (fault("unknown", "no", dqlite.AmbiguousCommitError), False, True),
        (fault("unknown", "no", dqlite.ConnectionLostError), False, False),
        (dqlite.InterfaceError("x"), False, False),
    ],
)
def test_only_what_is_proven_not_executed_runs_again(error, without, with_token):
    for has_token, expected in ((False, without), (True, with_token)):
        reruns = Reruns(attempts=8, timeout=30, has_token=has_token, now=100.0)
        assert (reruns.pause_after(error, 100.0) is not None) is expected


def test_runs_are_bounded_in_number_and_time():
    busy = fault("refused", "transaction")
    reruns = Reruns(attempts=8, timeout=30, has_token=False, now=0.0)
    pauses = [reruns.pause_after(busy, 0.0) for _ in range(8)]
    assert pauses[-1] is None
    assert all(0 < pause <= 1 for pause in pauses[:-1])
    reruns = Reruns(attempts=8, timeout=30, has_token=False, now=0.0)
    assert reruns.pause_after(busy, 29.999) < 0.0011
    assert reruns.pause_after(busy, 30.0) is None
    with pytest.raises(dqlite.ProgrammingError, match="attempts"):
        Reruns(attempts=0, timeout=30, has_token=False, now=0.0)


async def test_result_and_arguments(url):
    async def add(conn, first, second):
        await conn.execute("insert into t values (?)", first + second)
        return first + second

    async with dqlite.create_pool(url) as pool:
        await pool.execute("create table t(a)")
        assert await pool.run_transaction(add, 2, 3) == 5
        assert await pool.run_transaction(add, 4, 5, token="order 1") == 9
        with pytest.raises(dqlite.AlreadyAppliedError) as caught:
            await pool.run_transaction(add, 4, 5, token="order 1")
        assert caught.value.token == b"order 1"
        assert await pool.run_transaction(add, 4, 5, token=b"order 1", if_applied="done") == "done"
        assert await pool.run_transaction(add, 6, 7, token=new_token()) == 13
        assert [row["a"] for row in await pool.fetch("select a from t")] == [5, 9, 13]
        with pytest.raises(dqlite.ProgrammingError, match="a token has"):
            await pool.run_transaction(add, 1, 1, token="")


async def test_exceptions_of_the_function_pass(url):
    async def fail(conn):
        await conn.execute("insert into t values (1)")
        raise KeyError

    async with dqlite.aio.connect(url) as conn:
        await conn.execute("create table t(a unique)")
        with pytest.raises(KeyError):
            await conn.run_transaction(fail)

        async def twice(conn):
            await conn.executemany("insert into t values (?)", [[1], [1]])

        with pytest.raises(dqlite.IntegrityError):
            await conn.run_transaction(twice, token=new_token())
        assert await conn.fetchval("select count(*) from t") == 0


async def test_a_commit_whose_answer_is_lost_takes_effect_once(relay, database):
    runs = 0

    async def add(conn):
        nonlocal runs
        runs += 1
        await conn.execute("insert into t values (?)", runs)
        relay.swallows = runs == 1
        return runs

    async with dqlite.aio.connect(relay, database=database) as conn:
        await conn.execute("create table t(a)")
        with pytest.raises(dqlite.AmbiguousCommitError):
            await conn.run_transaction(add)
        assert await conn.fetchval("select count(*) from t") == 1
        runs = 0
        assert await conn.run_transaction(add, token=new_token()) == 1
        assert await conn.fetchval("select count(*) from t") == 2
