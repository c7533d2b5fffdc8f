"""The lengths that Stripe takes, enforced as Stripe does: docs.stripe.com/api/metadata, and each parameter's own page."""

from __future__ import annotations

from pipeline.stripe_emulator.errors import RefusalError
from pipeline.stripe_emulator.store import Object

MOST_METADATA = 50
LONGEST_METADATA_NAME = 40
LONGEST_METADATA = 500
LONGEST_KEY = 255
_LONGEST = {"name": 256, "email": 512, "description": 1500}
_LONGEST_OF_LINES = {"description": 500}


def check_idempotency_key(key: str) -> None:
    """Raises RefusalError for a key that is too long."""
    if len(key) > LONGEST_KEY:
        raise RefusalError(f"Idempotency keys may be at most {LONGEST_KEY} characters long; this one has {len(key)}.")


def check_address(params: Object) -> None:
    """Raises RefusalError for an e-mail address that is none. Stripe does not publish its rule; this one is narrow."""
    address = params.get("email", "")
    local, at, host = str(address).rpartition("@")
    if address and not (at and local and "." in host and address.isascii() and address.isprintable() and " " not in address):
        raise RefusalError(f"Invalid email address: {address}", code="email_invalid", param="email")


def check_lengths(params: Object) -> None:
    """Raises RefusalError for the first parameter that is too long, those of lines included."""
    _check(params, _LONGEST, "")
    lines = params.get("lines", [])
    for number, line in enumerate(lines if isinstance(lines, list) else []):
        if isinstance(line, dict):
            _check(line, _LONGEST_OF_LINES, f"lines[{number}]")


def _check(params: Object, longest: dict[str, int], within: str) -> None:
    for name, most in longest.items():
        _check_length(params.get(name), most, f"{within}[{name}]" if within else name)
    metadata = params.get("metadata") or {}
    if not isinstance(metadata, dict):
        return
    if len(metadata) > MOST_METADATA:
        raise RefusalError(f"You can only have up to {MOST_METADATA} keys for metadata.", param=f"{within}metadata")
    for name, value in metadata.items():
        if len(name) > LONGEST_METADATA_NAME:
            raise RefusalError(
                f"Invalid metadata key: keys may have up to {LONGEST_METADATA_NAME} characters.", param=f"{within}metadata"
            )
        _check_length(value, LONGEST_METADATA, f"{within}metadata[{name}]")


def _check_length(value: object, most: int, param: str) -> None:
    if isinstance(value, str) and len(value) > most:
        raise RefusalError(
            f"Invalid string: {value[:20]}...; must be at most {most} characters", param=param, code="parameter_invalid_string"
        )
