"""Bad input through Django's cursors and models; an AssertionError if one passes."""

from __future__ import annotations

import sys
from typing import Any

import django
from django.conf import settings
from django.db import (
    DatabaseError,
    DataError,
    OperationalError,
    ProgrammingError,
    connection,
    models,
)

ATTACKS = [
    "'; DROP TABLE attack_note; --",
    "x'); DROP TABLE attack_note; --",
    "1 OR 1=1",
    '" OR ""="',
    "%s",
    "%(name)s",
    "%' OR '1'='1",
    "?1; DELETE FROM attack_note",
    "\\'; DROP TABLE attack_note",
]

HALF = "\ud800"

RAW: list[tuple[str, Any, type[Exception]]] = [
    ("SELECT 1; SELECT 2", None, ProgrammingError),
    ("SELECT 'a", None, OperationalError),
    ("SELECT 'a\0b'", None, ProgrammingError),
    (f"SELECT '{HALF}'", None, ProgrammingError),
    ("SELEC 1", None, OperationalError),
    ("SELECT * FROM nowhere", None, OperationalError),
    ("SELECT %s", [], ProgrammingError),
    ("SELECT %s", [1, 2], ProgrammingError),
    ("SELECT %s", [object()], ProgrammingError),
    ("SELECT %s", [2**63], DataError),
    ("SELECT %s", ["a\0b"], DataError),
    ("SELECT %s", [HALF], DataError),
    ("SELECT %(a)s", {}, KeyError),
]


def main(host: str, name: str) -> None:
    """Try everything against the node at `host`."""
    settings.configure(
        DATABASES={"default": {"ENGINE": "dqlite.django", "NAME": name, "HOST": host}},
        USE_TZ=True,
    )
    django.setup()
    note = model()
    raw()
    batches()
    lookups(note)
    values(note)


def model() -> type[models.Model]:
    """Make a table with one row."""

    class Note(models.Model):
        id = models.BigAutoField(primary_key=True)
        text = models.CharField(max_length=100, unique=True)
        count = models.BigIntegerField(default=0)

        class Meta:
            app_label = "attack"

        def __str__(self) -> str:
            return self.text

    with connection.schema_editor() as editor:
        editor.create_model(Note)
    Note.objects.create(text="kept")
    return Note


def raw() -> None:
    """Say wrong things to a cursor."""
    for sql, params, error in RAW:
        with connection.cursor() as cursor:
            refused(error, cursor.execute, sql, params)
            cursor.execute("SELECT %s", ["fine"])
            assert cursor.fetchone() == ("fine",)
    with connection.cursor() as cursor:
        cursor.execute("")
        cursor.execute("-- nothing")
        assert cursor.fetchall() == []


def batches() -> None:
    """Say wrong things to executemany: nothing of a batch stays."""
    insert = "INSERT INTO attack_note(text, count) VALUES (%s, %s)"
    with connection.cursor() as cursor:
        refused(ProgrammingError, cursor.executemany, insert, [("a", 1), ("b",)])
        refused(DataError, cursor.executemany, insert, [("a", 1), ("b", 2**63)])
        refused(DatabaseError, cursor.executemany, insert, [("a", 1), ("a", 2)])
        refused(ProgrammingError, cursor.executemany, "SELECT %s", [("a",)])
        cursor.execute("SELECT count(*) FROM attack_note")
        assert cursor.fetchone() == (1,)


def lookups(note: Any) -> None:
    """Have attacks looked up and stored as the texts that they are."""
    for attack in ATTACKS:
        assert not note.objects.filter(text=attack).exists()
        assert not note.objects.filter(text__contains=attack).exists()
        assert not note.objects.extra(where=["text = %s"], params=[attack]).exists()
        assert list(note.objects.raw("SELECT * FROM attack_note WHERE text = %s", [attack])) == []
        made = note.objects.create(text=attack)
        assert note.objects.get(text__startswith=attack).pk == made.pk
        made.delete()
    assert [each.text for each in note.objects.all()] == ["kept"]


def values(note: Any) -> None:
    """Store what cannot be stored."""
    refused(DataError, note.objects.create, text=HALF)
    refused(DataError, note.objects.create, text="a\0b")
    refused(DatabaseError, note.objects.create, text="kept")
    refused((DataError, OverflowError), note.objects.create, text="big", count=2**63)
    refused((TypeError, ValueError), note.objects.create, text="odd", count=object())
    assert note.objects.count() == 1


def refused(error: Any, call: Any, *args: Any, **named: Any) -> None:
    """See a call refused with an error of this class."""
    try:
        call(*args, **named)
    except error:
        return
    text = f"{args} {named} went through"
    raise AssertionError(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.write("refused\n")
