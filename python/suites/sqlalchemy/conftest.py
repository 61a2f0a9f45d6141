"""Makes SQLAlchemy's pytest plug-in and our dialects known."""

import pytest
from sqlalchemy.dialects import registry

for name in ("dqlite", "dqlite.native"):
    registry.register(name, "dqlite.sqlalchemy", "DqliteDialect")
registry.register("dqlite.aio", "dqlite.sqlalchemy", "DqliteDialect_aio")
pytest.register_assert_rewrite("sqlalchemy.testing.assertions")

import provision  # noqa: E402, F401 - registers itself
from sqlalchemy.testing.plugin.pytestplugin import *  # noqa: E402, F403
