"""Tests of the suite that no requirement can close, each with its reason."""

from __future__ import annotations

import re
from typing import Any

import pytest

_SCHEMA = "wants a second schema and does not ask whether there can be one"
DESELECTED = {
    r"ComponentReflectionTestExtra.*::test_check_constraint_\w+\[True": _SCHEMA,
    r"ComponentReflectionTest_.*::test_metadata\[.*True\]": _SCHEMA,
    r"IsolationLevelTest.*::test_dialect_user_setting_is_restored": (
        "wants a level that is neither the default nor AUTOCOMMIT"
    ),
}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Take out what `DESELECTED` names."""
    out = [item for item in items if any(re.search(p, item.nodeid) for p in DESELECTED)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]
