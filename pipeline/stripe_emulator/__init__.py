"""A small local Stripe: stateful, persisted, on loopback; for development and tests.

It speaks the part of Stripe's API that Billhouse uses, in the shapes of Stripe's published sample objects, and keeps Stripe's
rules of idempotency, pagination and finalization. Nothing that calls it can tell: the client is the `stripe` library.
"""
