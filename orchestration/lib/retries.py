"""Which failed steps Dagster retries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from pipeline.ledger.verify import LedgerChangedError
from pipeline.warehouse.build_steps import BuildFailedError

EXTERNAL_CALL_RETRY_POLICY = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""Retry after about 10, 20 and 40 seconds. Single requests to Stripe and to alert receivers are retried before that."""


@contextmanager
def fail_without_retry() -> Iterator[None]:
    """Fail the step without a retry if a check has failed: it would fail again."""
    try:
        yield
    except (BuildFailedError, LedgerChangedError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
