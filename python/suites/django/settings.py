"""Settings for Django's own tests."""

import os

_HOST = os.environ["DQLITE_SUITE_HOST"]

DATABASES = {
    "default": {"ENGINE": "dqlite.django", "NAME": "django", "HOST": _HOST},
    "other": {"ENGINE": "dqlite.django", "NAME": "other", "HOST": _HOST},
}
SECRET_KEY = "django_tests_secret_key"  # noqa: S105 - of tests
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
