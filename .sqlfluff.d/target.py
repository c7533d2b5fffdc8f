"""dbt's target, as the linter is to see it."""

type = "duckdb"
database = "warehouse"
