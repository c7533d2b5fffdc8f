"""Addresses of this machine itself: never asked through a proxy, and the only ones that need no encryption."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine itself: localhost, 127.0.0.0/8 or ::1, with or without brackets."""
    name = (host or "").strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def is_local_address(address: str) -> bool:
    """Whether a URL leads to this machine itself; False for what is no URL."""
    try:
        return is_loopback(urlsplit(address).hostname)
    except ValueError:
        return False
