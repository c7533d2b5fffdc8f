"""The price book (seeds/*.csv): schema, reading, validation, and edits of past prices.

Also owns the currencies that Stripe supports, and how values are written to spreadsheets. It computes no prices: the models do.
"""
