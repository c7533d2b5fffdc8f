"""Variables of the environment that feeds may read: none of Billhouse's own secrets, since a feed sends them to its server."""

from __future__ import annotations

import os

from pipeline.core.errors import WrongUsageError
from pipeline.core.plain_text import remember_secret

_OWN = ("STRIPE_API_KEY", "DAGSTER_POSTGRES_URL")
_ALERTS = "BILLHOUSE_ALERT_"


def secret_of_feed(variable: str, what: str) -> str:
    """The secret in a variable, redacted from all output from now on. `what` it is, as "the API's key", for the error.

    Raises WrongUsageError if the variable is not set, or is one of Billhouse's own secrets.
    """
    if variable in _OWN or variable.startswith(_ALERTS):
        raise WrongUsageError(f"{variable} is a secret of Billhouse itself.", "Put the feed's secret into a variable of its own.")
    secret = os.environ.get(variable, "").strip()
    if not secret:
        raise WrongUsageError(f"{variable} is not set.", f"Call this with {what} in the environment variable {variable}.")
    remember_secret(secret)
    return secret


def environment_of_feed(*, raises_alerts: bool) -> dict[str, str]:
    """The environment of a feed's process, without Billhouse's own secrets.

    `raises_alerts`: the process raises its alerts itself, as a service does, and needs the channels to send them to.
    """
    return {
        name: value for name, value in os.environ.items() if name not in _OWN and (raises_alerts or not name.startswith(_ALERTS))
    }
