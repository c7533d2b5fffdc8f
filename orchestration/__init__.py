"""Dagster: when things run, and what the UI shows.

One module for each domain (landing, warehouse, month_end, audit, stripe, alerts) with its assets, checks, jobs, schedules and
sensors. `lib` has what they share, `ui` the processes that `billhouse ui` starts. The work itself is in pipeline.
"""
