"""Stripe: publishing of closed invoices, credit notes, and the mirror of Stripe's objects.

Owns the client and its key, idempotent steps, the outbox, and the order of requests. It calculates no amounts: those come from
the ledger.
"""
