"""Which addresses that a node names may be used."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import TypeAlias

from dqliteclient._validate import parse_address

RedirectPolicy: TypeAlias = Callable[[str], bool]
"""Gets ``host:port``; says whether it may be dialled."""


def allowlist_policy(addresses: Iterable[str]) -> RedirectPolicy:
    """Accept these addresses and no others, however they are spelled."""
    allowed = frozenset(parse_address(address) for address in addresses)
    return lambda address: _parsed(address) in allowed


def default_safe_redirect_policy(
    *, include_rfc1918: bool = True, include_loopback: bool = False
) -> RedirectPolicy:
    """Refuse link-local, and unless included private and loopback numbers; names pass."""

    def policy(address: str) -> bool:
        parsed = _parsed(address)
        if parsed is None:
            return False
        try:
            ip = ipaddress.ip_address(parsed[0].partition("%")[0])
        except ValueError:
            return True
        if isinstance(ip, ipaddress.IPv6Address):
            ip = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else ip)
        if ip.is_loopback:
            return include_loopback
        return not ip.is_link_local and (include_rfc1918 or not ip.is_private)

    return policy


def _parsed(address: str) -> tuple[str, int] | None:
    try:
        return parse_address(address)
    except ValueError:
        return None
