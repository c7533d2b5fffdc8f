"""Exports a billing period for finance: an XLSX workbook, and CSV files with every digit."""

from pipeline.exports.export import ExportResult, export_period
from pipeline.exports.period_totals import CurrencyTotals

__all__ = ["CurrencyTotals", "ExportResult", "export_period"]
