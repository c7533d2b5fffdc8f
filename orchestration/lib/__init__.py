"""Shared by the domains: schedules and sensors, retries, partitions, the dbt project as assets, metadata for the UI."""
