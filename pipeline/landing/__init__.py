"""Landing: files in, raw Parquet out; nothing lost, nothing twice. Billing rules, section 3."""

from pipeline.kinds import Kind
from pipeline.landing.collections import ensure_collections
from pipeline.landing.land import land_again, land_files
from pipeline.landing.summary import LandedFile, LandingSummary

__all__ = ["Kind", "LandedFile", "LandingSummary", "ensure_collections", "land_again", "land_files"]
