"""Settings of a deployment, from environment variables BILLHOUSE_<NAME>. Stripe's keys are read by pipeline.stripe.

Settings with `exclude=True` do not affect the result of a build, and are not part of the fingerprint of its inputs.
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
    """Settings with their defaults. An empty environment variable counts as not set."""

    model_config = SettingsConfigDict(env_prefix="BILLHOUSE_", env_ignore_empty=True)

    first_billing_month: Annotated[str, AfterValidator(_billing_month)] = "2026-01"
    """The first month that is billed, YYYY-MM: nothing is due before it. Billing rules, section 2."""
    close_grace_hours: int = Field(default=48, ge=0)
    """Hours after the end of a month before it can be closed, for late events. Billing rules, section 7."""
    heartbeat_timeout_seconds: int | None = Field(default=None, gt=0)
    """For sandboxes that send `sandbox_heartbeat`: a longer silence ends a session. Off by default. Billing rules, section 4."""

    land_min_accepted_share: Decimal = Field(default=Decimal("0.5"), ge=0, le=1, exclude=True)
    """If the share of accepted rows of a file is smaller, or zero, the landing fails after all files have landed."""

    raw_files_per_day: int = Field(default=32, ge=1, exclude=True)
    """Small raw files (below 16 MB) that a UTC day of usage, or `landed_files`, may have before a landing merges them."""

    adjustment_limit_share: Decimal = Field(default=Decimal("0.05"), ge=0)
    """A close that would adjust closed months by more than this share of their totals stops and asks for confirmation."""

    auto_approve_under: dict[str, Decimal] = Field(default_factory=dict)
    """By currency: invoices with a smaller total need no approval, as {"USD": "500"}. Off by default. Section 7."""
    stripe_live: bool = Field(default=False, exclude=True)
    """Whether Dagster runs may use a live Stripe key. The command line requires --live instead."""
    automate: bool = Field(default=False, exclude=True)
    """Whether Dagster's schedules and sensors are on by default; otherwise each is switched on in the UI."""
    ui_hosts: str = Field(default="", exclude=True)
    """Accepted host names of the Dagster UI besides loopback, comma-separated: those of a reverse proxy."""
    stripe_requests_per_second: int | None = Field(default=None, gt=0, le=100)
    """Maximum rate of requests to Stripe; by default a little below its limits (100 live, 25 in test mode)."""

    receive_gather_milliseconds: int = Field(default=100, ge=0, le=10_000, exclude=True)
    """`billhouse receive` writes what arrives within this time as one file with one sync. docs/operate/receiving.md."""
    receive_max_body_mb: int = Field(default=4, ge=1, le=64, exclude=True)
    """Largest body of a request to `billhouse receive`, in MB, as sent and decompressed."""
    receive_memory_mb: int = Field(default=64, ge=8, exclude=True)
    """MB that bodies and rows may take in memory before they are in the inbox; beyond it requests get 503."""
    receive_requests_per_second: int = Field(default=1000, ge=1, exclude=True)
    """Maximum rate of requests of one key or webhook; beyond it they get 429."""
    receive_body_seconds: int = Field(default=15, ge=1, le=300, exclude=True)
    """Time in which a request's body must arrive; beyond it the request gets 408."""
    receive_min_free_mb: int = Field(default=1024, ge=0, exclude=True)
    """MB that must be free on the home's disk; below it requests get 429, so that landing and builds have room."""

    issuer_name: str = Field(default="", exclude=True)
    """Name of the company that issues the invoices, on customers' statements. docs/use/exports.md."""
    issuer_address: str = Field(default="", exclude=True)
    """Its postal address on statements: lines separated by semicolons, as `1 High Street; London EC1A 1AA`."""
    issuer_tax_id: str = Field(default="", exclude=True)
    """Its tax or VAT number on statements."""

    traceback: bool = Field(default=False, exclude=True)
    """Whether errors are shown with a traceback, for bug reports."""

    alert_webhook_url: str = Field(default="", exclude=True)
    """URL that signed alerts are POSTed to. docs/operate/alerts.md."""
    alert_webhook_secret: SecretStr | None = Field(default=None, exclude=True)
    alert_slack_url: SecretStr | None = Field(default=None, exclude=True)
    """An incoming webhook of Slack or a compatible service."""
    alert_smtp_url: SecretStr | None = Field(default=None, exclude=True)
    """smtp://user:password@host:587 (STARTTLS) or smtps://user:password@host:465."""
    alert_email_to: str = Field(default="", exclude=True)
    alert_email_from: str = Field(default="", exclude=True)
    alert_max_age_days: int = Field(default=3, ge=0, exclude=True)
    """Limits that were reached more days ago are recorded and not sent, so that loading history does not send old alerts."""

    @property
    def books_open_at(self) -> datetime:
        """The start of the first billing month, UTC."""
        return BillingPeriod.parse(self.first_billing_month).start

    @property
    def alert_channels(self) -> list[str]:
        """The channels whose address is set, valid or not."""
        configured = {
            "webhook": bool(self.alert_webhook_url),
            "slack": self.alert_slack_url is not None,
            "email": self.alert_smtp_url is not None,
        }
        return [name for name, is_configured in configured.items() if is_configured]

    @property
    def close_grace(self) -> timedelta:
        return timedelta(hours=self.close_grace_hours)

    @classmethod
    def load(cls) -> Settings:
        """Read the settings from the environment. Raises BillhouseError that names the invalid variable."""
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            name = "BILLHOUSE_" + str(first["loc"][0]).upper()
            raise BillhouseError(f"Invalid setting {name}: {first['msg']}.", "Correct or unset it.") from None
        except SettingsError:
            raise BillhouseError(
                "Invalid setting BILLHOUSE_AUTO_APPROVE_UNDER: not JSON.",
                """Write amounts by currency, as {"USD": "500"}.""",
            ) from None
