"""Builds of the warehouse with dbt, and the files that analysts read.

Owns a build's inputs and record, dbt runs (on DuckDB and on Spark), the analysts' file and marts/, reading them, and rebuilding
earlier or hypothetical states. Does not own the SQL (models/, macros/) nor the files that the models read (pipeline.store).
"""
