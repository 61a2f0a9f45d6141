"""Three nodes, a killed leader, nothing lost: `make demo` runs this file.

It starts a cluster on this machine, writes through the synchronous and the asyncio API, kills the
node that leads, goes on writing, checks that every acknowledged row is there, brings the dead node
back and waits until it has caught up. The last line is the verdict, and so is the exit status.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import dqlite
import dqlite.aio

DATABASE = "demo"
INSERT = "INSERT INTO events (n, text) VALUES (?, ?)"
FAILOVER_MS_MAX = 1000
PATIENCE_S = 20
START = time.monotonic()


def main() -> int:
    """Play all scenes; 0 if the verdict is good."""
    with tempfile.TemporaryDirectory(prefix="dqlite-demo-") as directory:
        cluster = Cluster(Path(directory))
        try:
            cluster.start()
            acknowledged = write_through_a_node(cluster)
            failover_ms = asyncio.run(lose_the_leader(cluster, acknowledged))
            found = cluster.rows()
            missing = acknowledged - found
            cluster.say(f"{len(acknowledged)} rows acknowledged, {len(missing)} of them missing")
            bring_back_the_dead_node(cluster, found)
        finally:
            cluster.stop()

    good = not missing and not cluster.survivors() and failover_ms < FAILOVER_MS_MAX
    print(
        f"demo {'ok' if good else 'FAILED'}: failover {failover_ms:.0f} ms, "
        f"{len(acknowledged)} rows acknowledged, {len(found)} rows found"
    )
    return 0 if good else 1


def write_through_a_node(cluster: Cluster) -> set[int]:
    """Use the synchronous API. Any node will do: statements go to the one that leads."""
    node = cluster.nodes[0]
    node.open_db(DATABASE)
    node.exec("CREATE TABLE events (n INTEGER PRIMARY KEY, text TEXT)")
    for n in range(10):
        node.exec(INSERT, (n, f"it's number {n}"))
    row = node.query("SELECT text FROM events WHERE n = ?", (7,))[0]
    cluster.say(f"10 rows written through node 1; row 7 reads {row['text']!r}")
    return set(range(10))


async def lose_the_leader(cluster: Cluster, acknowledged: set[int]) -> float:
    """Use the asyncio API, and kill the leader meanwhile; return the failover in ms."""
    async with dqlite.aio.connect(cluster.addresses, database=DATABASE) as conn:
        rows = await conn.fetchval("SELECT count(*) FROM events")
        cluster.say(f"an asyncio connection counts {rows} rows")

    async with dqlite.create_pool(cluster.addresses, database=DATABASE, max_size=4) as pool:
        writers = Writers(pool, acknowledged)
        tasks = [asyncio.create_task(writers.write()) for _ in range(4)]
        await writers.reach(200)
        cluster.say("four tasks write through a pool; 200 rows so far")

        writers.killed_at = cluster.kill_the_leader()
        failover_ms = await asyncio.wait_for(writers.recovered, PATIENCE_S) * 1000
        cluster.say(f"a write is acknowledged again, {failover_ms:.0f} ms after the kill")

        await writers.reach(len(acknowledged) + 200)
        writers.stop = True
        await asyncio.gather(*tasks)
        cluster.say(f"200 more rows; of {writers.in_doubt} writes the outcome is unknown")
    return failover_ms


class Writers:
    """Tasks that insert one number after the other and note which were acknowledged."""

    def __init__(self, pool: dqlite.aio.Pool, acknowledged: set[int]) -> None:
        """Go on after the highest number."""
        self.pool = pool
        self.acknowledged = acknowledged
        self.next = max(acknowledged) + 1
        self.in_doubt = 0
        self.stop = False
        self.goal = 0
        self.reached = asyncio.Event()
        self.killed_at: float | None = None
        self.recovered: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def write(self) -> None:
        """Insert until told to stop."""
        while not self.stop:
            n, self.next = self.next, self.next + 1
            sent_at = time.monotonic()
            try:
                await self.pool.execute(INSERT, n, "written by asyncio")
            except dqlite.OutcomeUnknownError:
                self.in_doubt += 1  # sent, and the leader died before it answered: it may be there
                continue
            self.acknowledged.add(n)
            if len(self.acknowledged) >= self.goal:
                self.reached.set()
            if self.killed_at and sent_at > self.killed_at and not self.recovered.done():
                self.recovered.set_result(time.monotonic() - self.killed_at)

    async def reach(self, rows: int) -> None:
        """Wait until so many rows are acknowledged."""
        self.goal = rows
        self.reached.clear()
        await asyncio.wait_for(self.reached.wait(), PATIENCE_S)


def bring_back_the_dead_node(cluster: Cluster, rows: set[int]) -> None:
    """Start the node again on its old directory; its own copy of the data becomes complete."""
    started_at = time.monotonic()
    cluster.dead.stop()
    cluster.start_node(cluster.dead)
    cluster.wait_until("complete copy", lambda: cluster.rows_of_copy(cluster.dead) >= rows)
    ms = (time.monotonic() - started_at) * 1000
    cluster.say(f"{cluster.name(cluster.dead)} caught up in {ms:.0f} ms: {len(rows)} rows")


class Cluster:
    """Three nodes of this process, each a supervised `dqlite node` process with a directory."""

    def __init__(self, directory: Path) -> None:
        """Nothing is started yet."""
        self.addresses = free_addresses(3)
        self.nodes = [
            # A node that dies is started again by its supervisor; here that would spoil the show.
            dqlite.Node(address, directory / str(i), cluster=self.addresses, restart="never")
            for i, address in enumerate(self.addresses, 1)
        ]
        self.dead = self.nodes[0]
        self.pids: set[int] = set()
        self.client = dqlite.Client(self.addresses)

    def start(self) -> None:
        """Start the nodes; with the same list each, they find one another and form a cluster."""
        for node in self.nodes:
            self.start_node(node)
        self.wait_until("three voters", lambda: len(self.voters()) == len(self.nodes))
        self.say("the three nodes are a cluster, each has a vote")

    def start_node(self, node: dqlite.Node) -> None:
        """Start one node."""
        node.start()
        self.pids.add(node.pid)
        tell(f"{self.name(node)} started: process {node.pid}, {node.address}")

    def kill_the_leader(self) -> float:
        """Kill the process that leads; return when that was."""
        self.dead = self.leader()
        killed_at = time.monotonic()
        os.kill(self.dead.pid, signal.SIGKILL)
        tell(f"{self.name(self.dead)}, which led, was killed with SIGKILL")
        return killed_at

    def stop(self) -> None:
        """Stop all nodes; those that run hand over what they lead."""
        for node in self.nodes:
            node.close()
        tell(f"all nodes stopped, {len(self.survivors())} processes left")

    def leader(self) -> dqlite.Node:
        """Return the node that leads."""
        address = self.client.leader()
        return next(node for node in self.nodes if node.address == address)

    def voters(self) -> list[str]:
        """Return the members that have a vote."""
        return [m.address for m in self.client.cluster() if m.role is dqlite.Role.VOTER]

    def rows(self) -> set[int]:
        """Return what a query finds."""
        with dqlite.connect(self.addresses, database=DATABASE) as conn:
            return {row["n"] for row in conn.fetch("SELECT n FROM events")}

    def rows_of_copy(self, node: dqlite.Node) -> set[int]:
        """Return what the copy of one node holds, read with Python's own sqlite3."""
        content = bytearray(self.client.dump(DATABASE, address=node.address)[DATABASE])
        content[18:20] = b"\1\1"  # the file stands alone, without a write-ahead log
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(content)
            with closing(sqlite3.connect(file.name)) as copy:
                return {n for (n,) in copy.execute("SELECT n FROM events")}

    def survivors(self) -> list[int]:
        """Return the processes that should be gone and are not."""
        return [pid for pid in self.pids if Path(f"/proc/{pid}").exists()]

    def wait_until(self, what: str, holds: Callable[[], bool]) -> None:
        """Ask until it holds; an error says that it does not hold yet."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with suppress(dqlite.Error, sqlite3.Error):
                if holds():
                    return
            time.sleep(0.01)
        text = f"demo FAILED: no {what} within {PATIENCE_S} s"
        raise SystemExit(text)

    def name(self, node: dqlite.Node) -> str:
        """Return what the timeline calls a node."""
        return f"node {self.nodes.index(node) + 1}"

    def say(self, text: str) -> None:
        """Tell what happened, and who leads."""
        tell(text, f"{self.name(self.leader())} leads")


def free_addresses(count: int) -> list[str]:
    """Return addresses whose ports the operating system says are free."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return addresses


def tell(text: str, leads: str = "") -> None:
    """Print a line of the timeline."""
    print(f"{(time.monotonic() - START) * 1000:6.0f} ms  {leads:13} {text}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
