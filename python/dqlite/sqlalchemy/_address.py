"""SQLAlchemy's URLs to our targets and options, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url

from dqlite._options import TLS

if TYPE_CHECKING:
    from dqlite._options import HasHosts

DEFAULT_PORT: Final = 9001
DEFAULT_DATABASE: Final = "default"

_nodes: Final[dict[str, HasHosts]] = {}


def register_node(node: HasHosts, name: str = "default") -> None:
    """Let ``dqlite:///database`` (and ``?node=name``) mean the cluster of this node."""
    _nodes[name] = node


def registered_node(name: str) -> HasHosts | None:
    """Return the node registered under a name, or None."""
    return _nodes.get(name)


def url(target: str | Sequence[str], *, aio: bool = False) -> URL:
    """Return SQLAlchemy's URL for one of our targets: a URL, hosts, or a list of hosts."""
    text = target if isinstance(target, str) else ",".join(target)
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "dqlite", text
    if scheme not in {"dqlite", "dqlites"}:
        text = f"an SQLAlchemy URL cannot be made of {target!r}"
        raise exc.ArgumentError(text)
    parts = urlsplit(f"//{rest}")
    hosts = parts.netloc.split(",")
    query = [*parse_qsl(parts.query), *(("host", host) for host in hosts[1:])]
    if scheme == "dqlites":
        query.append(("tls", "1"))
    driver = "dqlite+aio" if aio else "dqlite"
    tail = f"?{urlencode(query)}" if query else ""
    return make_url(f"{driver}://{hosts[0]}{parts.path}{tail}")


def target_of(address: URL) -> tuple[Any, dict[str, Any]]:
    """Return where to connect and the options of the connection; ArgumentError if it is wrong."""
    if address.username is not None or address.password is not None:
        text = "a dqlite URL has no user name or password"
        raise exc.ArgumentError(text)
    query = dict(address.query)
    hosts = [*_texts(query.pop("host", ())), *",".join(_texts(query.pop("hosts", ()))).split(",")]
    hosts = [host for host in hosts if host]
    hosts = [*_first_hosts(address), *hosts]
    options = _options(query)
    _gather_tls(options)
    database = address.database or DEFAULT_DATABASE
    node = options.pop("node", None)
    if hosts:
        target: Any = hosts
    elif node is not None or _nodes:
        target = _node(node or "default")
    else:
        target = None
        if not address.database:
            return target, options
    options["database"] = database
    return target, options


def arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `connect_args`, those of older drivers and of ``sqlite3`` included.

    ArgumentError names one that means nothing here.
    """
    options: dict[str, Any] = {}
    for key, value in given.items():
        name = _RENAMED.get(key, key)
        if name in _INERT or name == "uri":
            continue
        if name not in _KNOWN and name != "database":
            known = ", ".join(sorted([*_KNOWN, "creator_fn", "database"]))
            text = f"unknown option {key!r} in connect_args; known are {known}"
            raise exc.ArgumentError(text)
        options[name] = value
    _gather_tls(options)
    return options


def _first_hosts(address: URL) -> list[str]:
    """Return the hosts in front of the path: one, or several without ports or with the same."""
    port = address.port or DEFAULT_PORT
    names = (address.host or "").split(",")
    return [f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name in names if name]


def _gather_tls(options: dict[str, Any]) -> None:
    """Make one option of those that are about TLS."""
    wanted = options.pop("tls", None)
    files = [options.pop(name, None) for name in ("tls_ca", "tls_cert", "tls_key", "tls_name")]
    if not any(files):
        if wanted is not None:
            options["tls"] = wanted
        return
    if wanted is False:
        text = "a dqlite URL says tls=0 and names certificates"
        raise exc.ArgumentError(text)
    if files[0] is None:
        text = "a dqlite URL with tls_cert, tls_key or tls_name needs tls_ca"
        raise exc.ArgumentError(text)
    options["tls"] = TLS(*files)


def _node(name: str) -> HasHosts:
    try:
        return _nodes[name]
    except KeyError:
        text = f"no node was registered as {name!r}"
        raise exc.ArgumentError(text) from None


def _texts(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _seconds(text: str) -> float | None:
    if text.lower() == "none":
        return None
    if text.endswith("ms"):
        return float(text[:-2]) / 1000
    return float(text.removesuffix("s"))


def _truth(text: str) -> bool:
    word = text.lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off"}:
        return False
    raise ValueError(text)


def _integer(text: str) -> int | None:
    return None if text.lower() == "none" else int(text)


def _word(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return parse


_KNOWN: Final[Mapping[str, Callable[[str], Any]]] = {
    "timeout": _seconds,
    "connect_timeout": _seconds,
    "busy_timeout": _seconds,
    "session_mode": _word("auto", "immediate", "deferred", "exclusive", "read_only"),
    "ddl_types": _word("safe", "native"),
    "statement_cache_size": int,
    "max_rows": _integer,
    "max_frame_bytes": int,
    "max_buffered_bytes": int,
    "tls": _truth,
    "tls_ca": str,
    "tls_cert": str,
    "tls_key": str,
    "tls_name": str,
    "node": str,
    "name": str,
}

# Other names: those of an older dialect, and those of our own URLs. Where an old limit or check
# does not exist here, the option is true without an effect.
_RENAMED: Final = {
    "dial_timeout": "connect_timeout",
    "attempt_timeout": "connect_timeout",
    "ca": "tls_ca",
    "cert": "tls_cert",
    "key": "tls_key",
    "server_name": "tls_name",
    "cached_statements": "statement_cache_size",
}
_INERT: Final[Mapping[str, Callable[[str], Any]]] = {
    "close_timeout": _seconds,
    "max_total_rows": _integer,
    "max_continuation_frames": _integer,
    "max_message_size": _integer,
    "trust_server_heartbeat": _truth,
    "check_same_thread": _truth,
}


def _options(query: Mapping[str, str | Sequence[str]]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for key, value in query.items():
        text = value if isinstance(value, str) else value[-1]
        name = _RENAMED.get(key, key)
        parse = _KNOWN.get(name) or _INERT.get(name)
        if parse is None:
            known = ", ".join(sorted([*_KNOWN, "host", "hosts"]))
            text = f"unknown option {key!r} in a dqlite URL; known are {known}"
            raise exc.ArgumentError(text)
        try:
            parsed = parse(text)
        except ValueError:
            text = f"option {key}={text!r} of a dqlite URL is not valid"
            raise exc.ArgumentError(text) from None
        if name in _KNOWN and (name == key or name not in query):
            options[name] = parsed
    return options
