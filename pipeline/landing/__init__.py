"""Landing: files in, raw Parquet out; nothing lost, nothing twice. Billing rules, section 3."""

from pipeline.landing.land import land_files, retry_quarantined
from pipeline.landing.record_kinds import Kind
from pipeline.landing.result import LandedFile, LandingSummary

__all__ = ["Kind", "LandedFile", "LandingSummary", "land_files", "retry_quarantined"]
