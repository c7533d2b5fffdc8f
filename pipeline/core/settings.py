"""What a deployment may set, from the environment (BILLHOUSE_...). Secrets of Stripe are read by pipeline.stripe alone.

What is excluded from a dump says nothing about what a build comes to: it is no part of the fingerprint of its inputs.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.core.periods import BillingPeriod

_EARLIEST_MONTH = BillingPeriod(1970, 1)


def _billing_month(text: str) -> str:
    try:
        month = BillingPeriod.parse(text)
    except WrongUsageError:
        raise ValueError("write a month as YYYY-MM, for example 2026-01") from None
    if month < _EARLIEST_MONTH:
        raise ValueError(f"write a month from {_EARLIEST_MONTH} on")
    return text


class Settings(BaseSettings):
    """Settings with their defaults; each is read from BILLHOUSE_<NAME>. An empty one is as one that is not set."""

    model_config = SettingsConfigDict(env_prefix="BILLHOUSE_", env_ignore_empty=True)

    first_billing_month: Annotated[str, AfterValidator(_billing_month)] = "2026-01"
    """The books open with this month, YYYY-MM: nothing is due before it. Billing rules, section 2."""
    close_grace_hours: int = Field(default=48, ge=0)
    """How long after a month's end it may be closed: late events have until then. Billing rules, section 7."""
    heartbeat_timeout_seconds: int | None = Field(default=None, gt=0)
    """For collectors that tick: a longer silence ends a session. Off by default. Billing rules, section 4."""

    land_min_accepted_share: Decimal = Field(default=Decimal("0.5"), ge=0, le=1, exclude=True)
    """A file of which a smaller share of rows is accepted, or none is, makes the landing fail once all files have landed."""

    adjustment_limit_share: Decimal = Field(default=Decimal("0.05"), ge=0)
    """A close that would correct closed months by more than this share of what they billed stops and asks."""

    auto_approve_under: dict[str, Decimal] = Field(default_factory=dict)
    """By currency: invoices of a smaller total need nobody's approval, as {"USD": "500"}. None by default. Section 7."""
    stripe_live: bool = Field(default=False, exclude=True)
    """Whether what Dagster runs may use a live key: real customers, real invoices. The command line asks for --live instead."""
    automate: bool = Field(default=False, exclude=True)
    """Whether Dagster's schedules and sensors run from the start; else each is switched on in its UI."""
    ui_hosts: str = Field(default="", exclude=True)
    """Names, comma-separated, by which the Dagster UI may be asked for besides this machine's loopback: the proxy's site."""
    stripe_requests_per_second: int | None = Field(default=None, gt=0, le=100)
    """How fast Stripe is asked; a little under its limits (100 live, 25 in test mode) by default."""

    traceback: bool = Field(default=False, exclude=True)
    """Whether a failure is shown with its traceback, for a report; else in words alone."""

    alert_webhook_url: str = Field(default="", exclude=True)
    """Where alerts are POSTed, signed. docs/operate/alerts.md."""
    alert_webhook_secret: SecretStr | None = Field(default=None, exclude=True)
    alert_slack_url: SecretStr | None = Field(default=None, exclude=True)
    """An incoming webhook of Slack or of what is compatible."""
    alert_smtp_url: SecretStr | None = Field(default=None, exclude=True)
    """smtp://user:password@host:587 (STARTTLS) or smtps://user:password@host:465."""
    alert_email_to: str = Field(default="", exclude=True)
    alert_email_from: str = Field(default="", exclude=True)
    alert_max_age_days: int = Field(default=3, ge=0, exclude=True)
    """Limits that were reached longer ago, when first seen, are kept and not sent: history that is loaded must not flood."""

    @property
    def books_open_at(self) -> datetime:
        """The first instant of the first billing month, UTC."""
        return BillingPeriod.parse(self.first_billing_month).start

    @property
    def alert_channels(self) -> list[str]:
        """The channels for which the environment has an address, valid or not."""
        given = {
            "webhook": self.alert_webhook_url,
            "slack": self.alert_slack_url is not None,
            "email": self.alert_smtp_url is not None,
        }
        return [name for name, is_given in given.items() if is_given]

    @property
    def close_grace(self) -> timedelta:
        return timedelta(hours=self.close_grace_hours)

    @classmethod
    def load(cls) -> Settings:
        """The settings in force. Raises BillhouseError that names the variable that is wrong."""
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            name = "BILLHOUSE_" + str(first["loc"][0]).upper()
            raise BillhouseError(f"The setting {name} is wrong: {first['msg']}.", "Correct or unset it.") from None
        except SettingsError:
            raise BillhouseError(
                "The setting BILLHOUSE_AUTO_APPROVE_UNDER is no JSON.", """Write amounts by currency, as {"USD": "500"}."""
            ) from None
