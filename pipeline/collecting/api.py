"""The connection to an API that is collected from: paged, patient, and careful with its key.

dlt's REST client follows the pages and asks again, with growing pauses or after as long as `Retry-After` says, where the answer
is 429 or 5xx or none came. Numbers stay as they were written: no digit goes through a float.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
import simplejson
from dlt.common import jsonpath
from dlt.common.configuration.specs.runtime_configuration import RuntimeConfiguration
from dlt.sources.helpers.requests import Client
from dlt.sources.helpers.rest_client.auth import APIKeyAuth, AuthConfigBase, BearerTokenAuth
from dlt.sources.helpers.rest_client.client import PageData, RESTClient
from dlt.sources.helpers.rest_client.paginators import BasePaginator
from pyrate_limiter import Duration, Limiter, Rate

from pipeline.errors import BillhouseError, WrongUsageError
from pipeline.loopback import is_local_address, is_loopback, without_proxy
from pipeline.plain_text import remember_secret

TIMEOUT_SECONDS = 60
ATTEMPTS = 6
LONGEST_PAUSE_SECONDS = 300
"""Also where `Retry-After` or `RateLimit-Reset` ask for more: a run that fails for it goes on where it was."""


@dataclass(frozen=True)
class Access:
    """Where an API is, and how it knows us."""

    url: str
    key_variable: str | None = None
    """The environment variable that holds the key; the key itself is never stored, shown or logged."""
    key_header: str = "X-API-Key"
    """The header that carries it; in `Authorization` it is a bearer token."""
    requests_per_second: int = 5

    @property
    def shown(self) -> str:
        """The address for people, without what may be secret in it."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class Api:
    """An API that answers in JSON."""

    def __init__(self, access: Access) -> None:
        """Raises WrongUsageError where the address or the key's variable cannot be meant."""
        self._access = access
        self._limiter = Limiter(Rate(access.requests_per_second, Duration.SECOND))
        self._free_at = 0.0
        _check_address(access)
        session = Client(
            raise_for_status=False,
            request_timeout=TIMEOUT_SECONDS,
            request_max_attempts=ATTEMPTS,
            request_max_retry_delay=LONGEST_PAUSE_SECONDS,
        ).session
        if is_local_address(access.url):
            without_proxy(session)
        self._client = RESTClient(access.url, auth=_auth(access), session=session, config=RuntimeConfiguration())

    def pages(
        self, path: str, rows_at: str, paginator: BasePaginator, params: dict[str, Any] | None = None
    ) -> Iterator[PageData[Any]]:
        """The pages of a list, which lies at the JSON path `rows_at` in each answer; `path` is below the API's address, or whole.

        Raises BillhouseError. A page elsewhere than at the API itself is not asked for: the key would go there.
        """
        self._check_stays(path)
        rows = jsonpath.compile_path(rows_at)

        def read(response: requests.Response, *_: Any, **__: Any) -> None:
            self._heed_limits(response)
            response.raise_for_status()
            if response.is_redirect:
                raise BillhouseError(f"{self._access.shown} says that it is elsewhere.", "Name the address it is at with --url.")
            body = self._body(response)
            if not isinstance(next(iter(jsonpath.find_values(rows, body)), None), list):
                raise BillhouseError(
                    f"{self._access.shown} answered without a list at '{rows_at}'.", "Look at what it answers, and at --url."
                )
            vars(response)["json"] = lambda **_: body

        hooks: Any = {"response": [read]}
        pages = self._client.paginate(
            path, params=params, paginator=paginator, data_selector=rows_at, hooks=hooks, allow_redirects=False
        )
        while True:
            self._take_turn()
            try:
                page = next(pages, None)
            except requests.RequestException as error:
                raise self._failure(error) from None
            if page is None:
                return
            self._check_stays(str(page.request.url))
            yield page

    def _body(self, response: requests.Response) -> Any:
        try:
            return simplejson.loads(response.content.decode("utf-8"), use_decimal=True)
        except ValueError:
            raise BillhouseError(
                f"{self._access.shown} answered with something that is no JSON ({len(response.content):,} bytes).",
                "See that --url is the API's address, and not a page for people.",
            ) from None

    def _heed_limits(self, response: requests.Response) -> None:
        """`RateLimit-Remaining` and `RateLimit-Reset` (in seconds), where an API has them: wait before it has to say 429."""
        headers = response.headers
        if headers.get("RateLimit-Remaining") == "0" and headers.get("RateLimit-Reset", "").isdecimal():
            self._free_at = time.monotonic() + min(int(headers["RateLimit-Reset"]), LONGEST_PAUSE_SECONDS)

    def _take_turn(self) -> None:
        time.sleep(max(0.0, self._free_at - time.monotonic()))
        self._limiter.try_acquire("api")

    def _check_stays(self, address: str) -> None:
        ours, theirs = urlsplit(self._access.url), urlsplit(address)
        if theirs.netloc and (theirs.scheme, theirs.netloc) != (ours.scheme, ours.netloc):
            raise BillhouseError(
                f"The next page is said to be at {theirs.hostname}, and not at {ours.hostname}.",
                "Nothing was asked there: the key is for one address. Ask whoever runs the API.",
            )

    def _failure(self, error: requests.RequestException) -> BillhouseError:
        """What went wrong, without the address' parameters or the key: the library's own words have both."""
        where = self._access.shown
        if error.response is None:
            return BillhouseError(
                f"{where} cannot be reached ({type(error).__name__}).", "What was collected is kept; call this again."
            )
        status = error.response.status_code
        if status in (401, 403):
            variable = self._access.key_variable
            held = f"the key in {variable}" if variable else "a request without a key"
            return BillhouseError(f"{where} refuses {held} ({status}).", "Name the variable that holds one with --api-key-env.")
        if status == 429:
            return BillhouseError(f"{where} has had too many requests (429).", "Call this again later: it goes on where it was.")
        return NotFoundError(where) if status == 404 else BillhouseError(f"{where} answered {status}.", "Call this again later.")


def as_line(row: Any) -> bytes:
    """A row of an answer as a line of JSON, its numbers as they came."""
    text: str = simplejson.dumps(row, use_decimal=True, allow_nan=True)
    return text.encode()


class NotFoundError(BillhouseError):
    """There is nothing at that address."""

    def __init__(self, where: str) -> None:
        super().__init__(f"{where} is not there (404).", "Check --url.")


def _check_address(access: Access) -> None:
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
    if parts.scheme == "http" and access.key_variable and not is_loopback(parts.hostname):
        raise WrongUsageError(f"{access.shown} is not encrypted: everybody on the way could read the key.", "Write https://.")


def _auth(access: Access) -> AuthConfigBase | None:
    if access.key_variable is None:
        return None
    key = os.environ.get(access.key_variable, "").strip()
    if not key:
        raise WrongUsageError(
            f"{access.key_variable} is not set.", f"Call this with the API's key in the variable {access.key_variable}."
        )
    remember_secret(key)
    if access.key_header.lower() == "authorization":
        return BearerTokenAuth(token=key)
    return APIKeyAuth(name=access.key_header, api_key=key, location="header")
