"""Stripe: publishing of closed invoices, credit notes, and the mirror of Stripe's objects.

Owns the client and its key, idempotent steps, the outbox, and the order of requests. It prices nothing: amounts come from
the ledger, and those of credit notes from the drafts.
"""
