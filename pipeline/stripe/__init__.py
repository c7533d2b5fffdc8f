"""Stripe: publishing closed invoices, credit notes, and the mirror of what Stripe has.

Owns the client and its key, idempotent steps, the outbox, and the order of requests. It computes no amount.
"""
