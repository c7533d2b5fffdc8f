"""Reads an SQS queue, standard or FIFO, with `boto3`: messages are deleted after they are durable in the inbox.

SQS delivers a message again if it is not deleted within its visibility timeout. Region and credentials are those of the AWS
tools: the environment, a profile or the machine's role.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.feeds.queues.clients import client_library

_MESSAGES_AT_ONCE = 10
"""The most that SQS takes or gives in a request."""
_HELD_MESSAGES = 10_000
"""Received and not deleted yet: a FIFO queue allows 20,000."""
_TRIES = 3
_LONGEST_WAIT_SECONDS = 20


@dataclass(frozen=True)
class SqsQueue:
    """A queue by its URL."""

    url: str
    redeliver_after_seconds: int = 120
    """The visibility timeout of received messages."""

    @property
    def place(self) -> tuple[str, ...]:
        return ("sqs", self.url)

    @contextmanager
    def opened(self, position: Any, report_loss: Callable[[str], None]) -> Iterator[QueueReader]:
        """Make a client. SQS stores the position. Raises BillhouseError."""
        boto3 = client_library("boto3", "sqs")
        errors = client_library("botocore.exceptions", "sqs")
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise WrongUsageError(
                f"'{self.url}' is not the URL of a queue.", "Write https://sqs.REGION.amazonaws.com/ACCOUNT/NAME."
            )
        with _plain_errors(errors):
            # The region of the URL; otherwise that of the environment.
            region = re.match(r"(?:sqs\.([a-z0-9-]+)|([a-z0-9-]+)\.queue)\.amazonaws\.com", urlsplit(self.url).hostname or "")
            config = client_library("botocore.config", "sqs").Config(retries={"mode": "standard", "max_attempts": 5})
            client = boto3.client("sqs", region_name=(region[1] or region[2]) if region else None, config=config)
            try:
                yield QueueReader(client, errors, self)
            finally:
                client.close()


class QueueReader:
    """Receives messages, and deletes them when they are acknowledged."""

    position: Any = None

    def __init__(self, client: Any, errors: Any, queue: SqsQueue) -> None:
        self._client = client
        self._errors = errors
        self._queue = queue
        self._receipts: list[str] = []
        self.hold_seconds: float | None = queue.redeliver_after_seconds / 3
        self.is_drained = False

    @property
    def is_full(self) -> bool:
        return len(self._receipts) >= _HELD_MESSAGES

    def receive(self, most: int, wait_seconds: float) -> Sequence[bytes | None]:
        """Receive with a long poll, which asks all of SQS's servers. Messages may come in any order."""
        if self.is_full:
            return []
        with _plain_errors(self._errors):
            answer = self._client.receive_message(
                QueueUrl=self._queue.url,
                MaxNumberOfMessages=max(1, min(most, _MESSAGES_AT_ONCE)),
                WaitTimeSeconds=min(max(1, round(wait_seconds)), _LONGEST_WAIT_SECONDS),
                VisibilityTimeout=self._queue.redeliver_after_seconds,
            )
        messages = answer.get("Messages", [])
        # The groups of a FIFO queue with messages in flight are blocked: empty means empty only where none are.
        self.is_drained = not messages and not self._receipts
        self._receipts += [message["ReceiptHandle"] for message in messages]
        return [message["Body"].encode(errors="surrogatepass") for message in messages]

    def acknowledge(self) -> list[str]:
        """Delete the received messages. What cannot be deleted is delivered again, and landing drops the duplicates."""
        reasons: list[str] = []
        with _plain_errors(self._errors):
            for start in range(0, len(self._receipts), _MESSAGES_AT_ONCE):
                reasons += self._delete(self._receipts[start : start + _MESSAGES_AT_ONCE])
        self._receipts = []
        return [f"{len(reasons):,} messages could not be deleted and will come again ({reasons[0]})."] if reasons else []

    def _delete(self, receipts: list[str]) -> list[str]:
        """Delete up to ten messages; returns why each of the others was not deleted."""
        waiting = {str(place): receipt for place, receipt in enumerate(receipts)}
        failed: list[dict[str, Any]] = []
        for attempt in range(_TRIES):
            entries = [{"Id": place, "ReceiptHandle": receipt} for place, receipt in waiting.items()]
            answer = self._client.delete_message_batch(QueueUrl=self._queue.url, Entries=entries)
            failed = answer.get("Failed", [])
            waiting = {failure["Id"]: waiting[failure["Id"]] for failure in failed if not failure.get("SenderFault")}
            if not waiting:
                break
            time.sleep(0.1 * 2**attempt)
        return [str(failure.get("Code", "unknown")) for failure in failed]


@contextmanager
def _plain_errors(errors: Any) -> Iterator[None]:
    try:
        yield
    except (errors.BotoCoreError, errors.ClientError) as error:
        raise BillhouseError(
            f"SQS: {error}", "Check --url, the region and the credentials of AWS; then run this command again."
        ) from None
