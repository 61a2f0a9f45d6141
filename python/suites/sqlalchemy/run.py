"""Run SQLAlchemy's dialect suite, sync and asyncio, against one node.

Usage: run.py [--aio | --sync] [arguments of pytest]. The SQLAlchemy that is tested is the one that
Python finds. The last line says what passed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import sqlalchemy

import dqlite

HERE = Path(__file__).parent
os.environ.setdefault("DQLITE_ENGINE", str(HERE.parents[2] / ".engine"))


def main() -> int:
    """Start a node, run the suite once for each driver, stop the node."""
    arguments = sys.argv[1:]
    drivers = {"--sync": "dqlite", "--aio": "dqlite+aio"}
    chosen = [drivers[word] for word in arguments if word in drivers] or list(drivers.values())
    arguments = [word for word in arguments if word not in drivers]
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    status = 0
    with (
        tempfile.TemporaryDirectory(prefix="dqlite-suite-") as directory,
        dqlite.Node(address, directory) as node,
    ):
        node.wait_ready(30)
        for number, driver in enumerate(chosen):
            print(f"== {driver}, SQLAlchemy {sqlalchemy.__version__}", flush=True)
            status |= run(f"{driver}://{address}/suite{number}", arguments)
    return status


def run(url: str, arguments: list[str]) -> int:
    """Run the suite over one driver; return pytest's exit status."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(HERE / "setup.cfg"),
        "--rootdir",
        str(HERE),
    ]
    command += ["--dburi", url, "-p", "no:cacheprovider", "-q", *arguments, str(HERE)]
    environment = {**os.environ, "PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.run(command, env=environment, cwd=HERE, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
