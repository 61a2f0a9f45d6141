"""How SQLAlchemy's own test suite is given databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy.testing.provision import (
    create_db,
    drop_db,
    post_configure_engine,
    stop_test_class_outside_fixtures,
    temp_table_keyword_args,
)


@create_db.for_db("dqlite")
def _create_db(cfg: Any, eng: Any, ident: str) -> None:
    """Do nothing: a database exists once it is opened."""


@drop_db.for_db("dqlite")
def _drop_db(cfg: Any, eng: Any, ident: str) -> None:
    """Do nothing: the node of the tests goes with its directory."""


@post_configure_engine.for_db("dqlite")
def _post_configure_engine(url: Any, engine: Any, follower_ident: Any) -> None:
    """Do nothing: no file has to be attached."""


@temp_table_keyword_args.for_db("dqlite")
def _temp_table_keyword_args(cfg: Any, eng: Any) -> Any:
    return {"prefixes": ["TEMPORARY"]}


@stop_test_class_outside_fixtures.for_db("dqlite")
def _stop_test_class_outside_fixtures(config: Any, db: Any, cls: Any) -> None:
    db.dispose()
