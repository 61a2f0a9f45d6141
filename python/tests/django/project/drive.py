"""A Django project from its first migration to its admin pages; an AssertionError if one fails."""

from __future__ import annotations

import datetime as dt
import io
import sys
import types
from collections.abc import Callable

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import IntegrityError, NotSupportedError, connection, models, transaction
from django.db.models import functions
from django.urls import path


def main(host: str, name: str) -> None:
    """Drive everything against the node at `host`."""
    configure(host, name)
    call_command("migrate", verbosity=0)
    shop()
    nesting()
    dates()
    refusals()
    inspecting()
    test_database()
    admin_pages()
    ages()


def configure(host: str, name: str) -> None:
    """Set the project up."""
    contrib = ("admin", "auth", "contenttypes", "messages", "sessions")
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={
            "default": {
                "ENGINE": "dqlite.django",
                "NAME": name,
                "HOST": host,
                "CONN_MAX_AGE": 60,
                "CONN_HEALTH_CHECKS": True,
                "OPTIONS": {
                    "timeout": 30,
                    "init_command": "PRAGMA cache_size = -777;",
                    "check_same_thread": False,
                },
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[f"django.contrib.{app}" for app in contrib],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ROOT_URLCONF="urls",
        SECRET_KEY="a test's",
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        TIME_ZONE="Europe/Prague",
        USE_TZ=True,
    )
    django.setup()
    from django.contrib import admin  # noqa: PLC0415 - needs the apps

    urls = types.ModuleType("urls")
    urls.urlpatterns = [path("admin/", admin.site.urls)]
    sys.modules["urls"] = urls


class Shelf:
    """The models, made once the apps are there."""

    book: type[models.Model]


def shop() -> None:
    """Make a table, fill it, ask it."""

    class Book(models.Model):
        title = models.CharField(max_length=100, unique=True)
        price = models.DecimalField(max_digits=8, decimal_places=2)
        sold = models.BooleanField(null=True)
        at = models.DateTimeField()
        data = models.JSONField(default=dict)

        class Meta:
            app_label = "auth"

        def __str__(self) -> str:
            return self.title

    Shelf.book = Book
    with connection.schema_editor() as editor:
        editor.create_model(Book)
    moment = dt.datetime(2024, 6, 30, 23, 30, tzinfo=dt.timezone.utc)
    Book.objects.bulk_create(
        Book(title=f"b{i}", price="12.50", at=moment, data={"i": i}) for i in range(100)
    )
    assert Book.objects.count() == 100
    assert Book.objects.aggregate(models.Sum("price"))["price__sum"] == 1250
    assert Book.objects.filter(data__i__gte=90).count() == 10
    assert Book.objects.filter(sold=None).count() == 100
    assert Book.objects.filter(sold=None).update(sold=True) == 100
    made, fresh = Book.objects.update_or_create(title="b1", defaults={"price": 1, "at": moment})
    assert (made.title, fresh) == ("b1", False)


def nesting() -> None:
    """Roll inner and outer transactions back."""
    book = Shelf.book
    with transaction.atomic():
        book.objects.filter(title="b2").delete()
        try:
            with transaction.atomic():
                book.objects.filter(title="b3").delete()
                book.objects.filter(title="b4").update(title="b5")
        except IntegrityError:
            pass
        else:
            raise AssertionError
        assert book.objects.filter(title="b3").exists()
    assert not book.objects.filter(title="b2").exists()
    seen: list[int] = []
    with transaction.atomic():
        transaction.on_commit(lambda: seen.append(1))
        transaction.set_rollback(True)
    assert not seen


def dates() -> None:
    """Ask for dates as a clock in Prague shows them: 23:30 in London is the next day there."""
    book = Shelf.book
    assert book.objects.filter(at__date=dt.date(2024, 7, 1)).count() == book.objects.count()
    month = book.objects.annotate(month=functions.TruncMonth("at")).values("month").distinct()
    assert month[0]["month"].isoformat() == "2024-07-01T00:00:00+02:00"
    later = book.objects.annotate(later=models.F("at") + dt.timedelta(hours=1, microseconds=7))
    assert later[0].later - later[0].at == dt.timedelta(hours=1, microseconds=7)


def refusals() -> None:
    """See what cannot work refused by name."""
    book = Shelf.book
    for ask, word in (
        (lambda: list(book.objects.filter(title__regex="b.*")), "regex"),
        (lambda: book.objects.aggregate(models.StdDev("price")), "STDDEV"),
        (lambda: list(book.objects.annotate(h=functions.MD5("title"))), "MD5"),
        (lambda: list(book.objects.select_for_update(nowait=True)), "nowait"),
        (lambda: list(book.objects.select_for_update(skip_locked=True)), "skip_locked"),
        (lambda: book.objects.select_for_update(of=("self",)).first(), "of"),
    ):
        assert word in refusal(ask), word
    with transaction.atomic():
        assert book.objects.select_for_update().first()
    ask = book.objects.select_for_update().first
    assert "atomic()" in refusal(ask, transaction.TransactionManagementError)
    assert "no shell" in refusal(lambda: call_command("dbshell"), ImproperlyConfigured)


def refusal(ask: Callable[[], object], kind: type[Exception] = NotSupportedError) -> str:
    """Return the text with which a question is refused."""
    try:
        ask()
    except kind as error:
        return str(error)
    return ""


def inspecting() -> None:
    """Have the models of a table written."""
    out = io.StringIO()
    call_command("inspectdb", "auth_book", stdout=out)
    text = out.getvalue()
    for field in ("models.CharField", "models.BooleanField", "models.DateTimeField"):
        assert field in text, text


def test_database() -> None:
    """Make a database for tests, and a clone of it, and leave the program's own alone."""
    book = Shelf.book
    before, name = book.objects.count(), connection.settings_dict["NAME"]
    made = connection.creation.create_test_db(verbosity=0, serialize=False)
    assert made == f"test_{name}"
    assert connection.settings_dict["NAME"] == made
    assert "auth_user" in connection.introspection.table_names()
    connection.creation.clone_test_db("1", verbosity=0)
    connection.creation.destroy_test_db(made, verbosity=0, suffix="1")
    connection.creation.destroy_test_db(name, verbosity=0)
    assert connection.settings_dict["NAME"] == name
    assert book.objects.count() == before


def admin_pages() -> None:
    """Log in and add a user by the admin's form."""
    from django.contrib.auth.models import User  # noqa: PLC0415 - needs the apps
    from django.test import Client  # noqa: PLC0415 - needs the apps

    User.objects.create_superuser("root", "root@example.org", "secret")
    client = Client()
    assert client.login(username="root", password="secret")
    assert client.get("/admin/").status_code == 200
    form = {"username": "ann", "password1": "correct horse", "password2": "correct horse"}
    form["usable_password"] = "true"
    answer = client.post("/admin/auth/user/add/", form)
    assert answer.status_code == 302, answer.content
    assert User.objects.filter(username="ann").exists()
    assert client.get("/admin/auth/user/?q=ann").status_code == 200


def cache_size() -> int:
    """Ask what the initial command has set."""
    with connection.cursor() as cursor:
        return cursor.execute("PRAGMA cache_size").fetchone()[0]


def ages() -> None:
    """Replace a connection that is no good, and a session that is."""
    assert cache_size() == -777
    state = connection.connection._state  # noqa: SLF001 - nothing public loses a session
    state.session.terminate()
    assert cache_size() == -777
    connection.connection.close()
    connection.health_check_done = False
    connection.health_check_enabled = True
    assert Shelf.book.objects.count() == 99


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.write("driven\n")
