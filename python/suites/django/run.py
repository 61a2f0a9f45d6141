"""Run Django's own tests, from its source distribution, against one node.

Usage: run.py SOURCE [arguments of runtests.py]. SOURCE is the unpacked source distribution. Without
labels among the arguments: those of `LABELS`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import dqlite

HERE = Path(__file__).parent
os.environ.setdefault("DQLITE_ENGINE", str(HERE.parents[2] / ".engine"))

LABELS = """
    aggregation aggregation_regress annotations backends basic bulk_create constraints
    custom_columns custom_lookups custom_pk dates datetimes db_functions db_utils defer delete
    delete_regress empty expressions expressions_case expressions_window fixtures
    force_insert_update foreign_object from_db_value get_or_create indexes inspectdb
    introspection lookup m2m_through many_to_many many_to_one max_lengths migrations
    model_fields model_inheritance multiple_database null_queries one_to_one or_lookups ordering
    prefetch_related queries raw_query reserved_names schema select_for_update select_related
    timezones transaction_hooks transactions update update_only_fields
""".split()


def main() -> int:
    """Start a node, run the tests, stop the node."""
    source, *arguments = sys.argv[1:]
    labels = [] if any(not word.startswith("-") for word in arguments) else LABELS
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (
        tempfile.TemporaryDirectory(prefix="dqlite-suite-") as directory,
        dqlite.Node(address, directory) as node,
    ):
        node.wait_ready(30)
        command = [sys.executable, "runtests.py", "--settings", "settings", "--parallel", "1"]
        environment = {
            **os.environ,
            "DQLITE_SUITE_HOST": address,
            "PYTHONPATH": os.pathsep.join((str(HERE), os.environ.get("PYTHONPATH", ""))),
        }
        tests = Path(source) / "tests"
        return subprocess.run(
            [*command, *arguments, *labels], cwd=tests, env=environment, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
