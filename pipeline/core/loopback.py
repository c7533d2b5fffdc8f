"""Loopback addresses: requests to this machine bypass proxies, and need no encryption."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import requests


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine: localhost, 127.0.0.0/8 or ::1, with or without brackets."""
    name = (host or "").strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def is_local_address(address: str) -> bool:
    """Whether a URL points to this machine; False for a text that is not a URL."""
    try:
        return is_loopback(urlsplit(address).hostname)
    except ValueError:
        return False


def without_proxy(session: requests.Session) -> requests.Session:
    """Make a session ignore the environment: no HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, and no password from .netrc."""
    session.trust_env = False
    session.proxies.clear()
    return session
