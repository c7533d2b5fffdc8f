"""Closed months: closing, approvals, adjustments, verification, and explaining or simulating invoices.

Owns the decisions about the ledger; its files belong to pipeline.store. It does not talk to Stripe.
"""
