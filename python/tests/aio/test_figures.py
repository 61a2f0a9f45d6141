"""Hazards with figures: how soon a statement ends, a thousand requests at exit, threads, cuts.

The figures are printed (``pytest -s``); what is asserted holds on a machine under load, too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median, quantiles

import pytest

import dqlite
import dqlite.aio

ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
MANY = "with recursive n(i) as (select 1 union all select i + 1 from n limit {}) select i from n"

EXITS = int(os.environ.get("DQLITE_EXITS", "40"))
"""Interpreters that end with requests in flight."""


def figures(what, seconds):
    cut = quantiles(seconds, n=10)
    middle = median(seconds)
    print(f"{what}: median {middle * 1e3:.2f} ms, p90 {cut[-1] * 1e3:.2f} ms, n={len(seconds)}")
    return middle


@pytest.fixture
async def conn(url):
    async with dqlite.aio.connect(url) as connection:
        yield connection


@pytest.mark.parametrize("sql", [f"insert into t {ENDLESS}", ENDLESS], ids=["write", "read"])
async def test_cancelled_statement_ends_on_the_server(conn, url, busy, eventually, sql):
    await conn.execute("create table t(a)")
    ended, free = [], []
    async with dqlite.aio.connect(url) as other:
        for _ in range(20):
            busy.mark()
            task = asyncio.ensure_future(conn.fetch(sql))
            await eventually(busy.computes)
            begun = time.monotonic()
            task.cancel()
            # It is answered behind the statement, which is over then.
            assert await conn.fetchval("select 1") == 1
            ended.append(time.monotonic() - begun)
            assert task.cancelled()
            await other.execute("delete from t where a < 0")
            free.append(time.monotonic() - begun)
    figures("a cancelled statement is over after", ended)
    figures("and another connection has written after", free)
    assert conn.session_number == 1  # which is dropped if the end takes a second
    assert await conn.fetchval("select count(*) from t") == 0


async def test_cancelled_inside_a_transaction_rolls_back(conn, url, busy, eventually):
    await conn.execute("create table t(a)")
    undone = []

    async def work(sql):
        async with conn.transaction():
            await conn.execute("insert into t values (1)")
            await conn.fetch(sql)

    async with dqlite.aio.connect(url) as other:
        for sql in (f"insert into t {ENDLESS}", ENDLESS) * 5:
            busy.mark()
            task = asyncio.ensure_future(work(sql))
            await eventually(busy.computes)
            begun = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            undone.append(time.monotonic() - begun)
            assert not conn.is_in_transaction()
            assert await other.fetchval("select count(*) from t") == 0
            await other.execute("delete from t where a < 0")
    figures("a cancelled block is rolled back after", undone)
    assert conn.session_number == 1


async def test_cancelled_reply_of_a_hundred_thousand_rows(conn):
    for number in range(20):
        task = asyncio.ensure_future(conn.fetch(MANY.format(100_000)))
        for _ in range(number):  # so many rounds of the loop: before, within, behind the reply
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert await conn.fetchval("select ?", number) == number


EXIT = """
import asyncio, os, sys, dqlite, dqlite.aio
async def main():
    conns = [await dqlite.aio.connect(sys.argv[1]) for _ in range(4)]
    pool = await dqlite.create_pool(sys.argv[1], max_size=4)
    asked = [asyncio.ensure_future((conns[i % 8] if i % 8 < 4 else pool).fetch({sql!r}))
             for i in range(1000)]
    while not any(task.done() for task in asked):
        await asyncio.sleep(0)
    {end}
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
{after}
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("end", "after"),
    [("sys.exit(0)", ""), ("pass", "loop.close()"), ("pass", ""), ("os._exit(0)", "")],
    ids=["exit", "closed", "open", "at-once"],
)
@pytest.mark.parametrize("sql", ["select 1", MANY.format(20_000)], ids=["small", "large"])
def test_interpreter_exit_with_a_thousand_requests_in_flight(url, end, after, sql):
    code = EXIT.format(sql=sql, end=end, after=after)

    def leave(_number):
        return subprocess.run(
            [sys.executable, "-c", code, url],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    with ThreadPoolExecutor(4) as pool:
        for run in pool.map(leave, range(max(EXITS // 8, 1))):
            assert run.returncode == 0, run.stderr
            assert "panicked" not in run.stderr
            assert "Fatal" not in run.stderr


INTERRUPTED = """
import signal, sys, dqlite
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
conn = dqlite.connect(sys.argv[1])
for _ in range(5):
    print("asking", flush=True)
    try:
        conn.fetch(sys.argv[2])
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    assert conn.fetchval("select 1") == 1
    print("answered", flush=True)
"""


def test_keyboard_interrupt_ends_a_long_query(url, busy, until):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, url, ENDLESS],
        stdout=subprocess.PIPE,
        text=True,
    )
    raised, usable = [], []
    with process:
        for _ in range(5):
            assert process.stdout.readline() == "asking\n"
            busy.mark()
            until(busy.computes)
            begun = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            raised.append(time.monotonic() - begun)
            assert process.stdout.readline() == "answered\n"
            usable.append(time.monotonic() - begun)
    figures("KeyboardInterrupt reaches a waiting call after", raised)
    figures("and the connection answers again after", usable)
    assert process.returncode == 0


def test_eight_threads_on_a_connection_and_on_a_pool(url):
    def work(ask, number):
        for i in range(200):
            value = number * 1000 + i
            assert ask("select ?", value) == value
            if i % 50 == 0:
                assert len(ask(f"select group_concat(i) from ({MANY.format(2000)})")) > 2000

    with dqlite.connect(url) as conn, dqlite.ConnectionPool(url, max_size=3) as pool:
        for ask in (conn.fetchval, pool.fetchval):
            with ThreadPoolExecutor(8) as threads:
                for done in [threads.submit(work, ask, number) for number in range(8)]:
                    done.result()
        assert pool.get_size() <= 3


async def test_loop_of_another_thread_closed_with_requests_in_flight(url):
    """What runs there ends silently; the descriptors are given back."""
    before = len(os.listdir("/proc/self/fd"))

    def work():
        async def main():
            connection = await dqlite.aio.connect(url)
            asked = [asyncio.ensure_future(connection.fetch("select 1")) for _ in range(100)]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            return connection, asked

        loop = asyncio.new_event_loop()
        connection, asked = loop.run_until_complete(main())
        for task in asked:
            task.cancel()
        loop.run_until_complete(asyncio.wait(asked))
        loop.close()
        connection.terminate()

    for _ in range(5):
        thread = threading.Thread(target=work)
        thread.start()
        await asyncio.to_thread(thread.join, 50)
        assert not thread.is_alive()
    assert len(os.listdir("/proc/self/fd")) <= before + 2
