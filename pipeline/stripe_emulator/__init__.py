"""A local Stripe emulator for development and tests: stateful, persistent, served on loopback.

It implements the part of Stripe's API that Billhouse uses, with the fields of Stripe's published sample objects and Stripe's
rules of idempotency, pagination and finalization. Its client is the `stripe` library, unchanged.
"""
