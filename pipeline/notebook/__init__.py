"""The notebook: questions that analysts have, each a query on billhouse.duckdb with its answer as a chart or a table.

Owns the queries in questions/, which docs/use/questions.md shows too, and the application that `billhouse notebook` serves. It
reads billhouse.duckdb only, and writes nothing. marimo and Altair are an extra of the package, `notebook`.
"""
