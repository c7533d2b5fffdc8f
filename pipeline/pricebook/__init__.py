"""The price book: the seeds in seeds/*.csv.

Owns their schema, their validation and the history of their edits; also the currencies that Stripe supports. It computes no
price: the models do.
"""
