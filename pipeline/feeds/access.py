"""Where an API is, and the headers with keys that it is sent.

Keys are read from environment variables only. They go to the API's own address only, and over plain http only to this machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.core.errors import WrongUsageError
from pipeline.core.loopback import is_loopback
from pipeline.feeds.environment import secret_of_feed

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_SET_BY_CLIENT = frozenset(("host", "content-length", "transfer-encoding", "connection", "accept-encoding", "user-agent"))


@dataclass(frozen=True)
class Access:
    """Where an API is, and how it knows us."""

    url: str
    key_variable: str | None = None
    """The environment variable that holds the key; the key itself is never stored, shown or logged."""
    key_header: str = "X-API-Key"
    """The header that carries it; in `Authorization` it is a bearer token."""
    requests_per_second: int = 5
    headers: tuple[tuple[str, str], ...] = ()
    """Further headers: their names, and the environment variables that hold their values, which are treated as keys."""

    @property
    def shown(self) -> str:
        """The address for people, without what may be secret in it."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def place(self) -> tuple[str, ...]:
        """What identifies the source whose position is stored: another key or header may see other rows."""
        return self.url, self.key_variable or "", *(f"{name.lower()}={variable}" for name, variable in self.headers)

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that hold keys."""
        return (*([self.key_variable] if self.key_variable else []), *(variable for _, variable in self.headers))


def parse_header(text: str) -> tuple[str, str]:
    """A header's name and its variable, from NAME=VARIABLE. Raises WrongUsageError."""
    name, separator, variable = text.partition("=")
    if not separator or not _HEADER_NAME.fullmatch(name) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        raise WrongUsageError(
            "Invalid --header.",  # not repeated: it may contain the key itself
            "Write NAME=VARIABLE, as in X-Team-ID=E2B_TEAM_ID: the value is read from that environment variable.",
        )
    return name, variable


def check_address(access: Access) -> None:
    """Raises WrongUsageError for what is no address of an API, or one over which a key could be read."""
    try:
        parts = urlsplit(access.url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is no number
        is_address = False
    if not is_address:
        raise WrongUsageError("What --url names is no address of an API.", "Write it as https://host/path.")
    if parts.username or parts.password:
        raise WrongUsageError(
            "The address holds a name or a password.", "Put the key into a variable, and name that with --api-key-env."
        )
    if parts.scheme == "http" and access.variables and not is_loopback(parts.hostname):
        raise WrongUsageError(f"{access.shown} is not encrypted: everybody on the way could read the key.", "Write https://.")


def check_file_address(address: str) -> None:
    """Raises WrongUsageError for an address of files, as s3://bucket/folder, that holds a name or a password."""
    for part in address.split("::"):  # fsspec's way to write one file system inside another
        _, separator, rest = part.partition("://")
        if separator and "@" in re.split(r"[/?#]", rest, maxsplit=1)[0]:
            raise WrongUsageError(
                "The address holds a name or a password.", "Put credentials where the storage's own tools read them, as ~/.aws."
            )


def secret_headers(access: Access) -> dict[str, str]:
    """The headers that carry keys. Raises WrongUsageError where a variable holds no usable one, or a header comes twice."""
    headers: dict[str, str] = {}
    if access.key_variable is not None:
        key = read_secret(access.key_variable)
        headers[access.key_header] = f"Bearer {key}" if access.key_header.lower() == "authorization" else key
    for name, variable in access.headers:
        if name.lower() in _SET_BY_CLIENT or name.lower() in map(str.lower, headers):
            raise WrongUsageError(f"The header {name} cannot be set a second time.", "Name each header once.")
        headers[name] = read_secret(variable)
    return headers


def read_secret(variable: str) -> str:
    """The key in an environment variable, redacted from now on. Raises WrongUsageError where there is none that can be sent."""
    key = secret_of_feed(variable, "the API's key")
    if not (key.isascii() and key.isprintable()):
        raise WrongUsageError(f"{variable} holds characters that no header can carry.", "Set it to the API's key alone.")
    return key
