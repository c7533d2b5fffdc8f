"""Dagster: when things run, and what the UI shows.

A module for each domain (landing, warehouse, month_end, stripe, alerts), `lib` for what they share, `ui` for the processes
that `billhouse ui` starts. The work itself is in pipeline.
"""
