"""Variables of the environment that feeds may read: none of Billhouse's own secrets, since a feed sends them to its server."""

from __future__ import annotations

import os

from pipeline.core.errors import WrongUsageError

_OWN = ("STRIPE_API_KEY", "DAGSTER_POSTGRES_URL")
_ALERTS = "BILLHOUSE_ALERT_"


def variable_of_feed(name: str) -> str:
    """The text in a variable, '' without one. Raises WrongUsageError if the variable is one of Billhouse's own secrets."""
    if name in _OWN or name.startswith(_ALERTS):
        raise WrongUsageError(f"{name} is a secret of Billhouse itself.", "Put the feed's secret into a variable of its own.")
    return os.environ.get(name, "").strip()


def environment_of_feed(*, raises_alerts: bool) -> dict[str, str]:
    """The environment of a feed's process, without Billhouse's own secrets.

    `raises_alerts`: the process raises its alerts itself, as a service does, and needs the channels to send them to.
    """
    return {
        name: value for name, value in os.environ.items() if name not in _OWN and (raises_alerts or not name.startswith(_ALERTS))
    }
