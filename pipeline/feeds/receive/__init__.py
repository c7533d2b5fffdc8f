"""Receiving: rows that an SDK, a gateway or a webhook posts over HTTP are in the inbox before the request is answered with 202.

Owns the senders' keys and signatures, the limits of a request, and the group commit. It checks that a body is JSON and does not
validate rows: that is landing's. docs/operate/receiving.md.
"""
