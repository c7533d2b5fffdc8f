"""The connection to an API that is collected from: paged, patient, and careful with its key.

dlt's REST client follows the pages and asks again, with growing pauses or after as long as `Retry-After` says, where the answer
is 429 or 5xx or none came. Numbers stay as they were written: no digit goes through a float.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, cast
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

from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.core.loopback import is_local_address, is_loopback, without_proxy
from pipeline.core.network_bounds import AnswerTooLargeError, BoundedAdapter
from pipeline.core.plain_text import remember_secret

TIMEOUT_SECONDS = 60
ANSWER_SECONDS = 120
"""For one answer in all, however steadily it drips."""
ANSWER_BYTES = 16 << 20
"""For one answer, once decompressed: 10,000 usual rows are a fifth of it. As objects of Python it is up to 25 times as much."""
ADDRESS_LENGTH = 4096
"""The characters of a next page's address or cursor."""
ATTEMPTS = 6
LONGEST_PAUSE_SECONDS = 300
"""Also where `Retry-After` or `RateLimit-Reset` ask for more: a run that fails for it goes on where it was."""
_INT_DIGITS = 100


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
        for scheme in ("http://", "https://"):
            session.mount(scheme, BoundedAdapter(seconds=ANSWER_SECONDS, most_bytes=ANSWER_BYTES))
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
            except ValueError:  # a next page's address that cannot be taken apart
                raise self._unusable_next_page() from None
            if page is None:
                return
            self._check_next(page)
            yield page

    def _body(self, response: requests.Response) -> Any:
        try:
            return simplejson.loads(response.content.decode("utf-8"), use_decimal=True, parse_int=_whole_number)
        except ValueError:
            raise BillhouseError(
                f"{self._access.shown} answered with something that is no JSON ({len(response.content):,} bytes).",
                "See that --url is the API's address, and not a page for people.",
            ) from None
        except RecursionError:
            raise BillhouseError(
                f"{self._access.shown} answered with JSON that is nested too deep to read.",
                "Nothing of this page was collected. Ask whoever runs the API.",
            ) from None

    def _check_next(self, page: PageData[Any]) -> None:
        """Refuse a page whose next page cannot be asked for: neither may become a position."""
        request = page.request
        if not page.paginator.has_next_page:
            return
        try:
            urlsplit(str(request.url))
            self._check_stays(str(request.url))
            self._client.session.prepare_request(request)
            values = [str(request.url), *_params(request).values()]
            is_usable = all(_is_position(value) for value in values)
        except (requests.RequestException, ValueError):
            is_usable = False
        if not is_usable:
            raise self._unusable_next_page()

    def _unusable_next_page(self) -> BillhouseError:
        return BillhouseError(
            f"{self._access.shown} names a next page that cannot be asked for.",
            "Nothing of the page that names it was collected, and the next run asks for it again. Ask whoever runs the API.",
        )

    def _heed_limits(self, response: requests.Response) -> None:
        """`RateLimit-Remaining` and `RateLimit-Reset` (in seconds), where an API has them: wait before it has to say 429."""
        headers = response.headers
        if "Retry-After" in headers:
            headers["Retry-After"] = str(math.ceil(_pause_seconds(headers["Retry-After"])))
        if headers.get("RateLimit-Remaining") == "0" and headers.get("RateLimit-Reset", "").isdecimal():
            self._free_at = time.monotonic() + _pause_seconds(headers["RateLimit-Reset"])

    def _take_turn(self) -> None:
        time.sleep(max(0.0, self._free_at - time.monotonic()))
        self._limiter.try_acquire("api")

    def _check_stays(self, address: str) -> None:
        try:
            ours, theirs = urlsplit(self._access.url), urlsplit(address)
        except ValueError:
            raise BillhouseError(
                "The position that was kept of this source is no address.",
                "Remove its file in the home's folder collecting/ to collect everything again: landing knows what has landed.",
            ) from None
        if theirs.netloc and (theirs.scheme, theirs.netloc) != (ours.scheme, ours.netloc):
            raise BillhouseError(
                f"The next page is said to be at {theirs.hostname}, and not at {ours.hostname}.",
                "Nothing was asked there: the key is for one address. Ask whoever runs the API.",
            )

    def _failure(self, error: requests.RequestException) -> BillhouseError:
        """What went wrong, without the address' parameters or the key: the library's own words have both."""
        where = self._access.shown
        if isinstance(error, AnswerTooLargeError):
            return BillhouseError(
                f"{where} answered with more than {ANSWER_BYTES >> 20} MB for one page.",
                "Nothing of this page was collected. Ask for fewer rows a page, with a parameter of the API's in --url.",
            )
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
    """A row of an answer as a line of JSON, its numbers as they came. Raises BillhouseError where it is nested too deep."""
    try:
        text: str = simplejson.dumps(row, use_decimal=True, allow_nan=True)
    except RecursionError:
        raise BillhouseError(
            "The API answered with a row that is nested too deep to write.",
            "Nothing of its page was collected. Ask whoever runs the API.",
        ) from None
    return text.encode()


def _whole_number(text: str) -> int | Decimal:
    """Whole numbers as they came: Python makes no int of thousands of digits, and landing says what is wrong with them."""
    return int(text) if len(text) <= _INT_DIGITS else Decimal(text)


def _params(request: requests.Request) -> dict[str, Any]:
    return cast(dict[str, Any], request.params or {})


def _pause_seconds(written: str) -> float:
    """What a header asks for, in seconds or as a date, at most the longest pause; 0 where it cannot be read.

    The library that waits fails on what is no date, and Python on a number of thousands of digits.
    """
    try:
        if written.strip().isdecimal():
            seconds = float(written)  # beyond what a float holds it is infinite
        else:
            seconds = (parsedate_to_datetime(written) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return 0
    return float(min(max(seconds, 0), LONGEST_PAUSE_SECONDS))


def _is_position(value: object) -> bool:
    """Whether a next page's address or cursor can be kept, and be sent again as it came."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return False
    text = str(value)
    return 0 < len(text) <= ADDRESS_LENGTH and not re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", text)


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
