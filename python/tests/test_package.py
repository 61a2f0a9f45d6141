"""What the package is made of, and what importing it does."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import dqlite
import dqlite.aio

PACKAGE = Path(dqlite.__file__).parent


def test_importing_pulls_nothing_heavy():
    heavy = ["dataclasses", "sqlite3", "random"]
    if sys.version_info >= (3, 11):  # the TimeoutError of Python 3.10 is asyncio's, and takes these
        heavy += ["asyncio", "inspect", "ssl", "logging"]
    code = f"import sys, dqlite; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_public_names_exist_and_are_documented():
    for module in (dqlite, dqlite.aio):
        for name in module.__all__:
            assert getattr(module, name).__doc__ or name.startswith("__"), name
    assert dqlite.create_pool is dqlite.aio.create_pool
    assert dqlite.__version__ == version("dqlite")


def test_python_knows_no_result_code():
    numbers = re.compile(r"\b(10250|10506|8202|8458|1555|2067|517|261)\b")
    for path in PACKAGE.rglob("*.py"):
        assert not numbers.search(path.read_text()), path


def test_no_thread_but_for_dialling_and_supervision(url):
    code = (
        "import os, sys, asyncio, dqlite.aio\n"
        "async def work():\n"
        "    async with dqlite.create_pool(sys.argv[1], min_size=3) as pool:\n"
        "        await asyncio.gather(*(pool.fetchval('select 1') for _ in range(50)))\n"
        "        return sorted(open(f'/proc/self/task/{t}/comm').read().strip()\n"
        "                      for t in os.listdir('/proc/self/task'))\n"
        "names = asyncio.run(work())\n"
        "main = open('/proc/self/comm').read().strip()\n"
        "print([n for n in names if n not in {main, 'dqlite-dial'}])\n"
    )
    command = [sys.executable, "-c", code, url]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
