"""The metrics that Prometheus reads.

Owns their names and how they are computed from raw/, ledger/ and the reports. It changes nothing but its own file.
"""
