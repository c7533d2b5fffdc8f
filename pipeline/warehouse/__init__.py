"""dbt runs and what they read and give.

Owns the inputs of a build, the run of dbt (on DuckDB and Spark), the record of the last build, the analysts' file and marts/,
and the reconstruction of earlier builds. The SQL is in models/.
"""
