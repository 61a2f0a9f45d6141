"""Fork: what the package page says of gunicorn, multiprocessing and Celery."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Callable

import pytest

import dqliteclient
from dqliteclient import create_pool

pytestmark = [
    pytest.mark.cluster,
    # Newer Pythons warn because the nodes of this process have threads; the children use none.
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


@pytest.fixture
def loop():
    """The event loop that a server process had before it forked its workers."""
    made = asyncio.new_event_loop()
    yield made
    made.close()


def exit_status_of_child(work: Callable[[], bool]) -> int:
    """Fork as gunicorn and Celery do; 0 if the child's work is as it should be."""
    pid = os.fork()
    if pid == 0:
        status = 2
        try:
            status = 0 if work() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def is_refused(pool: dqliteclient.ConnectionPool) -> bool:
    try:
        asyncio.run(pool.fetch("SELECT 1"))
    except dqliteclient.InterfaceError as error:
        return "used after fork; reconstruct it in the child process" in str(error)
    return False


def own_pool_works(addresses: list[str]) -> bool:
    async def ask() -> bool:
        async with dqliteclient.ConnectionPool(addresses) as pool:
            return await pool.fetchval("SELECT 1") == 1

    return asyncio.run(ask())


def test_preloaded_pool_is_refused_in_workers(trio, loop) -> None:
    """Like gunicorn with --preload: the pool was made before the workers were forked."""
    pool = loop.run_until_complete(create_pool(trio.addresses, min_size=2))
    for _ in range(2):
        assert exit_status_of_child(lambda: is_refused(pool)) == 0
    assert loop.run_until_complete(pool.fetchval("SELECT 1")) == 1
    loop.run_until_complete(pool.close())


def test_worker_that_makes_its_own_pool_works(trio, loop) -> None:
    """Like gunicorn's post_fork hook and Celery's worker init signal."""
    pool = loop.run_until_complete(create_pool(trio.addresses))
    assert exit_status_of_child(lambda: own_pool_works(trio.addresses)) == 0
    assert loop.run_until_complete(pool.fetchval("SELECT 1")) == 1
    loop.run_until_complete(pool.close())


def test_multiprocessing_child_is_given_addresses(trio, loop) -> None:
    """Like multiprocessing: children get configuration, objects cannot be sent at all."""
    pool = loop.run_until_complete(create_pool(trio.addresses))
    with pytest.raises(TypeError, match="cannot pickle"):
        multiprocessing.reduction.ForkingPickler.dumps(pool)
    with multiprocessing.get_context("fork").Pool(2) as workers:
        assert workers.map(own_pool_works, [trio.addresses] * 2) == [True, True]
    assert loop.run_until_complete(pool.fetchval("SELECT 1")) == 1
    loop.run_until_complete(pool.close())
