"""Addresses of this machine itself: never asked through a proxy, and the only ones that need no encryption."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine itself: localhost, 127.0.0.0/8 or ::1, with or without brackets."""
    name = (host or "").strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"
