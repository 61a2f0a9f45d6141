"""Alembic's own commands on a live node: upgrade, downgrade, autogenerate, both drivers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from dqlite.sqlalchemy import url as sa_url

# Alembic's templates of both kinds, without their comments.
RUN = """
from alembic import context

target_metadata = context.config.attributes.get("metadata")

def run(connection):
    context.configure(
        connection=connection, target_metadata=target_metadata, render_as_batch=True
    )
    with context.begin_transaction():
        context.run_migrations()
"""

SYNC = """
import sqlalchemy
engine = sqlalchemy.create_engine(context.config.get_main_option("sqlalchemy.url"))
try:
    with engine.connect() as connection:
        run(connection)
finally:
    engine.dispose()
"""

ASYNCIO = """
import asyncio
from sqlalchemy.ext.asyncio import create_async_engine
async def main():
    engine = create_async_engine(context.config.get_main_option("sqlalchemy.url"))
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()
asyncio.run(main())
"""

TEMPLATE = """
from alembic import op
import sqlalchemy as sa

revision, down_revision = ${repr(up_revision)}, ${repr(down_revision)}

def upgrade():
    ${upgrades}

def downgrade():
    ${downgrades}
"""

FIRST = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "one", None

def upgrade():
    op.create_table(
        "author",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(50), nullable=False),
    )
    op.create_table(
        "book",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("title", sa.String(50)),
        sa.Column("author_id", sa.Integer),
        sa.Column("sold", sa.Boolean),
        sa.Column("at", sa.DateTime),
    )
    op.execute("INSERT INTO author(id, name) VALUES (1, 'ann')")
    op.execute("INSERT INTO book(title, author_id, sold) VALUES ('kept', 1, NULL)")

def downgrade():
    op.drop_table("book")
    op.drop_table("author")
"""

SECOND = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "two", "one"

def upgrade():
    with op.batch_alter_table("book") as book:
        book.alter_column("title", existing_type=sa.String(50), nullable=False)
        book.add_column(sa.Column("price", sa.Numeric(8, 2), server_default="0"))
        book.create_foreign_key("fk_author", "author", ["author_id"], ["id"])
        book.create_unique_constraint("uq_title", ["title"])
        book.create_check_constraint("ck_price", "price >= 0")
    op.create_index("ix_at", "book", ["at"])

def downgrade():
    op.drop_index("ix_at", "book")
    with op.batch_alter_table("book") as book:
        book.drop_constraint("ck_price", type_="check")
        book.drop_constraint("uq_title", type_="unique")
        book.drop_constraint("fk_author", type_="foreignkey")
        book.drop_column("price")
        book.alter_column("title", existing_type=sa.String(50), nullable=True)
"""

BROKEN = """
from alembic import op

revision, down_revision = "three", "two"

def upgrade():
    op.execute("CREATE TABLE half(a)")
    op.execute("INSERT INTO nowhere VALUES (1)")
"""


@pytest.fixture(params=["dqlite", "dqlite+aio"])
def config(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> alembic.config.Config:
    aio = request.param == "dqlite+aio"
    (tmp_path / "versions").mkdir()
    (tmp_path / "env.py").write_text(RUN + (ASYNCIO if aio else SYNC))
    (tmp_path / "script.py.mako").write_text(TEMPLATE)
    (tmp_path / "versions" / "one.py").write_text(FIRST)
    (tmp_path / "versions" / "two.py").write_text(SECOND)
    config = alembic.config.Config()
    config.set_main_option("script_location", str(tmp_path))
    config.set_main_option("path_separator", "os")
    address = sa_url(url, aio=aio).render_as_string(hide_password=False)
    config.set_main_option("sqlalchemy.url", address)
    return config


@pytest.fixture
def engine(url: str) -> Any:
    engine = sa.create_engine(sa_url(url))
    yield engine
    engine.dispose()


async def command(name: str, *args: Any) -> None:
    """Run one of Alembic's commands, whose environment starts a loop of its own."""
    await asyncio.to_thread(getattr(alembic.command, name), *args)


async def test_batches_go_up_and_down(config: Any, engine: sa.Engine) -> None:
    await command("upgrade", config, "head")
    look = sa.inspect(engine)
    titles = {column["name"]: column["nullable"] for column in look.get_columns("book")}
    assert titles["title"] is False
    assert [key["referred_table"] for key in look.get_foreign_keys("book")] == ["author"]
    assert [key["name"] for key in look.get_unique_constraints("book")] == ["uq_title"]
    assert [key["name"] for key in look.get_check_constraints("book")] == ["ck_price"]
    assert [index["name"] for index in look.get_indexes("book")] == ["ix_at"]
    with engine.connect() as c:
        row = c.execute(sa.text("SELECT title, sold, price FROM book")).one()
        assert tuple(row) == ("kept", None, 0)
    await command("downgrade", config, "one")
    look = sa.inspect(engine)
    assert "price" not in {column["name"] for column in look.get_columns("book")}
    assert look.get_foreign_keys("book") == []
    with engine.connect() as c:
        assert c.execute(sa.text("SELECT title FROM book")).scalars().all() == ["kept"]
    await command("downgrade", config, "base")
    assert sa.inspect(engine).get_table_names() == ["alembic_version"]


async def test_a_migration_that_fails_leaves_nothing(
    config: Any, engine: sa.Engine, tmp_path: Path
) -> None:
    await command("upgrade", config, "head")
    (tmp_path / "versions" / "three.py").write_text(BROKEN)
    with pytest.raises(sa.exc.OperationalError, match="nowhere"):
        await command("upgrade", config, "head")
    assert "half" not in sa.inspect(engine).get_table_names()
    with engine.connect() as c:
        assert MigrationContext.configure(c).get_current_revision() == "two"


async def test_what_differs_is_written_as_a_migration(
    config: Any, engine: sa.Engine, tmp_path: Path
) -> None:
    (tmp_path / "versions" / "two.py").unlink()  # its foreign key wants tables dropped in order
    await command("upgrade", config, "head")
    metadata = sa.MetaData()
    sa.Table(
        "thing",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(20), unique=True),
        sa.Column("ok", sa.Boolean),
        sa.Column("day", sa.Date),
        sa.Column("at", sa.DateTime, index=True),
        sa.Column("met", sa.TIMESTAMP),
        sa.Column("part", sa.Float),
        sa.Column("data", sa.JSON),
    )
    config.attributes["metadata"] = metadata
    await command("revision", config, "made", True)
    await command("upgrade", config, "head")
    assert sa.inspect(engine).get_table_names() == ["alembic_version", "thing"]
    with engine.connect() as c:
        context = MigrationContext.configure(c, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    await command("downgrade", config, "one")
    assert "book" in sa.inspect(engine).get_table_names()
