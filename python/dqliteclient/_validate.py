"""Checks of arguments: addresses, timeouts, limits."""

from __future__ import annotations

import ipaddress
import math
import os
import re
from typing import Any, Final

DEFAULT_TIMEOUT_SECONDS: Final[float] = 10.0
DEFAULT_CLOSE_TIMEOUT_SECONDS: Final[float] = 0.5
CLOSE_TIMEOUT_FLOOR: Final[float] = 0.01
CLOSE_TIMEOUT_FLOOR_RATIONALE: Final[str] = (
    "A shorter wait may end before the FIN flushes, and the peer does not see the close."
)
DEFAULT_MAX_TOTAL_ROWS: Final = 10_000_000
DEFAULT_MAX_CONTINUATION_FRAMES: Final = 100_000
DEFAULT_MAX_MESSAGE_SIZE: Final = 64 * 2**20

_ADDRESS_CHARS_MAX: Final = 256
_PORT_MAX: Final = 65535
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOSTNAME: Final = re.compile(rf"(?=.{{1,254}}$){_LABEL}(?:\.{_LABEL})*\.?", re.IGNORECASE)


def get_current_pid() -> int:
    """Return the process id."""
    return os.getpid()


def is_int(value: object) -> bool:
    """Whether it is an int; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_str(value: object) -> bool:
    """Whether it is a text."""
    return isinstance(value, str)


def parse_address(address: str) -> tuple[str, int]:
    """Return ``(host, port)`` of ``host:port`` or ``[IPv6]:port`` in canonical form.

    ValueError for anything that no client could dial: wildcards, multicast, names that are not
    plain ASCII, a missing port.
    """
    if not is_str(address):
        text = f"Invalid address: expected str, got {type(address).__name__}"
        raise ValueError(text)
    if len(address) > _ADDRESS_CHARS_MAX:
        text = f"Invalid address: length {len(address)} exceeds maximum {_ADDRESS_CHARS_MAX}"
        raise ValueError(text)
    if "\0" in address:
        text = f"Invalid address: contains NUL byte at offset {address.index(chr(0))}"
        raise ValueError(text)
    if address.startswith("["):
        host, bracket, port = address[1:].rpartition("]:")
        if not bracket:
            text = f"Invalid IPv6 address format: expected '[host]:port', got {address!r}"
            raise ValueError(text)
        return _bracketed(host, address), _port(port, address)
    host, colon, port = address.rpartition(":")
    if not colon:
        text = f"Invalid address format: expected 'host:port', got {address!r}"
        raise ValueError(text)
    if ":" in host and "@" not in host:
        text = f"IPv6 addresses must be bracketed: got {address!r}, expected '[host]:port'"
        raise ValueError(text)
    number = _port(port, address)
    return _host(host, address), number


def _port(port: str, address: str) -> int:
    digits = port.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        text = f"Invalid port in address {address!r}: {port!r} is not a number"
        raise ValueError(text)
    if not 1 <= int(port) <= _PORT_MAX:
        text = f"Invalid port in address {address!r}: {port} is not in range 1-65535"
        raise ValueError(text)
    return int(port)


def _bracketed(host: str, address: str) -> str:
    literal, percent, zone = host.partition("%")
    zone = zone.removeprefix("25")
    if percent and (not zone or re.search(r"[\s/]", zone)):
        text = f"Bracket syntax in {address!r} has an empty or invalid IPv6 zone identifier"
        raise ValueError(text)
    try:
        ip = ipaddress.IPv6Address(literal)
    except ValueError as error:
        text = f"Bracket syntax in {address!r} is reserved for IPv6 literals"
        raise ValueError(text) from error
    return _dialable(ip, address) + (f"%{zone}" if percent else "")


def _host(host: str, address: str) -> str:
    if not host:
        text = f"Invalid address format: empty hostname in {address!r}"
        raise ValueError(text)
    try:
        return _dialable(ipaddress.ip_address(host), address)
    except ValueError as error:
        if "TCP destination" in str(error):
            raise
    if not host.isascii():
        text = f"Invalid host in address {address!r}: non-ASCII hostnames are not supported"
        raise ValueError(text)
    if not _HOSTNAME.fullmatch(host):
        text = (
            f"Invalid host in address {address!r}: {host!r} is not a valid hostname or IP literal"
        )
        raise ValueError(text)
    return host.removesuffix(".").lower()


def _dialable(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, address: str) -> str:
    inner = (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip
    kinds = {
        "the unspecified IP": inner.is_unspecified,
        "a multicast IP": inner.is_multicast,
        "a reserved IP": isinstance(inner, ipaddress.IPv4Address) and inner.is_reserved,
    }
    for kind, holds in kinds.items():
        if holds:
            text = f"Invalid host in address {address!r}: {kind} is not a valid TCP destination"
            raise ValueError(text)
    return str(inner)


def check_address(method: str, address: str | None) -> None:
    """Raise ValueError, naming the method, for an address that no client could dial."""
    if address is None:
        return
    try:
        parse_address(address)
    except ValueError as error:
        text = f"{method}: invalid address {address!r}: {error}"
        raise ValueError(text) from error


def validate_timeout(
    value: float,
    *,
    name: str = "timeout",
    min_value: float = 0.0,
    min_value_rationale: str | None = None,
) -> float:
    """Return `value` as float if it is a positive finite number of at least `min_value`."""
    if isinstance(value, bool):
        text = f"{name} must be a positive finite number, got {value!r} (bool)"
        raise ValueError(text)  # noqa: TRY004 - the published class
    number = _number(value, name)
    if not math.isfinite(number) or number <= 0:
        text = f"{name} must be a positive finite number, got {value}"
        raise ValueError(text)
    if number < min_value:
        why = f". {min_value_rationale}" if min_value_rationale else ""
        text = f"{name} must be >= {min_value}; got {value}{why}"
        raise ValueError(text)
    return float(number)


def validate_timeouts(
    timeout: float,
    dial_timeout: float | None,
    attempt_timeout: float | None,
    close_timeout: float = DEFAULT_CLOSE_TIMEOUT_SECONDS,
) -> None:
    """Check the four together."""
    validate_timeout(timeout)
    validate_timeout(
        close_timeout,
        name="close_timeout",
        min_value=CLOSE_TIMEOUT_FLOOR,
        min_value_rationale=CLOSE_TIMEOUT_FLOOR_RATIONALE,
    )
    if dial_timeout is not None:
        validate_timeout(dial_timeout, name="dial_timeout")
    if attempt_timeout is not None:
        validate_timeout(attempt_timeout, name="attempt_timeout")


def validate_positive_int_or_none(value: int | None, name: str) -> int | None:
    """Return `value` if it is None or an int above 0."""
    if value is None:
        return None
    if not is_int(value):
        text = f"{name} must be int or None, got {type(value).__name__}"
        raise TypeError(text)
    if value < 1:
        text = f"{name} must be > 0, got {value}"
        raise ValueError(text)
    return value


def validate_limits(**limits: int | None) -> None:
    """Check several of these by name."""
    for name, value in limits.items():
        if name == "max_message_size" and is_int(value) and value is not None and value < 1:
            text = f"{name} must be >= 1, got {value}"
            raise ValueError(text)
        validate_positive_int_or_none(value, name)


def validate_max_attempts(value: int | None) -> int | None:
    """Return `value` if it is None or an int of at least 1."""
    if value is not None and (not is_int(value)):
        text = f"max_attempts must be int or None, got {type(value).__name__}"
        raise TypeError(text)
    if value is not None and value < 1:
        text = f"max_attempts must be at least 1, got {value}"
        raise ValueError(text)
    return value


def validate_seconds(value: Any, name: str, *, zero: bool, below: float = math.inf) -> float:
    """Return `value` if it is a finite number of seconds, above or from 0, under `below`."""
    if isinstance(value, bool):
        text = f"{name} must be a number, got bool"
        raise TypeError(text)
    number = _number(value, name)
    if math.isfinite(number) and number < below and (number > 0 or (zero and number == 0)):
        return number
    kind = "non-negative" if zero else "positive"
    limit = f"in [0, {below:g})" if math.isfinite(below) else f"a {kind} finite number"
    text = f"{name} must be {limit}, got {value}"
    raise ValueError(text)


def _number(value: Any, name: str) -> float:
    if not isinstance(value, (int, float)):
        text = f"{name} must be a number, got {type(value).__name__}"
        raise TypeError(text)
    return value
