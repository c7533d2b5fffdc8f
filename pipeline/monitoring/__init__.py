"""Metrics for Prometheus.

Owns the names of the metrics and how they are calculated from raw/, ledger/ and the reports. It writes only the metrics file.
"""
