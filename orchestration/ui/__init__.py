"""The processes of the Dagster UI: web server behind a request guard, daemon, event log."""
