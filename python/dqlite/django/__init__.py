"""A Django database backend: SQLite's, over connections that follow the leader of a cluster.

::

    DATABASES = {
        "default": {
            "ENGINE": "dqlite.django",
            "NAME": "app",
            "HOST": "h1:9001,h2:9001,h3:9001",
            "OPTIONS": {"timeout": 30, "busy_timeout": 5},
        }
    }

Without HOST the environment says where the cluster is (``DQLITE_URL``, ``DQLITE_HOSTS``). OPTIONS
are those of `dqlite.connect`, and ``transaction_mode`` (``"IMMEDIATE"`` by default: a deferred
transaction that reads first and writes later fails as soon as somebody else has committed).

Functions in Python cannot run inside a node. Dates, durations, padding and the like are plain SQL
here; REGEXP lookups, hashes, standard deviation, variance and time zones other than UTC and fixed
offsets in SQL are refused by name.
"""
