"""Three nodes that speak TLS, and clients with and without a certificate."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import dqlite
from dqlite.node import EXECUTABLE


class Secured(NamedTuple):
    directory: Path
    nodes: list[dqlite.Node]

    @property
    def addresses(self) -> list[str]:
        return [node.address for node in self.nodes]

    @property
    def tls(self) -> dqlite.TLS:
        names = ("ca.pem", "client.pem", "client.key")
        return dqlite.TLS(*(self.directory / name for name in names))


@pytest.fixture(scope="module")
def secured(
    addresses: Callable[[int], list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Secured]:
    place = tmp_path_factory.mktemp("secured")
    directory = place / "tls"
    several = addresses(3)
    command = [EXECUTABLE, "tls", "init", directory, "--node", *several]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    nodes = [
        dqlite.Node(
            address,
            place / f"n{i}",
            cluster=several,
            tls_cert=directory / "127.0.0.1.pem",
            tls_key=directory / "127.0.0.1.key",
            tls_ca=directory / "ca.pem",
        )
        for i, address in enumerate(several)
    ]
    try:
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait_ready(30)
        yield Secured(directory, nodes)
    finally:
        for node in nodes:
            node.close()


def test_a_plain_client_is_told_at_once(secured: Secured) -> None:
    with pytest.raises(dqlite.NoLeaderError, match="use dqlites://") as caught:
        dqlite.connect(secured.addresses, connect_timeout=20)
    assert {attempt[1] for attempt in caught.value.attempts} == {"tls"}


def test_a_client_without_a_certificate_is_told_what_is_missing(secured: Secured) -> None:
    tls = dqlite.TLS(secured.directory / "ca.pem")
    with pytest.raises(dqlite.NoLeaderError, match="peer wants a client certificate"):
        dqlite.connect(secured.addresses, tls=tls, connect_timeout=20)


def test_bad_files_are_named(secured: Secured) -> None:
    tls = dqlite.TLS(secured.directory / "none.pem")
    with pytest.raises(dqlite.ProgrammingError, match=r"none\.pem: no such file"):
        dqlite.connect(secured.addresses, tls=tls)
    directory = secured.directory
    tls = dqlite.TLS(directory / "ca.pem", directory / "client.pem", directory / "127.0.0.1.key")
    with pytest.raises(dqlite.ProgrammingError, match="does not match the certificate"):
        dqlite.connect(secured.addresses, tls=tls)


def test_both_kinds_of_connection_and_a_url(secured: Secured) -> None:
    large = (
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000) "
        "SELECT n, printf('%0100d', n) FROM c"
    )
    with dqlite.connect(secured.addresses, database="kinds", tls=secured.tls) as conn:
        conn.execute("CREATE TABLE t (n)")
        conn.execute("INSERT INTO t VALUES (?)", [1])
        assert len(conn.execute(large).fetchall()) == 20000
        conn.commit()

    names = ("ca.pem", "client.pem", "client.key")
    pem = dqlite.TLS(*((secured.directory / name).read_bytes() for name in names))

    async def ask() -> tuple[int, int, object]:
        async with dqlite.aio.connect(secured.addresses, database="kinds", tls=pem) as conn:
            rows = await conn.fetch(large)
            both = await asyncio.gather(*(conn.fetchval("SELECT count(*) FROM t") for _ in "ab"))
        async with dqlite.create_pool(
            secured.addresses, database="kinds", tls=secured.tls, max_size=2
        ) as pool:
            return len(rows), sum(both), await pool.fetchval("SELECT n FROM t")

    assert asyncio.run(ask()) == (20000, 2, 1)
    ca, cert, key, _ = secured.tls
    url = f"dqlites://{','.join(secured.addresses)}/kinds?ca={ca}&cert={cert}&key={key}"
    with dqlite.connect(url) as conn:
        assert conn.execute("SELECT count(*) FROM t").fetchone() == (1,)
    with dqlite.Client(secured.addresses, tls=secured.tls) as client:
        assert len(client.cluster()) == 3


def test_the_url_of_a_node_is_enough(secured: Secured) -> None:
    node = secured.nodes[0]
    assert node.url.startswith(f"dqlites://{node.address}/?ca=")
    with dqlite.connect(node.url, database="by_url", connect_timeout=30) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    tls = node.status()["tls"]
    assert tls["names"] == ["127.0.0.1"]
    assert tls["not_after"] > time.time()


def test_a_certificate_that_does_not_fit_is_a_stage_of_the_start(
    secured: Secured, addresses: Callable[[int], list[str]], tmp_path: Path
) -> None:
    directory = secured.directory
    node = dqlite.Node(
        addresses(1)[0],
        tmp_path,
        tls_cert=directory / "127.0.0.1.pem",
        tls_key=directory / "client.key",
        tls_ca=directory / "ca.pem",
    )
    with pytest.raises(dqlite.NodeStartError, match="does not match") as caught:
        node.start()
    assert caught.value.stage == "tls"
    assert node.state == "failed"


def test_writes_go_on_when_the_leader_is_killed(secured: Secured) -> None:
    with dqlite.connect(secured.addresses, database="over", tls=secured.tls) as conn:
        conn.execute("CREATE TABLE t (n)")
        conn.execute("INSERT INTO t VALUES (1)")
        conn.commit()
        lead = next(node for node in secured.nodes if node.address == conn.address)
        pid = lead.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        deadline = time.monotonic() + 30
        while True:
            try:
                conn.execute("INSERT INTO t VALUES (2)")
                conn.commit()
                break
            except dqlite.OperationalError:
                assert time.monotonic() < deadline, "nobody leads"
        assert conn.execute("SELECT count(*) FROM t WHERE n = 1").fetchone() == (1,)
        # Its engine is soon back, and may lead again.
        while (again := lead.pid) is None or again == pid:
            assert time.monotonic() < deadline, "the killed engine is not started again"
            time.sleep(0.01)
    # A node is a target, too: whoever starts it may connect by its certificate.
    follower = next(node for node in secured.nodes if node is not lead)
    with dqlite.connect(follower, database="over") as conn:
        row = conn.execute("SELECT count(DISTINCT n) FROM t").fetchone()
        assert row == (2,)
