"""The languages of texts for customers. A customer record's `language` names one; English is the default."""

LANGUAGES = ("de", "en")
"""ISO 639-1 codes. Each has every text of a statement: pipeline/exports/statements/texts.py."""
DEFAULT_LANGUAGE = "en"
