"""The Python client against PyPI's dqlite-client and against bare socket loops, on one live node.

Repetitions interleave and rotate; each measurement is a process of its own with a warm-up; what
counts are ratios of medians from one run. Needs CPython 3.13 with venv, cargo and a built package.

    python bench/run.py [--repetitions 7] [--only point,rows] [--json FILE] [--check]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from socket import create_server
from statistics import median, quantiles
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "target" / "bench"
FLOOR = OUT / "floor" / "release" / "floor"
PEERS = ("dqlite-client==0.8.0", "dqlite-dbapi==0.8.0", "uvloop>=0.23")
FLOOR_POINTS = 30_000


class Case(NamedTuple):
    """One measurement: who does what on which loop, pinned to one CPU or not."""

    workload: str
    side: str
    loop: str
    pinned: bool


class Floor(NamedTuple):
    """What must hold, and on which figures of which cases."""

    text: str
    over: Case
    under: Case | None
    figure: str
    bound: float

    def holds(self, value: float) -> bool:
        return value >= self.bound if self.under and self.bound > 2 else value <= self.bound


def case(workload: str, side: str, loop: str = "asyncio", *, pinned: bool = True) -> Case:
    return Case(workload, side, loop, pinned)


BOTH_WAYS = [
    ("point", "floor", "-"),
    ("point", "bare", "asyncio"),
    ("point", "bare", "uvloop"),
    ("point", "peer", "asyncio"),
    ("point", "ours", "asyncio"),
    ("point", "ours", "uvloop"),
    ("pool", "peer", "asyncio"),
    ("pool", "ours", "asyncio"),
    ("pool", "ours", "uvloop"),
    ("sync_point", "peer", "sync"),
    ("sync_point", "ours", "sync"),
]

CASES = [
    *(case(*what, pinned=pinned) for what in BOTH_WAYS for pinned in (True, False)),
    case("rows", "peer", pinned=False),
    case("rows", "ours", pinned=False),
    case("insert", "peer"),
    case("insert", "ours"),
]


def small(pinned: bool) -> list[Floor]:
    """What must hold of small statements, on one CPU with the node or on all."""
    where = "one CPU" if pinned else "all CPUs"

    def of(workload: str, side: str, loop: str = "asyncio") -> Case:
        return case(workload, side, loop, pinned=pinned)

    bare, ours = of("point", "floor", "-"), of("point", "ours")
    return [
        Floor(f"{where}: point query, wall, over the peer", of("point", "peer"), ours, "wall", 5),
        Floor(f"{where}: point query, wall, of the bare loop", ours, bare, "wall", 1.6),
        Floor(
            f"{where}: 32 tasks, pool of 8, wall, over the peer",
            of("pool", "peer"),
            of("pool", "ours"),
            "wall",
            6,
        ),
        Floor(
            f"{where}: sync point query, wall, over the peer",
            of("sync_point", "peer", "sync"),
            of("sync_point", "ours", "sync"),
            "wall",
            8,
        ),
    ]


FLOORS = [
    *small(pinned=True),
    *small(pinned=False),
    Floor("point query, client CPU us, asyncio", case("point", "ours"), None, "cpu", 11),
    Floor("point query, client CPU us, uvloop", case("point", "ours", "uvloop"), None, "cpu", 8),
    Floor(
        "100,000 rows x 5, wall, over the peer",
        case("rows", "peer", pinned=False),
        case("rows", "ours", pinned=False),
        "wall",
        10,
    ),
    Floor(
        "100,000 rows x 5, client CPU, over the peer",
        case("rows", "peer", pinned=False),
        case("rows", "ours", pinned=False),
        "cpu",
        12,
    ),
    Floor(
        "10,000 inserts, wall, over the peer",
        case("insert", "peer"),
        case("insert", "ours"),
        "wall",
        20,
    ),
]


def interpreter() -> Path:
    """A virtual environment of CPython 3.13 with the peers in it."""
    python = OUT / "venv" / "bin" / "python"
    if python.exists():
        return python
    found = os.environ.get("PYTHON313") or shutil.which("python3.13")
    found = found or str(max(Path.home().glob(".pyenv/versions/3.13.*/bin/python"), default=""))
    if not found:
        sys.exit("bench: no CPython 3.13: name one in PYTHON313")
    subprocess.run([found, "-m", "venv", OUT / "venv"], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
    return python


def build_floor() -> None:
    manifest = ROOT / "bench" / "floor" / "Cargo.toml"
    cargo = ["cargo", "build", "--quiet", "--release", "--manifest-path", manifest]
    subprocess.run([*cargo, "--target-dir", OUT / "floor"], check=True)


def measure(case: Case, python: Path, address: str, cpu: int) -> tuple[float, float]:
    """Microseconds of wall and of client CPU per operation."""
    if case.side == "floor":
        pin = ["taskset", "-c", str(cpu)] if case.pinned else []
        command = [*pin, FLOOR, address, "bench", str(FLOOR_POINTS)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        wall, used = map(float, done.stdout.split())
        return wall / FLOOR_POINTS * 1e6, used / FLOOR_POINTS * 1e6
    script = ROOT / "bench" / "workloads.py"
    pinned = str(cpu) if case.pinned else "-"
    command = [python, script, case.side, case.loop, case.workload, address, pinned]
    package = os.environ.get("BENCH_PACKAGE", str(ROOT / "python"))
    environment = os.environ | {"PYTHONPATH": "" if case.side == "peer" else package}
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=600, env=environment
    )
    result = json.loads(done.stdout)
    scale = 1e6 / result["count"]
    return result["wall"] * scale, result["cpu"] * scale


def prepare(dqlite: Any, address: str) -> None:
    with dqlite.connect(f"dqlite://{address}/bench") as connection:
        connection.execute("CREATE TABLE point(id INTEGER PRIMARY KEY, name TEXT)")
        connection.execute("CREATE TABLE sink(id INTEGER PRIMARY KEY, a INTEGER, b TEXT)")
        connection.execute("CREATE TABLE wide(id INTEGER PRIMARY KEY, f REAL, t TEXT, b BLOB, n)")
        count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {})"
        connection.execute(f"INSERT INTO point {count.format(1000)} SELECT i, 'name ' || i FROM n")
        connection.execute(
            f"INSERT INTO wide {count.format(100_000)} SELECT i, i * 0.5, 'text of row ' || i, "
            "randomblob(16), NULL FROM n"
        )


def pin(node: Any, cpu: int | None) -> None:
    """Keep every thread of the node on one CPU, or let it go."""
    cpus = set(range(os.cpu_count() or 1)) if cpu is None else {cpu}
    for task in Path(f"/proc/{node.pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cpus)


def run(cases: list[Case], repetitions: int) -> dict[Case, list[tuple[float, float]]]:
    sys.path.insert(0, os.environ.get("BENCH_PACKAGE", str(ROOT / "python")))
    import dqlite

    python, cpu = interpreter(), (os.cpu_count() or 1) - 1
    build_floor()
    taken: dict[Case, list[tuple[float, float]]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        with create_server(("127.0.0.1", 0)) as probe:
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        with dqlite.Node(address, directory) as node:
            node.wait_ready(30)
            prepare(dqlite, address)
            for repetition in range(repetitions):
                at = repetition % len(cases)
                for case in cases[at:] + cases[:at]:
                    pin(node, cpu if case.pinned else None)
                    taken[case].append(measure(case, python, address, cpu))
                    print(".", end="", file=sys.stderr, flush=True)
            print(file=sys.stderr)
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--only", default="", help="workloads, by comma")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true", help="exit 1 if a floor does not hold")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else [case.workload for case in CASES]
    cases = [case for case in CASES if case.workload in wanted]
    taken = run(cases, options.repetitions)
    print(
        f"{platform.platform()}, {options.repetitions} repetitions, load {os.getloadavg()[0]:.1f}"
    )
    print("| workload | side | loop | CPUs | us (quartiles) | client CPU us |\n" + "|---" * 6 + "|")
    middle: dict[Case, dict[str, float]] = {}
    for case, figures in taken.items():
        walls = [wall for wall, _ in figures]
        low, _, high = quantiles(walls, n=4) if len(walls) > 1 else walls * 3
        middle[case] = {"wall": median(walls), "cpu": median(cpu for _, cpu in figures)}
        wall, used = middle[case].values()
        print(
            f"| {case.workload} | {case.side} | {case.loop} | {'one' if case.pinned else 'all'} "
            f"| {wall:.2f} ({low:.2f} to {high:.2f}) | {used:.2f} |"
        )
    print("\n| floor | bound | measured |\n|---|---|---|")
    held = True
    for floor in FLOORS:
        if floor.over not in middle or (floor.under or floor.over) not in middle:
            continue
        value = middle[floor.over][floor.figure]
        if floor.under:
            value /= middle[floor.under][floor.figure]
        held = held and floor.holds(value)
        word = "" if floor.holds(value) else " (missed)"
        print(f"| {floor.text} | {floor.bound:g} | {value:.2f}{word} |")
    if options.json:
        named = {"/".join(map(str, case)): figures for case, figures in taken.items()}
        options.json.write_text(json.dumps(named, indent=1))
    return 0 if held or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
