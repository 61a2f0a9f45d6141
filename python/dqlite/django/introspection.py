# pyright: basic
"""What tables there are."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.backends.sqlite3 import introspection as sqlite


class _FieldTypes(sqlite.FlexibleFieldLookupDict):
    base_data_types_reverse: ClassVar[Any] = {
        **sqlite.FlexibleFieldLookupDict.base_data_types_reverse,
        "date_char": "DateField",
        "datetime_char": "DateTimeField",
    }

    def __getitem__(self, key: str) -> Any:
        return super().__getitem__(key.lower())


class DatabaseIntrospection(sqlite.DatabaseIntrospection):
    """SQLite's, with the declared types of this backend."""

    data_types_reverse = _FieldTypes()
