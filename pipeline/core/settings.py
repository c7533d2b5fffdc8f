"""The settings of a deployment, from the environment (BILLHOUSE_...). Only pipeline.stripe reads Stripe's key.

A field with `exclude=True` does not affect the result of a build and is not part of the digest of its inputs. The docstrings are
the configuration reference (docs/reference/configuration.md): `make reference`.
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
    """Settings with their defaults; each is read from BILLHOUSE_<NAME>. An empty value counts as unset."""

    model_config = SettingsConfigDict(env_prefix="BILLHOUSE_", env_ignore_empty=True)

    first_billing_month: Annotated[str, AfterValidator(_billing_month)] = "2026-01"
    """The month in which the books open: nothing is due before it. Never later than a closed month. Billing rules, section 2."""
    close_grace_hours: int = Field(default=48, ge=0)
    """Hours after a month's end before it may be closed, for late events. Billing rules, section 7."""
    heartbeat_timeout_seconds: int | None = Field(default=None, gt=0)
    """For collectors that send heartbeats: a longer silence ends a session. Off by default. Billing rules, section 4."""

    land_min_accepted_share: Decimal = Field(default=Decimal("0.5"), ge=0, le=1, exclude=True)
    """If a smaller share of a file's rows is accepted, or no row, `billhouse land` fails after all files have landed."""

    adjustment_limit_share: Decimal = Field(default=Decimal("0.05"), ge=0)
    """A close that would correct closed months by more than this share of their billed amount stops and shows the changes."""

    auto_approve_under: dict[str, Decimal] = Field(default_factory=dict)
    """Invoices with a smaller total are approved automatically; JSON, `{"USD": "500"}`. Billing rules, section 7."""
    stripe_live: bool = Field(default=False, exclude=True)
    """Whether Dagster's runs may use a live Stripe key: real invoices. The command line requires --live instead."""
    automate: bool = Field(default=False, exclude=True)
    """Whether Dagster's schedules and sensors are enabled from the start; otherwise each is enabled in the UI."""
    ui_hosts: str = Field(default="", exclude=True)
    """Comma-separated host names under which the Dagster UI may be requested, in addition to the loopback: the proxy's site."""
    stripe_requests_per_second: int | None = Field(default=None, gt=0, le=100)
    """The most requests a second to Stripe, at most 100. Default: 80 live, 20 in test mode, a fifth below Stripe's limits."""

    traceback: bool = Field(default=False, exclude=True)
    """Whether a failure is shown with its traceback, for a bug report."""

    alert_webhook_url: str = Field(default="", exclude=True)
    """The address to which signed alerts are POSTed. All channels: docs/operate/alerts.md."""
    alert_webhook_secret: SecretStr | None = Field(default=None, exclude=True)
    """The secret that signs them: whsec_ and at least 24 random bytes in base64."""
    alert_slack_url: SecretStr | None = Field(default=None, exclude=True)
    """An incoming webhook of Slack, or of a compatible service."""
    alert_smtp_url: SecretStr | None = Field(default=None, exclude=True)
    """`smtp://user:password@host:587` (STARTTLS) or `smtps://user:password@host:465`."""
    alert_email_to: str = Field(default="", exclude=True)
    """Addresses that get alerts by mail; several with commas."""
    alert_email_from: str = Field(default="", exclude=True)
    """The sender's address."""
    alert_max_age_days: int = Field(default=3, ge=0, exclude=True)
    """A limit that was reached longer ago when it is first seen is not sent: loading history must not flood the channels."""

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
        """The settings of this environment. Raises BillhouseError with the name of a wrong variable."""
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
