"""Three nodes, a killed leader, nothing lost: `make demo` runs this file.

It starts a cluster on this machine, writes through the synchronous and the asyncio API, kills the
node that leads, goes on writing, checks that every acknowledged row is there, and brings the dead
node back. The last line is the verdict, and so is the exit status.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import dqlite.aio

HOST, DATABASE = "127.0.0.1", "demo"
INSERT = "INSERT INTO events (n, text) VALUES (?, ?)"
FAILOVER_MS_MAX, PATIENCE_S = 1000, 20
START = time.monotonic()


def main() -> int:
    """Play all scenes; 0 if the verdict is good."""
    with tempfile.TemporaryDirectory(prefix="dqlite-demo-") as directory:
        cluster = Cluster(Path(directory))
        try:
            cluster.start()
            acknowledged = write_through_a_node(cluster)
            failover_ms, more = asyncio.run(lose_the_leader(cluster))
            acknowledged |= more
            found = cluster.rows()
            missing = acknowledged - found
            cluster.say(f"{len(acknowledged)} rows acknowledged, {len(missing)} of them missing")
            caught_up = found == bring_back_the_dead_node(cluster)
        finally:
            left_over = cluster.stop()

    good = not (missing or left_over) and caught_up and failover_ms < FAILOVER_MS_MAX
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
    rows = node.query("SELECT text FROM events WHERE n = ?", (7,))
    cluster.say(f"10 rows written through node 1; row 7 reads {rows[0]['text']!r}")
    return set(range(10))


async def lose_the_leader(cluster: Cluster) -> tuple[float, set[int]]:
    """Use the asyncio API, and kill the leader meanwhile; return failover in ms and rows."""
    async with dqlite.aio.connect(cluster.addresses, database=DATABASE) as conn:
        first = await conn.fetchval("SELECT max(n) + 1 FROM events")
        cluster.say(f"an asyncio connection finds row {first} the next to write")

    numbers = itertools.count(first)
    acknowledged: dict[int, tuple[float, float]] = {}  # row: when sent, when acknowledged
    in_doubt: set[int] = set()

    async def write_until(rows: int) -> None:
        while len(acknowledged) < rows:
            n, sent = next(numbers), time.monotonic()
            try:
                await pool.execute(INSERT, n, "written by asyncio")
                acknowledged[n] = sent, time.monotonic()
            except dqlite.OutcomeUnknownError:
                in_doubt.add(n)  # the leader died before it answered: this row may be there or not

    async with dqlite.create_pool(cluster.addresses, database=DATABASE, max_size=4) as pool:
        await asyncio.gather(*(write_until(200) for _ in range(4)))
        cluster.say("4 tasks wrote 200 rows through a pool, and go on")
        writing = asyncio.gather(*(write_until(600) for _ in range(4)))
        killed_at = await asyncio.to_thread(cluster.kill_the_leader)
        await asyncio.wait_for(writing, PATIENCE_S)
    answered = min(done for sent, done in acknowledged.values() if sent > killed_at)
    failover_ms = (answered - killed_at) * 1000
    cluster.say(f"400 more rows; the first of them {failover_ms:.0f} ms after the kill")
    cluster.say(f"the outcome of {len(in_doubt)} writes is unknown; they are not acknowledged")
    return failover_ms, set(acknowledged)


def bring_back_the_dead_node(cluster: Cluster) -> set[int]:
    """Start the node again on its old directory, let it lead, and return the rows it has."""
    node = cluster.dead
    node.stop()
    cluster.start_node(node)
    cluster.wait_until("return to the lead", lambda: cluster.lets_lead(node))
    cluster.say(f"{cluster.name(node)} has caught up and leads again")
    return cluster.rows()


class Cluster:
    """Three nodes of this process, each a supervised `dqlite node` process with a directory."""

    def __init__(self, directory: Path) -> None:
        """Nothing is started yet."""
        self.addresses = free_addresses(3)
        options = {
            "cluster": self.addresses,
            "restart": "never",  # no supervisor that revives the dead: it would spoil the show
            "ready_grace": 0,  # no node can be ready before the next one is there
            "network_latency_ms": 10,  # half the default: messages stay on this machine
        }
        self.nodes = [dqlite.Node(a, directory / a, **options) for a in self.addresses]
        self.pids: set[int] = set()
        self.client = dqlite.Client(self.addresses)

    def start(self) -> None:
        """Start the nodes; with the same list each, they find one another and form a cluster."""
        for node in self.nodes:
            self.start_node(node)
        self.wait_until("three voters", lambda: self.voters() == len(self.nodes))
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

    def stop(self) -> list[int]:
        """Stop all nodes, a leader hands over first; return processes that are still there."""
        for node in self.nodes:
            node.close()
        left_over = [pid for pid in self.pids if Path(f"/proc/{pid}").exists()]
        tell(f"all nodes stopped, {len(left_over)} processes left")
        return left_over

    def leader(self) -> dqlite.Node:
        """Return the node that leads."""
        address = self.client.leader()
        return next(node for node in self.nodes if node.address == address)

    def voters(self) -> int:
        """Return how many members have a vote."""
        return sum(member.role is dqlite.Role.VOTER for member in self.client.cluster())

    def rows(self) -> set[int]:
        """Return what a query finds."""
        with dqlite.connect(self.addresses, database=DATABASE) as conn:
            return {row["n"] for row in conn.fetch("SELECT n FROM events")}

    def lets_lead(self, node: dqlite.Node) -> bool:
        """Ask the cluster to let a node lead; it refuses until that node has caught up."""
        self.client.transfer(node.id)
        return self.leader() is node

    def wait_until(self, what: str, holds: Callable[[], bool]) -> None:
        """Ask until it holds; an error says that it does not hold yet."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with suppress(dqlite.Error):
                if holds():
                    return
            time.sleep(0.01)
        sys.exit(f"demo FAILED: no {what} within {PATIENCE_S} s")

    def name(self, node: dqlite.Node) -> str:
        """Return what the timeline calls a node."""
        return f"node {self.nodes.index(node) + 1}"

    def say(self, text: str) -> None:
        """Tell what happened, and who leads now."""
        tell(text, f"{self.name(self.leader())} leads")


def free_addresses(count: int) -> list[str]:
    """Return addresses whose ports the operating system says are free."""
    with ExitStack() as stack:
        some = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [f"{HOST}:{listener.getsockname()[1]}" for listener in some]


def tell(text: str, leads: str = "") -> None:
    """Print a line of the timeline."""
    print(f"{(time.monotonic() - START) * 1000:6.0f} ms  {leads:13} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
