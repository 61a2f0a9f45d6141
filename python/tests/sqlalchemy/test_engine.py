"""Engines on a live node: what SQLAlchemy's own suite does not ask."""

from __future__ import annotations

import datetime as dt
import subprocess
from typing import Any
from urllib.parse import urlencode

import alembic.command
import alembic.config
import alembic.migration
import alembic.operations
import pytest
import sqlalchemy as sa
from sqlalchemy import exc, orm
from sqlalchemy.ext.asyncio import create_async_engine

import dqlite
import dqlite.sqlalchemy
from dqlite.node import EXECUTABLE
from dqlite.sqlalchemy import url as sa_url

metadata = sa.MetaData()
people = sa.Table(
    "people",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(50), unique=True),
    sa.Column("ok", sa.Boolean),
    sa.Column("born", sa.Date),
    sa.Column("seen", sa.DateTime),
    sa.Column("met", sa.DateTime(timezone=True)),
)


@pytest.fixture
def engine(url: str) -> Any:
    engine = sa.create_engine(sa_url(url), pool_pre_ping=True)
    metadata.create_all(engine)
    yield engine
    engine.dispose()


def test_an_insert_returns_what_it_made_and_null_stays_null(engine: sa.Engine) -> None:
    with engine.begin() as c:
        made = c.execute(people.insert().values(ok=None).returning(people.c.id, people.c.ok)).one()
    assert made == (1, None)
    assert "people" in sa.inspect(engine).get_table_names()


async def test_asyncio_reads_what_the_other_wrote(engine: sa.Engine, url: str) -> None:
    with engine.begin() as c:
        c.execute(people.insert().values(name="ann", ok=True))
    other = create_async_engine(sa_url(url, aio=True))
    async with other.begin() as c:
        await c.execute(people.insert(), [{"name": "bob"}, {"name": "eve"}])
    async with other.connect() as c:
        names = (await c.execute(sa.select(people.c.name).order_by(people.c.id))).scalars().all()
        stream = await c.stream(sa.select(people.c.name).order_by(people.c.id))
        assert [row[0] async for row in stream] == names == ["ann", "bob", "eve"]
    await other.dispose()


def test_types_come_back_as_they_went(engine: sa.Engine) -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    row = {
        "name": "x",
        "ok": False,
        "born": dt.date(1990, 1, 2),
        "seen": dt.datetime(2001, 2, 3, 4, 5, 6, 7),
        "met": dt.datetime(2001, 2, 3, 4, 5, 6, 0, zone),
    }
    with engine.begin() as c:
        c.execute(people.insert().values(row))
    with engine.connect() as c:
        got = c.execute(sa.select(people)).mappings().one()
    assert {key: got[key] for key in row} == row
    assert got["met"].utcoffset() == dt.timedelta(hours=2)


@pytest.mark.parametrize("ddl_types", ["safe", "native"])
def test_declared_types_are_reflected(url: str, ddl_types: str) -> None:
    engine = sa.create_engine(f"{sa_url(url)}?ddl_types={ddl_types}")
    metadata.create_all(engine)
    found = {c["name"]: c["type"] for c in sa.inspect(engine).get_columns("people")}
    assert isinstance(found["ok"], sa.Boolean)
    assert isinstance(found["born"], sa.Date)
    assert isinstance(found["seen"], sa.DateTime)
    with engine.begin() as c:
        c.execute(people.insert().values(ok=True, born=dt.date(1990, 1, 2)))
        assert c.execute(sa.select(people.c.ok, people.c.born)).one() == (
            True,
            dt.date(1990, 1, 2),
        )
    engine.dispose()


def test_a_transaction_rolls_back_and_a_savepoint_inside_it(engine: sa.Engine) -> None:
    with engine.connect() as c:
        with c.begin():
            c.execute(people.insert().values(name="a"))
            inner = c.begin_nested()
            c.execute(people.insert().values(name="b"))
            inner.rollback()
        with pytest.raises(KeyError), c.begin():
            c.execute(people.insert().values(name="c"))
            raise KeyError
        assert c.execute(sa.select(people.c.name)).scalars().all() == ["a"]


def test_autocommit_makes_each_statement_stand_by_itself(engine: sa.Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
        c.execute(people.insert().values(name="a"))
        c.rollback()
        assert c.execute(sa.select(sa.func.count()).select_from(people)).scalar_one() == 1
    with engine.connect() as c:
        assert c.get_isolation_level() == "SERIALIZABLE"


def test_a_read_only_session_refuses_writes(engine: sa.Engine) -> None:
    with engine.connect().execution_options(dqlite_session_mode="read_only") as c:
        assert c.execute(sa.select(people)).all() == []
        with pytest.raises(exc.ProgrammingError, match="read_only"):
            c.execute(people.insert().values(name="a"))
    with engine.begin() as c:
        c.execute(people.insert().values(name="a"))


def test_an_immediate_session_takes_the_write_lock_with_its_first_read(url: str) -> None:
    engine = sa.create_engine(f"{sa_url(url)}?session_mode=immediate&busy_timeout=0")
    metadata.create_all(engine)
    with engine.connect() as c:
        c.execute(sa.select(people)).all()
        assert c.connection.dbapi_connection.in_transaction
    engine.dispose()


def test_a_constraint_is_an_integrity_error(engine: sa.Engine) -> None:
    with pytest.raises(exc.IntegrityError) as raised, engine.begin() as c:
        c.execute(people.insert(), [{"name": "a"}, {"name": "a"}])
    assert isinstance(raised.value.orig, dqlite.IntegrityError)
    assert raised.value.orig.sqlite_errorname == "SQLITE_CONSTRAINT_UNIQUE"


def test_the_orm_updates_and_counts_rows(engine: sa.Engine) -> None:
    class Base(orm.DeclarativeBase):
        pass

    class Person(Base):
        __tablename__ = "persons"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        name: orm.Mapped[str]
        ok: orm.Mapped[bool | None]

    Base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        session.add_all([Person(name=f"n{i}") for i in range(50)])
        session.commit()
        someone = session.scalars(sa.select(Person).where(Person.name == "n7")).one()
        someone.name = "changed"
        session.commit()
        changed = session.execute(sa.update(Person).where(Person.id > 40).values(ok=True))
        assert changed.rowcount == 10
        session.commit()
        assert session.scalar(sa.select(sa.func.count()).where(Person.name == "changed")) == 1


def test_a_closed_connection_is_replaced_by_the_pool(engine: sa.Engine) -> None:
    with engine.connect() as c:
        c.connection.dbapi_connection.close()
    with engine.connect() as c:
        assert c.execute(sa.text("select 1")).scalar_one() == 1


def test_regexp_is_refused_with_the_reason(engine: sa.Engine) -> None:
    with pytest.raises(exc.CompileError, match="user function"):
        sa.select(people.c.name.regexp_match("a.*")).compile(engine)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("dqlite://u:p@h/db", "user name or password"),
        ("dqlite://h/db?colour=red", "unknown option 'colour'"),
        ("dqlite://h/db?timeout=soon", "timeout='soon'"),
        ("dqlite://h/db?session_mode=lazy", "session_mode='lazy'"),
        ("dqlite://h/db?ddl_types=odd", "ddl_types='odd'"),
        ("dqlite:///db?node=unheard", "unheard"),
    ],
)
def test_a_bad_url_says_what_is_wrong(address: str, message: str) -> None:
    with pytest.raises(exc.ArgumentError, match=message):
        sa.create_engine(address).connect()


def test_a_dead_host_is_an_operational_error_in_time(addresses: Any) -> None:
    (dead,) = addresses(1)
    engine = sa.create_engine(f"dqlite://{dead}/db?connect_timeout=0.5")
    with pytest.raises(exc.OperationalError, match=dead):
        engine.connect()


def test_several_hosts_go_into_the_query(
    server: dqlite.Node, addresses: Any, database: str
) -> None:
    dead = addresses(1)[0]
    made = sa_url(f"dqlite://{dead},{server.address}/{database}")
    engine = sa.create_engine(made)
    with engine.connect() as c:
        assert c.execute(sa.text("select 1")).scalar_one() == 1
    engine.dispose()


def test_several_hosts_may_share_a_port(server: dqlite.Node, database: str) -> None:
    port = server.address.rpartition(":")[2]
    engine = sa.create_engine(f"dqlite://127.0.0.2,127.0.0.1:{port}/{database}")
    with engine.connect() as c:
        assert c.execute(sa.text("select 1")).scalar_one() == 1
    engine.dispose()


async def test_connect_args_are_those_of_the_url_and_of_sqlite3(url: str) -> None:
    habits = {"check_same_thread": False, "uri": True, "timeout": 15, "cached_statements": 7}
    engine = sa.create_engine(sa_url(url), connect_args={**habits, "busy_timeout": 0.5})
    with engine.connect() as c:
        driver = c.connection.dbapi_connection
        assert (driver.timeout, driver.busy_timeout) == (15, 0.5)
    engine.dispose()
    other = create_async_engine(sa_url(url, aio=True), connect_args=habits)
    async with other.connect() as c:
        assert (await c.execute(sa.text("select 1"))).scalar_one() == 1
    await other.dispose()
    with pytest.raises(exc.ArgumentError, match="unknown option 'colour' in connect_args"):
        sa.create_engine(sa_url(url), connect_args={"colour": "red"}).connect()


def test_a_registered_node_needs_no_host(server: dqlite.Node, database: str) -> None:
    dqlite.sqlalchemy.register_node(server)
    engine = sa.create_engine(f"dqlite:///{database}")
    with engine.connect() as c:
        assert c.execute(sa.text("select 1")).scalar_one() == 1
    engine.dispose()


def test_alembic_changes_a_table_in_batch_mode_and_back(engine: sa.Engine) -> None:
    def migrate(change: Any) -> None:
        with engine.begin() as c:
            context = alembic.migration.MigrationContext.configure(
                c, opts={"render_as_batch": True}
            )
            operations = alembic.operations.Operations(context)
            with operations.batch_alter_table("people") as table:
                change(table)

    with engine.begin() as c:
        c.execute(people.insert().values(name="kept"))
    migrate(lambda table: table.add_column(sa.Column("age", sa.Integer, server_default="7")))
    migrate(lambda table: table.alter_column("name", new_column_name="title"))
    with engine.connect() as c:
        assert c.execute(sa.text("select title, age from people")).all() == [("kept", 7)]
    migrate(lambda table: table.drop_column("age"))
    assert "age" not in {column["name"] for column in sa.inspect(engine).get_columns("people")}


def reconnect_until_it_answers(engine: sa.Engine, until: Any) -> None:
    def answers() -> bool:
        try:
            with engine.begin() as c:
                c.execute(people.insert().values(name=None))
                return True
        except exc.OperationalError:
            return False

    until(answers, 30)


def test_a_killed_leader_is_a_disconnect_and_the_pool_goes_on(own_trio: Any, until: Any) -> None:
    """Each connection of the pool led to the node that died; none of them is lent again."""
    engine = sa.create_engine(sa_url(own_trio.addresses), pool_size=3)
    metadata.create_all(engine)
    several = [engine.connect() for _ in range(3)]
    for c in several:
        c.execute(sa.select(people)).all()
    own_trio.kill_leader()
    invalidated = 0
    for c in several:
        try:
            until(lambda c=c: c.execute(sa.select(people)).all() is None, 30)
        except exc.DBAPIError as error:
            invalidated += error.connection_invalidated
        c.close()
    assert invalidated >= 1
    reconnect_until_it_answers(engine, until)
    engine.dispose()


def test_pre_ping_replaces_connections_to_a_killed_leader(own_trio: Any, until: Any) -> None:
    engine = sa.create_engine(sa_url(own_trio.addresses), pool_pre_ping=True, pool_size=2)
    metadata.create_all(engine)
    with engine.connect() as one, engine.connect() as two:
        before = {one.connection.dbapi_connection, two.connection.dbapi_connection}
    dead = own_trio.kill_leader()
    until(lambda: own_trio.leader().is_running and dead.restarts > 0, 30)
    with engine.connect() as c:
        assert c.execute(sa.select(sa.func.count()).select_from(people)).scalar_one() == 0
        assert c.connection.dbapi_connection not in before
    engine.dispose()


@pytest.fixture
def secured(tmp_path: Any, addresses: Any) -> Any:
    """A node that speaks TLS, and the query of a URL with certificates for it."""
    (address,) = addresses(1)
    files = tmp_path / "tls"
    command = [EXECUTABLE, "tls", "init", files, "--node", address]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    own = {"tls_cert": files / "127.0.0.1.pem", "tls_key": files / "127.0.0.1.key"}
    with dqlite.Node(address, tmp_path / "n", tls_ca=files / "ca.pem", **own) as node:
        node.wait_ready(30)
        yield (
            address,
            {"ca": files / "ca.pem", "cert": files / "client.pem", "key": files / "client.key"},
        )


@pytest.mark.parametrize("prefix", ["tls_", ""])
async def test_certificates_stand_in_the_url(secured: Any, prefix: str) -> None:
    address, files = secured
    query = urlencode({prefix + name: str(path) for name, path in files.items()})
    engine = sa.create_engine(f"dqlite://{address}/app?{query}")
    with engine.connect() as c:
        assert c.execute(sa.text("select 1")).scalar_one() == 1
    engine.dispose()
    other = create_async_engine(f"dqlite+aio://{address}/app?{query}")
    async with other.connect() as c:
        assert (await c.execute(sa.text("select 1"))).scalar_one() == 1
    await other.dispose()
    made = sa_url(f"dqlites://{address}/app?{query}")
    engine = sa.create_engine(made)
    with engine.connect() as c:
        assert c.execute(sa.text("select 1")).scalar_one() == 1
    engine.dispose()


def test_certificates_without_their_signer_are_refused(secured: Any) -> None:
    address, files = secured
    for wrong in (f"tls_cert={files['cert']}", f"tls=0&tls_ca={files['ca']}", "tls=odd"):
        with pytest.raises(exc.ArgumentError, match="tls"):
            sa.create_engine(f"dqlite://{address}/app?{wrong}").connect()
    with pytest.raises(exc.OperationalError):
        sa.create_engine(f"dqlite://{address}/app?connect_timeout=2").connect()


def test_limits_stand_in_the_url(url: str) -> None:
    limits = "max_rows=2&max_frame_bytes=1000000&max_buffered_bytes=1000000&statement_cache_size=0"
    engine = sa.create_engine(f"{sa_url(url)}?{limits}")
    with engine.connect() as c:
        assert len(c.execute(sa.text("values (1), (2)")).all()) == 2
        with pytest.raises(exc.DataError):
            c.execute(sa.text("values (1), (2), (3)")).all()
    engine.dispose()
    for wrong in ("max_rows=-1", "max_frame_bytes=few"):
        with pytest.raises((exc.ArgumentError, exc.ProgrammingError)):
            sa.create_engine(f"{sa_url(url)}?{wrong}").connect()
