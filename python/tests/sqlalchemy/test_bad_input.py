"""What is wrong, through engines: SQLAlchemy's class for PEP 249's, and the engine goes on."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import create_async_engine

from dqlite.sqlalchemy import url as sa_url

HALF = "\ud800"
ODD_OFFSET = dt.timezone(dt.timedelta(microseconds=5))

STATEMENTS = [
    ("select 1; select 2", (), exc.ProgrammingError),
    ("select 'a\0b'", (), exc.ProgrammingError),
    (f"select '{HALF}'", (), exc.ProgrammingError),
    ("select 'a", (), exc.OperationalError),
    ('select "a', (), exc.OperationalError),
    ("selec 1", (), exc.OperationalError),
    ("select * from nowhere", (), exc.OperationalError),
    ("select ?", (), exc.ProgrammingError),
    ("select ?", (1, 2), exc.ProgrammingError),
    ("select ?", (object(),), exc.ProgrammingError),
    ("select ?", (2**63,), exc.DataError),
    ("select ?", (-(2**63) - 1,), exc.DataError),
    ("select ?", ("a\0b",), exc.DataError),
    ("select ?", (HALF,), exc.DataError),
    ("select ?", (dt.datetime(2001, 1, 1, tzinfo=ODD_OFFSET),), exc.DataError),
]

ADDRESSES = [
    "{driver}://u:p@h/db",
    "{driver}://h/db?colour=red",
    "{driver}://h/db?timeout=soon",
    "{driver}://h/db?max_rows=many",
    "{driver}://h/db?tls=odd",
    "{driver}://h/db?tls_key=k.pem",
]

metadata = sa.MetaData()
typed = sa.Table(
    "typed",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("text", sa.String(20), unique=True),
    sa.Column("day", sa.Date),
    sa.Column("at", sa.DateTime),
    sa.Column("met", sa.DateTime(timezone=True)),
    sa.Column("part", sa.Float),
    sa.Column("must", sa.Integer, nullable=False, server_default="0"),
)

Wrong = tuple[dict[str, Any], type[Exception]]

VALUES: list[Wrong] = [
    ({"text": HALF}, exc.DataError),
    ({"text": "a\0b"}, exc.DataError),
    ({"id": 2**63}, exc.DataError),
    ({"day": "2001-01-01"}, exc.StatementError),
    ({"at": "noon"}, exc.StatementError),
    ({"met": 5}, exc.StatementError),
    ({"part": object()}, exc.StatementError),
    ({"must": None}, exc.IntegrityError),
    ({"must": math.nan}, exc.IntegrityError),
    ({"text": "kept"}, exc.IntegrityError),
]


@pytest.fixture
def connected(url: str) -> Any:
    engine = sa.create_engine(sa_url(url))
    metadata.create_all(engine)
    with engine.begin() as c:
        c.execute(typed.insert().values(text="kept"))
    with engine.connect() as c:
        yield c
    with engine.connect() as c:
        assert c.execute(sa.select(typed.c.text)).scalars().all() == ["kept"]
    engine.dispose()


@pytest.fixture
async def awaited(connected: sa.Connection, url: str) -> Any:
    engine = create_async_engine(sa_url(url, aio=True))
    async with engine.connect() as c:
        yield c
    await engine.dispose()


def refused(c: sa.Connection, error: type[Exception], call: Callable[[], object]) -> None:
    with pytest.raises(error) as raised:
        call()
    assert not getattr(raised.value, "connection_invalidated", False)
    c.rollback()
    assert c.exec_driver_sql("select 1").scalar_one() == 1
    c.rollback()


def try_statement(c: sa.Connection, sql: str, params: Any, error: type[Exception]) -> None:
    refused(c, error, lambda: c.exec_driver_sql(sql, params))


def try_values(c: sa.Connection, values: dict[str, Any], error: type[Exception]) -> None:
    refused(c, error, lambda: c.execute(typed.insert().values(values)))
    fine = {**dict.fromkeys(values), "must": 1, "text": "one"}
    sets = [fine, {"must": 1, "text": "two", **values}]
    refused(c, error, lambda: c.execute(typed.insert(), sets))


@pytest.mark.parametrize(("sql", "params", "error"), STATEMENTS)
def test_wrong_statements(
    connected: sa.Connection, sql: str, params: Any, error: type[Exception]
) -> None:
    try_statement(connected, sql, params, error)


@pytest.mark.parametrize(("sql", "params", "error"), STATEMENTS)
async def test_wrong_statements_with_asyncio(
    awaited: Any, sql: str, params: Any, error: type[Exception]
) -> None:
    await awaited.run_sync(try_statement, sql, params, error)


@pytest.mark.parametrize(("values", "error"), VALUES)
def test_wrong_values(
    connected: sa.Connection, values: dict[str, Any], error: type[Exception]
) -> None:
    try_values(connected, values, error)


@pytest.mark.parametrize(("values", "error"), VALUES)
async def test_wrong_values_with_asyncio(
    awaited: Any, values: dict[str, Any], error: type[Exception]
) -> None:
    await awaited.run_sync(try_values, values, error)


def test_named_values_that_are_missing_are_named(connected: sa.Connection) -> None:
    asked = sa.text("select :a, :b")
    refused(connected, exc.StatementError, lambda: connected.execute(asked, {"a": 1}))


@pytest.mark.parametrize("address", ADDRESSES)
async def test_wrong_addresses_of_both_drivers(address: str) -> None:
    with pytest.raises(exc.ArgumentError):
        sa.create_engine(address.format(driver="dqlite")).connect()
    with pytest.raises(exc.ArgumentError):
        async with create_async_engine(address.format(driver="dqlite+aio")).connect():
            pass


async def test_dead_hosts_are_named_by_both_drivers(addresses: Any) -> None:
    (dead,) = addresses(1)
    with pytest.raises(exc.OperationalError, match=dead):
        sa.create_engine(f"dqlite://{dead}/db?connect_timeout=0.3").connect()
    engine = create_async_engine(f"dqlite+aio://{dead}/db?connect_timeout=0.3")
    with pytest.raises(exc.OperationalError, match=dead):
        async with engine.connect():
            pass
