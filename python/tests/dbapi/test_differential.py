"""The same statements on our connection and on stdlib ``sqlite3``: rows, types, counts, errors.

Hypothesis invents the sequences: always the same ones, or so many others as ``DQLITE_HISTORIES``
says. A failure prints the shortest one as a program, and a ``@reproduce_failure`` line that runs it
again. Left out is where ours differs by design: BOOLEAN and DATE columns, WITH before a write, the
class for what is closed, what a failed `executemany` leaves behind (here nothing).
"""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

import dqlite
import dqlite.dbapi
import dqlite.rows

CLASSES: Final = (
    "IntegrityError",
    "DataError",
    "NotSupportedError",
    "ProgrammingError",
    "OperationalError",
    "InternalError",
    "InterfaceError",
    "DatabaseError",
)
TABLES: Final = st.sampled_from(["a", "b"])
COLUMNS: Final = st.sampled_from(["id", "n", "r", "s", "x", "u", "none"])
SAVEPOINTS: Final = st.sampled_from(["one", "two"])
LEVELS: Final = st.sampled_from([None, "", "DEFERRED", "IMMEDIATE", "EXCLUSIVE", "immediate"])
TEXT: Final = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)
INTEGERS: Final = st.one_of(
    st.integers(-3, 9), st.sampled_from([2**63 - 1, -(2**63), 2**31, -(2**31) - 1])
)
VALUES: Final = st.one_of(
    st.none(),
    INTEGERS,
    st.booleans(),
    st.sampled_from([0.0, -1.25, 0.5, float("inf"), float("nan")]),
    TEXT,
    st.binary(max_size=9),
    st.binary(max_size=5).map(bytearray),
    st.binary(max_size=5).map(memoryview),
)
SHAPES: Final = ["tuple", "Row", "list", "dict"]
DEFINITIONS: Final = [
    "create table {t}(id integer primary key, n integer, r real, s text not null, x, u unique)",
    "create table if not exists {t}(id integer primary key, n, r, s, x, u)",
    "drop table {t}",
    "drop table if exists {t}",
    "create index {t}_n on {t}(n)",
    "drop index if exists {t}_n",
    "alter table {t} add column extra default 7",
    "create view {t}_v as select id, s from {t}",
    "drop view if exists {t}_v",
]
READS: Final = [
    "select * from {t} order by id",
    "select count(*), sum(n), max(r), min(s), group_concat(typeof(x)) from {t}",
    "select id as Id, s as 'two words', n + r, x || s from {t} order by id",
    "select * from {t} where {c} is ?",
    "select * from {t} where {c} > :v order by id limit 3",
    "select t.id, o.id from {t} as t left join {t} as o on o.n = t.n order by 1, 2",
    "with w as (select n from {t}) select count(*) from w",
    "values (1, 'x'), (2, null)",
    "pragma table_info({t})",
    "pragma user_version",
    "  /* a comment; */ select 'a;b' -- the end",
]
WRONG: Final = [
    "",
    "  -- nothing",
    ";",
    "selec 1",
    "select 'open",
    "select 1; select 2",
    "select (1",
    "select * from nowhere",
    "select no_such_function(1)",
    "insert into {t} values (1)",
    "insert into {t}(nothing) values (1)",
    "update {t} set id = 'text'",
    "insert into {t}(id, s) values (1, 'x') on conflict(s) do nothing",
    "savepoint",
    "release nothing",
    "rollback to nothing",
    "select ?, ?",
    "select :a, :b",
]
SCRIPTS: Final = [
    "",
    "-- only a comment",
    "insert into {t}(s) values ('p;q'); insert into {t}(s) values ('r');",
    "select 1; select 2",
    "update {t} set n = 1 where id = 1; selec 2; delete from {t}",
    "begin; insert into {t}(s) values ('in'); commit;",
    "begin; insert into {t}(s) values ('open')",
    """create trigger if not exists {t}_g after insert on {t} when new.n = 5 begin
        update {t} set x = 'case' where id = new.id; end; select 1;""",
]


class Side:
    """One of the two connections, and what it answers in a form that can be compared."""

    def __init__(self, module: Any, connection: Any) -> None:
        self.module = module
        self.connection = connection
        self.cursor = connection.cursor()

    def do(self, action: Callable[[Side], Any]) -> Any:
        try:
            return typed(action(self))
        except self.module.Error as error:
            return next(n for n in CLASSES if isinstance(error, getattr(self.module, n)))
        except (TypeError, ValueError, OverflowError) as error:
            return type(error).__name__

    def execute(self, sql: str, params: Any = ()) -> Any:
        """Run it on the one cursor; everything that a program can see of the answer."""
        cursor = self.cursor.execute(sql, params)
        names = None if cursor.description is None else [c[0] for c in cursor.description]
        rows = cursor.fetchall()
        inserted = sql.startswith("insert") and cursor.rowcount == 1
        return names, rows, cursor.rowcount, cursor.lastrowid if inserted else None

    def shape(self, shape: str) -> None:
        if shape == "Row":
            self.connection.row_factory = self.module.Row
        elif shape == "dict":
            self.connection.row_factory = dqlite.rows.dict_row
        elif shape == "list":
            self.connection.row_factory = lambda _cursor, row: list(row)
        else:
            self.connection.row_factory = None
        self.cursor = self.connection.cursor()


def typed(value: Any) -> Any:
    """Make 1, 1.0 and True differ, and NaN equal itself."""
    if isinstance(value, (sqlite3.Row, dqlite.dbapi.Row)):
        return ("Row", value.keys(), [typed(cell) for cell in value])
    if isinstance(value, (tuple, list)):
        return (type(value).__name__, [typed(cell) for cell in value])
    if isinstance(value, dict):
        return ("dict", [(key, typed(cell)) for key, cell in value.items()])
    return (type(value).__name__, repr(value))


class Differential(RuleBasedStateMachine):
    """Two connections, one history."""

    address = ""
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        url = f"dqlite://{self.address}/differential{next(self.numbers)}"
        self.ours = Side(dqlite.dbapi, dqlite.dbapi.connect(url, isolation_level=""))
        self.stdlib = Side(sqlite3, sqlite3.connect(":memory:"))
        for table in "ab":
            self.same(lambda side, t=table: side.execute(DEFINITIONS[0].format(t=t)))

    def teardown(self) -> None:
        self.ours.connection.close()
        self.stdlib.connection.close()

    def same(self, action: Callable[[Side], Any]) -> None:
        """Do it on both sides and compare what a program sees; lastrowid only after an INSERT.

        Stdlib shows the last one of the whole connection after any statement.
        """
        ours, stdlib = self.ours.do(action), self.stdlib.do(action)
        assert ours == stdlib
        if ours in CLASSES and not self.stdlib.connection.in_transaction:
            self.ours.connection.rollback()  # stdlib prepares before it begins, we begin before

    @invariant()
    def agree_about_the_transaction(self) -> None:
        assert self.ours.connection.in_transaction == self.stdlib.connection.in_transaction

    @rule(t=TABLES, sql=st.sampled_from(DEFINITIONS))
    def define(self, t: str, sql: str) -> None:
        self.same(lambda side: side.execute(sql.format(t=t)))

    @rule(
        t=TABLES,
        row=st.tuples(st.integers(-3, 9) | st.none(), VALUES, VALUES, TEXT | VALUES, VALUES),
    )
    def insert(self, t: str, row: tuple[Any, ...]) -> None:
        sql = f"insert into {t}(id, n, r, s, x) values (?, ?, ?, ?, ?)"
        self.same(lambda side: side.execute(sql, row))

    @rule(
        t=TABLES,
        how=st.sampled_from(["", "or replace", "or ignore", "or fail", "or abort", "or rollback"]),
        id=st.integers(1, 4),
        u=st.integers(1, 3),
    )
    def insert_or(self, t: str, how: str, id: int, u: int) -> None:
        sql = f"insert {how} into {t}(id, s, u) values (:id, 'x', $u)"
        self.same(lambda side: side.execute(sql, {"id": id, "u": u, "unused": 1}))

    @rule(
        t=TABLES,
        id=st.integers(1, 4),
        u=st.integers(1, 3),
        then=st.sampled_from(["nothing", "update set n = ifnull(n, 0) + 1, s = excluded.s"]),
        back=st.sampled_from(["", " returning id, s, n"]),
    )
    def upsert(self, t: str, id: int, u: int, then: str, back: str) -> None:
        sql = f"insert into {t}(id, s, u) values (?, 'up', ?) on conflict(id) do {then}{back}"
        self.same(lambda side: side.execute(sql, (id, u))[:2])

    @rule(t=TABLES, value=VALUES, id=st.integers(0, 4))
    def insert_returning(self, t: str, value: Any, id: int) -> None:
        sql = f"insert into {t}(s, x) values ('r', @v) returning s, x, typeof(x) as kind"
        self.same(lambda side: side.execute(sql, {"v": value})[:2])
        sql = f"update {t} set n = n + 1 where id > ? returning id"
        self.same(lambda side: side.execute(sql, (id,))[:2])

    @rule(t=TABLES, c=COLUMNS, value=VALUES, id=st.integers(0, 5))
    def update(self, t: str, c: str, value: Any, id: int) -> None:
        if c == "id":  # after the greatest row id SQLite draws lots
            value = 8
        self.same(lambda side: side.execute(f"update {t} set {c} = ? where id > ?", (value, id)))

    @rule(t=TABLES, id=st.integers(0, 5))
    def delete(self, t: str, id: int) -> None:
        self.same(lambda side: side.execute(f"delete from {t} where id >= ?", (id,)))

    @rule(t=TABLES, c=COLUMNS, sql=st.sampled_from(READS), value=VALUES)
    def read(self, t: str, c: str, sql: str, value: Any) -> None:
        params: Any = (value,) if "?" in sql else {"v": value} if ":v" in sql else ()
        self.same(lambda side: side.execute(sql.format(t=t, c=c), params))

    @rule(values=st.lists(VALUES, min_size=1, max_size=6))
    def echo(self, values: list[Any]) -> None:
        marks = ", ".join("?" * len(values))
        self.same(lambda side: side.execute(f"select {marks}", values)[1])

    @rule(t=TABLES, sql=st.sampled_from(WRONG), sets=st.sampled_from([(), (1,), {"a": 1}]))
    def wrong(self, t: str, sql: str, sets: Any) -> None:
        params = sets if sql.startswith(("select ?", "select :")) else ()  # we count before we send
        self.same(lambda side: side.execute(sql.format(t=t), params))

    @rule(t=TABLES, rows=st.lists(st.tuples(st.integers(-9, 9), TEXT | st.none()), max_size=5))
    def many(self, t: str, rows: list[Any]) -> None:
        def action(side: Side) -> Any:
            cursor = side.cursor.executemany(f"insert into {t}(id, s) values (?, ?)", iter(rows))
            return cursor.rowcount, cursor.description, cursor.fetchall()

        if len({row[0] for row in rows}) < len(rows) or not all(row[1] for row in rows):
            return
        if not self.any_of(t, [row[0] for row in rows]):  # else ours undoes what stdlib keeps
            self.same(action)

    def any_of(self, t: str, ids: list[int]) -> bool:
        marks = ", ".join("?" * len(ids))
        found = self.stdlib.do(
            lambda side: side.connection.execute(
                f"select 1 from {t} where id in ({marks})", ids
            ).fetchall()
        )
        return found != ("list", [])

    @rule(t=TABLES, script=st.sampled_from(SCRIPTS))
    def script(self, t: str, script: str) -> None:
        def action(side: Side) -> None:
            side.connection.executescript(script.format(t=t))

        self.same(action)

    @rule(
        sql=st.sampled_from(
            ["begin", "BEGIN IMMEDIATE", "begin exclusive", "commit", "END", "rollback"]
        )
    )
    def control(self, sql: str) -> None:
        self.same(lambda side: side.execute(sql)[:3])

    @rule(name=SAVEPOINTS, verb=st.sampled_from(["savepoint", "release", "rollback to"]))
    def savepoint(self, name: str, verb: str) -> None:
        self.same(lambda side: side.execute(f"{verb} {name}")[:3])

    @rule(method=st.sampled_from(["commit", "rollback"]))
    def end(self, method: str) -> None:
        self.same(lambda side: getattr(side.connection, method)())

    @rule(t=TABLES, fails=st.booleans())
    def block(self, t: str, fails: bool) -> None:
        def action(side: Side) -> None:
            with side.connection:
                side.execute(f"insert into {t}(s) values ('block')")
                if fails:
                    raise ValueError

        self.same(action)

    @rule(level=LEVELS)
    def isolate(self, level: str | None) -> None:
        self.same(lambda side: setattr(side.connection, "isolation_level", level))

    @rule(shape=st.sampled_from(SHAPES))
    def reshape(self, shape: str) -> None:
        self.ours.shape(shape)
        self.stdlib.shape(shape)

    @rule(t=TABLES, size=st.integers(1, 4))
    def fetch_in_parts(self, t: str, size: int) -> None:
        def action(side: Side) -> Any:
            cursor = side.connection.cursor().execute(f"select * from {t} order by id")
            return cursor.fetchone(), cursor.fetchmany(size), next(cursor, "end"), cursor.fetchall()

        self.same(action)

    @rule()
    def count_changes(self) -> None:
        self.same(lambda side: side.execute("select changes() >= 0")[1])


@pytest.fixture
def machine(server: dqlite.Node) -> Iterator[type[Differential]]:
    Differential.address = server.address
    return Differential


@pytest.mark.timeout(600)
def test_the_same_history_has_the_same_answers(machine: type[Differential]) -> None:
    explored = os.environ.get("DQLITE_HISTORIES")
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(explored or 60),
            derandomize=explored is None,
            stateful_step_count=40,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
