"""What a deployment may set, from the environment (BILLHOUSE_...). Secrets of Stripe are read by pipeline.stripe alone."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.errors import BillhouseError


class Settings(BaseSettings):
    """Settings with their defaults; each is read from BILLHOUSE_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="BILLHOUSE_")

    close_grace_hours: int = Field(default=48, ge=0)
    """How long after a month's end it may be closed: late events have until then. Billing rules, section 7."""
    heartbeat_timeout_seconds: int | None = Field(default=None, gt=0)
    """For collectors that tick: a longer silence ends a session. Off by default. Billing rules, section 4."""

    adjustment_limit_share: Decimal = Field(default=Decimal("0.05"), ge=0)
    """A close that would correct closed months by more than this share of what they billed stops and asks."""

    auto_approve_under: dict[str, Decimal] = Field(default_factory=dict)
    """By currency: invoices of a smaller total need nobody's approval, as {"USD": "500"}. None by default. Section 7."""
    stripe_requests_per_second: int | None = Field(default=None, gt=0, le=100)
    """How fast Stripe is asked; a little under its limits (100 live, 25 in test mode) by default."""

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
