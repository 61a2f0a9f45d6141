"""Starting and stopping again and again under traffic, from many threads, and across forks."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import dqlite
from dqlite.node import Stopped

CYCLES = int(os.environ.get("DQLITE_CYCLES", "100"))
"""How many cycles; the full run is 1000."""
WRITERS = 3

pytestmark = pytest.mark.usefixtures("no_children_left")


@pytest.fixture
def address(addresses: Callable[[int], list[str]]) -> str:
    return addresses(1)[0]


def descriptors() -> list[str]:
    found: list[str] = []
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the descriptor of this listing
            found.append(os.readlink(f"/proc/self/fd/{entry}").partition(":")[0])
    return sorted(found)


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def resident_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line[:5] == "VmRSS")


class Traffic:
    """Threads that write through connections of their own, whatever becomes of the node."""

    def __init__(self, node: dqlite.Node) -> None:
        self.written = 0
        self.surprises: list[BaseException] = []
        self._node = node
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._write) for _ in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def _write(self) -> None:
        while not self._ending.is_set():
            try:
                with self._node.connect("app", timeout=5, connect_timeout=5) as conn:
                    while not self._ending.is_set():
                        conn.execute("insert into t values (1)")
                        self.written += 1
            except dqlite.Error:
                self._ending.wait(0.01)
            except BaseException as error:
                self.surprises.append(error)
                return

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(40)
            assert not thread.is_alive()
        assert self.surprises == []


@pytest.mark.slow
@pytest.mark.timeout(60 + 3 * CYCLES)
def test_cycles_under_traffic_leak_nothing(
    address: str, tmp_path: Path, until: Callable[..., object]
) -> None:
    node = dqlite.Node(address, tmp_path)

    def cycle() -> None:
        node.start()
        node.open_db("app")
        node.exec("create table if not exists t(a)")
        written = traffic.written
        until(lambda: traffic.written >= written + 5)
        assert not node.stop().killed

    before = descriptors(), threads()
    traffic = Traffic(node)
    try:
        for _ in range(10):  # allocators take what they keep
            cycle()
        warm = resident_kib()
        for _ in range(CYCLES):
            cycle()
        grown = resident_kib() - warm
    finally:
        traffic.end()
    written = traffic.written
    until(lambda: (descriptors(), threads()) == before)
    print(f"{CYCLES} cycles, {written} writes, {warm} KiB and {grown} more")
    assert grown < 8192 + 4 * CYCLES
    with node:
        node.open_db("app")
        assert node.query("select count(*) as n from t")[0]["n"] >= written


def test_stop_from_eight_threads_at_once(address: str, tmp_path: Path) -> None:
    node = dqlite.Node(address, tmp_path)
    for _ in range(3):
        node.start()
        answers: list[Stopped] = []
        together = threading.Barrier(8)

        def stop(together: threading.Barrier = together, answers: list[Stopped] = answers) -> None:
            together.wait(10)
            answers.append(node.stop())

        stopping = [threading.Thread(target=stop) for _ in range(8)]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join(40)
        assert len(answers) == 8
        assert {answer.ending for answer in answers} == {answers[0].ending}
        assert not any(answer.killed for answer in answers)
        assert not node.is_running


def test_stop_during_start(address: str, tmp_path: Path) -> None:
    node = dqlite.Node(address, tmp_path)
    for delay in (0.0, 0.002, 0.01, 0.03, 0.1, 0.2):
        ended: list[BaseException | None] = []

        def start(ended: list[BaseException | None] = ended) -> None:
            try:
                node.start()
            except dqlite.Error as error:
                ended.append(error)
            else:
                ended.append(None)

        starting = threading.Thread(target=start)
        starting.start()
        time.sleep(delay)
        node.stop()
        starting.join(40)
        assert len(ended) == 1
        assert isinstance(ended[0], (dqlite.NodeNotRunningError, type(None)))
        node.stop()  # one that came before the start did nothing
        assert not node.is_running
    with node:
        node.wait_ready(30)
        assert node.state == "ready"


FORKED = """
import os, sys, threading, dqlite
node = dqlite.Node(sys.argv[1], sys.argv[2])
refused = []
calls = [node.start, node.stop, node.open_db, node.status, node.handover]
calls += [lambda: node.query("select 1"), lambda: node.leave(1), lambda: node.wait_ready(1)]

def fork_and_try():
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for call in calls:
        try:
            call()
        except dqlite.InterfaceError as error:
            refused.append(str(error))
        except BaseException as error:
            print("instead:", repr(error), flush=True)
    alike = all(f"process {os.getppid()}" in text or "fork" in text for text in refused)
    os._exit(0 if alike and len(refused) == len(calls) else 1)
"""

EXITING = """
import sys, threading, dqlite
nodes = [dqlite.Node(one, f"{sys.argv[2]}/{i}") for i, one in enumerate(sys.argv[1].split())]

def write(node):
    while True:
        node.exec("insert into t values (1)")

for node in nodes:
    node.start()
    node.open_db("app")
    node.exec("create table t(a)")
    threading.Thread(target=write, args=(node,), daemon=True).start()
print(*(node.pid for node in nodes))
"""


def run(address: str, directory: Path, rest: str) -> subprocess.CompletedProcess[str]:
    # Python warns of every fork beside threads; these are the ones to be tried.
    quiet = ["-W", "ignore::DeprecationWarning"]
    script = FORKED + textwrap.dedent(rest)
    command = [sys.executable, *quiet, "-c", script, address, str(directory)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_fork_while_a_node_runs(address: str, tmp_path: Path) -> None:
    rest = """
    node.start()
    pid = node.pid
    node.open_db("app")
    node.exec("create table t(a)")
    for _ in range(5):
        assert fork_and_try() == 0
        node.exec("insert into t values (1)")
    assert node.query("select count(*) as n from t") == [{"n": 5}]
    assert (node.pid, node.restarts) == (pid, 0)
    print(node.stop().killed)
    """
    done = run(address, tmp_path, rest)
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


def test_fork_while_a_node_is_starting(address: str, tmp_path: Path) -> None:
    rest = """
    for delay in (0.0, 0.005, 0.02, 0.05, 0.1):
        starting = threading.Thread(target=node.start)
        starting.start()
        starting.join(delay)
        assert fork_and_try() == 0
        starting.join(30)
        assert node.is_running and node.restarts == 0
        assert not node.stop().killed
    print("done")
    """
    done = run(address, tmp_path, rest)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    # Python itself warns of a fork beside threads.
    assert "Traceback" not in done.stderr


def test_interpreter_exit_with_running_nodes(
    addresses: Callable[[int], list[str]], tmp_path: Path
) -> None:
    several = " ".join(addresses(3))
    command = [sys.executable, "-c", EXITING, several, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for pid in done.stdout.split():
        assert not Path(f"/proc/{pid}").exists()
