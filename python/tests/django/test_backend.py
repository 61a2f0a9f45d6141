"""The Django backend on a live node; Django's own tests are a suite of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import dqlite

PROJECT = Path(__file__).parent / "project"

SETTINGS = """
import django
from django.conf import settings
settings.configure(DATABASES={{"default": {{"ENGINE": "dqlite.django", {wrong}}}}})
django.setup()
from django.db import connection
connection.ensure_connection()
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("script", "says"), [("drive", "driven"), ("bad_input", "refused")])
def test_a_project_is_driven_end_to_end(
    server: dqlite.Node, database: str, script: str, says: str
) -> None:
    command = [sys.executable, "-W", "error::ResourceWarning", str(PROJECT / f"{script}.py")]
    command += [server.address, database]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{says}\n"


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ("", "needs a NAME"),
        ("'NAME': 'x', 'USER': 'me'", "no USER"),
        ("'NAME': 'x', 'OPTIONS': {'transaction_mode': 'odd'}", "configured to 'odd'"),
        ("'NAME': 'x', 'HOST': '127.0.0.1:1', 'OPTIONS': {'connect_timeout': 0.3}", "127.0.0.1:1"),
        ("'NAME': 'x', 'OPTIONS': {'colour': 1}", "unknown names: colour"),
    ],
)
def test_wrong_settings_are_named(wrong: str, text: str) -> None:
    program = SETTINGS.format(wrong=wrong)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode != 0
    assert text in done.stderr.splitlines()[-1] or text in done.stderr, done.stderr
