"""Closed months: closing, approving, verifying, explaining and simulating invoices.

Owns the rules of when a month closes and which invoices may be published. Does not own the ledger's files (pipeline.store) or
requests to Stripe (pipeline.stripe).
"""
