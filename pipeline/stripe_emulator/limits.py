"""Stripe's length limits: docs.stripe.com/api/metadata, and the reference page of each parameter."""

from __future__ import annotations

from pipeline.stripe_emulator.errors import RefusalError
from pipeline.stripe_emulator.store import Object

MAX_METADATA_KEYS = 50
MAX_METADATA_NAME = 40
MAX_METADATA_VALUE = 500
MAX_IDEMPOTENCY_KEY = 255
_MAX_LENGTHS = {"name": 256, "email": 512, "description": 1500}
_MAX_LENGTHS_OF_LINES = {"description": 500}


def check_idempotency_key(key: str) -> None:
    """Raises RefusalError for a key that is too long."""
    if len(key) > MAX_IDEMPOTENCY_KEY:
        raise RefusalError(f"Idempotency keys may be at most {MAX_IDEMPOTENCY_KEY} characters long; this one has {len(key)}.")


def check_address(params: Object) -> None:
    """Raises RefusalError for an invalid e-mail address. Stripe does not publish its rule; this one is strict."""
    address = params.get("email", "")
    local, at, host = str(address).rpartition("@")
    if address and not (at and local and "." in host and address.isascii() and address.isprintable() and " " not in address):
        raise RefusalError(f"Invalid email address: {address}", code="email_invalid", param="email")


def check_lengths(params: Object) -> None:
    """Raises RefusalError for the first parameter that is too long, including those of lines."""
    _check(params, _MAX_LENGTHS, "")
    lines = params.get("lines", [])
    for number, line in enumerate(lines if isinstance(lines, list) else []):
        if isinstance(line, dict):
            _check(line, _MAX_LENGTHS_OF_LINES, f"lines[{number}]")


def _check(params: Object, max_lengths: dict[str, int], within: str) -> None:
    for name, most in max_lengths.items():
        _check_length(params.get(name), most, f"{within}[{name}]" if within else name)
    metadata = params.get("metadata") or {}
    if not isinstance(metadata, dict):
        return
    if len(metadata) > MAX_METADATA_KEYS:
        raise RefusalError(f"You can only have up to {MAX_METADATA_KEYS} keys for metadata.", param=f"{within}metadata")
    for name, value in metadata.items():
        if len(name) > MAX_METADATA_NAME:
            raise RefusalError(
                f"Invalid metadata key: keys may have up to {MAX_METADATA_NAME} characters.", param=f"{within}metadata"
            )
        _check_length(value, MAX_METADATA_VALUE, f"{within}metadata[{name}]")


def _check_length(value: object, most: int, param: str) -> None:
    if isinstance(value, str) and len(value) > most:
        raise RefusalError(
            f"Invalid string: {value[:20]}...; must be at most {most} characters", param=param, code="parameter_invalid_string"
        )
