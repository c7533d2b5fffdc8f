"""The connection to an API that is collected from: paged, retried, and careful with its key.

A request is repeated, after growing pauses or after as long as `Retry-After` says, where the answer is 429 or 5xx or none came.
Numbers stay as they were written: no digit goes through a float.
"""

from __future__ import annotations

import importlib.metadata
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import httpx
import simplejson
from pyrate_limiter import Duration, Limiter, Rate
from tenacity import RetryCallState, Retrying, retry_if_exception, retry_if_result, stop_after_attempt, wait_exponential

from pipeline.core.errors import BillhouseError
from pipeline.core.http_client import AnswerTooLargeError, bounded_client, environment_proxy, is_network_error
from pipeline.feeds.access import Access, check_address, secret_headers
from pipeline.feeds.paging import Answer, PageRequest, Paging, values_at

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
class Page:
    """The rows of one answer, and what asks for the next page; None on the last."""

    rows: list[Any]
    next_request: PageRequest | None
    says_whether_more_follows: bool = True
    """Whether the answer has the place where a next page is named."""


class Api:
    """An API that answers in JSON. A context manager: leaving it closes the connections."""

    def __init__(self, access: Access) -> None:
        """Raises WrongUsageError where the address or the key's variable cannot be used."""
        self._access = access
        self._limiter = Limiter(Rate(access.requests_per_second, Duration.SECOND))
        self._free_at = 0.0
        check_address(access)
        headers = secret_headers(access)
        self._client = bounded_client(
            access.url,
            timeout=TIMEOUT_SECONDS,
            seconds=ANSWER_SECONDS,
            most_bytes=ANSWER_BYTES,
            proxy=environment_proxy(access.url),
        )
        self._client.headers.update({"User-Agent": f"billhouse/{importlib.metadata.version('billhouse')}", **headers})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._limiter.close()

    def pages(self, request: PageRequest, rows_at: str, paging: Paging) -> Iterator[Page]:
        """The pages of a list, from the one that is requested; the list lies at the JSON path `rows_at` in each answer.

        Raises BillhouseError. A page elsewhere than at the API itself is not asked for: the key would go there.
        """
        following: PageRequest | None = request
        while following is not None:
            request = following
            address = self._address(request)
            response = self._get(address)
            body = self._body(response)
            found = values_at(rows_at, body)
            if not found or not all(isinstance(rows, list) for rows in found):
                raise BillhouseError(
                    f"{self._access.shown} answered without a list at '{rows_at}'.", "Check the answer, --rows-at and --url."
                )
            links = {relation: link["url"] for relation, link in response.links.items() if relation and "url" in link}
            answer = Answer(address, response.headers, links, body)
            try:
                following = paging.next_request(request, answer)
            except ValueError:  # a next page's address that cannot be taken apart
                raise self._unusable_next_page() from None
            if following is not None:
                self._check_next(following)
            yield Page([row for rows in found for row in rows], following, paging.says_whether_more_follows(answer))

    def document(self, request: PageRequest) -> Any:
        """The JSON of one answer that is not a list. Raises BillhouseError."""
        return self._body(self._get(self._address(request)))

    def _address(self, request: PageRequest) -> str:
        self._check_stays(request.address)
        address = request.address
        if urlsplit(address).scheme not in ("http", "https"):
            address = f"{self._access.url.rstrip('/')}/{address.lstrip('/')}"
        if request.parameters:
            address += ("&" if urlsplit(address).query else "?") + urlencode(request.parameters)
        return address

    def _get(self, address: str) -> httpx.Response:
        """GET with retries; returns a response without an error status. Raises BillhouseError."""
        self._take_turn()
        retrying = Retrying(
            retry=retry_if_exception(_may_pass)
            | retry_if_result(lambda answer: answer.status_code == 429 or answer.is_server_error),
            wait=_pause_before_retry,
            stop=stop_after_attempt(ATTEMPTS),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        try:
            response: httpx.Response = retrying(self._attempt, address)
        except httpx.HTTPError as error:
            raise self._failure(error) from None
        except (httpx.InvalidURL, ValueError):  # ValueError: a host name that cannot be encoded
            raise self._unusable_next_page() from None
        if response.is_error:
            raise self._refusal(response.status_code)
        if response.is_redirect:
            raise BillhouseError(f"{self._access.shown} redirects to another address.", "Name that address with --url.")
        return response

    def _attempt(self, address: str) -> httpx.Response:
        response = self._client.get(address)
        if response.headers.get("RateLimit-Remaining") == "0" and response.headers.get("RateLimit-Reset", "").isdecimal():
            # In seconds: wait before the API has to answer 429.
            self._free_at = time.monotonic() + _pause_seconds(response.headers["RateLimit-Reset"])
        return response

    def _body(self, response: httpx.Response) -> Any:
        try:
            return simplejson.loads(response.content.decode("utf-8"), use_decimal=True, parse_int=_whole_number)
        except ValueError:
            raise BillhouseError(
                f"{self._access.shown} did not answer with JSON ({len(response.content):,} bytes).",
                "Check that --url is the address of the API.",
            ) from None
        except RecursionError:
            raise BillhouseError(
                f"{self._access.shown} answered with JSON that is nested too deep to read.",
                "Nothing of this page was collected. Ask the operator of the API.",
            ) from None

    def _check_next(self, request: PageRequest) -> None:
        """Refuse a page whose next page cannot be requested, because neither may become a position."""
        try:
            urlsplit(request.address)
            address = httpx.URL(self._address(request))
            is_usable = bool(address.host) and all(map(_is_position, (request.address, *request.parameters.values())))
        except (httpx.InvalidURL, ValueError):
            is_usable = False
        if not is_usable:
            raise self._unusable_next_page()

    def _unusable_next_page(self) -> BillhouseError:
        return BillhouseError(
            f"{self._access.shown} names a next page that cannot be requested.",
            "Nothing of that page was collected; the next run requests it again. Ask the operator of the API.",
        )

    def _take_turn(self) -> None:
        time.sleep(max(0.0, self._free_at - time.monotonic()))
        self._limiter.try_acquire("api")

    def _check_stays(self, address: str) -> None:
        try:
            ours, theirs = urlsplit(self._access.url), urlsplit(address)
        except ValueError:
            raise BillhouseError(
                "The stored position of this source is not an address.",
                "Delete its file in the home's folder collecting/ to collect everything again; landing drops duplicates.",
            ) from None
        if theirs.netloc and (theirs.scheme, theirs.netloc) != (ours.scheme, ours.netloc):
            raise BillhouseError(
                f"The next page is at another host: {theirs.hostname} instead of {ours.hostname}.",
                "It was not requested: the key is for one address. Ask the operator of the API.",
            )

    def _failure(self, error: httpx.HTTPError) -> BillhouseError:
        """The error without the library's text, which may contain the key or parameters of the address."""
        where = self._access.shown
        if isinstance(error, AnswerTooLargeError):
            return BillhouseError(
                f"{where} answered with more than {ANSWER_BYTES >> 20} MB for one page.",
                "Nothing of this page was collected. Request fewer rows per page, with a parameter of the API in --url.",
            )
        return BillhouseError(
            f"{where} cannot be reached ({type(error).__name__}).",
            "Run this command again: collected rows are not collected twice.",
        )

    def _refusal(self, status: int) -> BillhouseError:
        where = self._access.shown
        if status in (401, 403):
            variables = " and ".join(self._access.variables)
            held = f"the key in {variables}" if variables else "a request without a key"
            return BillhouseError(f"{where} refuses {held} ({status}).", "Name the variable that holds one with --api-key-env.")
        if status == 429:
            return BillhouseError(
                f"{where} has had too many requests (429).", "Run this command again later: it continues where it stopped."
            )
        return (
            NotFoundError(where)
            if status == 404
            else BillhouseError(f"{where} answered {status}.", "Run this command again later.")
        )


def as_line(row: Any) -> bytes:
    """A row of an answer as a line of JSON, with unchanged numbers. Raises BillhouseError if it is nested too deeply."""
    try:
        text: str = simplejson.dumps(row, use_decimal=True, allow_nan=True)
    except RecursionError:
        raise BillhouseError(
            "The API answered with a row that is nested too deep to write.",
            "Nothing of its page was collected. Ask the operator of the API.",
        ) from None
    return text.encode()


def _whole_number(text: str) -> int | Decimal:
    """A whole number, unchanged. Python converts no text of thousands of digits to int; landing rejects such numbers."""
    return int(text) if len(text) <= _INT_DIGITS else Decimal(text)


def _may_pass(error: BaseException) -> bool:
    """Whether a retry can succeed: no answer or a partial one. A retry cannot help if it is too large or cannot be decoded."""
    return is_network_error(error) and not isinstance(error, httpx.DecodingError)


def _pause_before_retry(state: RetryCallState) -> float:
    """The seconds of `Retry-After`, otherwise 1, 2, 4 ...; at most LONGEST_PAUSE_SECONDS."""
    asked = 0.0
    if state.outcome is not None and not state.outcome.failed:
        asked = _pause_seconds(state.outcome.result().headers.get("Retry-After", ""))
    return asked or wait_exponential(multiplier=1, max=LONGEST_PAUSE_SECONDS)(state)


def _pause_seconds(written: str) -> float:
    """The pause of a header, in seconds or as a date, at most LONGEST_PAUSE_SECONDS; 0 if it is invalid."""
    try:
        if written.strip().isdecimal():
            seconds = float(written)  # beyond what a float holds it is infinite
        else:
            seconds = (parsedate_to_datetime(written) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return 0
    return float(min(max(seconds, 0), LONGEST_PAUSE_SECONDS))


def _is_position(value: object) -> bool:
    """Whether a next page's address or cursor can be stored and sent again unchanged."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return False
    text = str(value)
    return 0 < len(text) <= ADDRESS_LENGTH and not re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", text)


class NotFoundError(BillhouseError):
    """The API answered 404."""

    def __init__(self, where: str) -> None:
        super().__init__(f"{where} was not found (404).", "Check --url.")
