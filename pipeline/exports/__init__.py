"""Exports of a billing period for finance: workbook, CSV, Parquet, FOCUS, journal and customers' statements.

Owns which tables are exported and how they look. Does not own their numbers (models/billing) or their types
(pipeline.warehouse.dataframes).
"""

from pipeline.exports.export import ExportResult, export_period
from pipeline.exports.period_totals import CurrencyTotals
from pipeline.exports.selected_statements import StatementsResult, export_statements

__all__ = ["CurrencyTotals", "ExportResult", "StatementsResult", "export_period", "export_statements"]
